"""What main has still to write to a descriptor that may take it slowly."""

import os
from collections import deque

from .reactor import Callback, Reactor


class Outbox:
    """Writes in order, and keeps what the descriptor does not take yet.

    `on_drained` is called when nothing is kept any more, `on_broken` when the other side is gone; what is written
    afterwards is dropped.
    """

    def __init__(self, reactor: Reactor, fd: int, on_drained: Callback | None, on_broken: Callback | None) -> None:
        self._reactor = reactor
        self._fd = fd
        self._on_drained = on_drained
        self._on_broken = on_broken
        self._is_broken = False
        self._waiting: deque[bytes | memoryview] = deque()
        self.waiting_bytes = 0

    def write(self, data: bytes) -> None:
        if self._is_broken:
            return
        self._waiting.append(data)
        self.waiting_bytes += len(data)
        if len(self._waiting) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                self._reactor.on_writable(self._fd, self._flush)
                return
            except OSError:
                self._break()
                return
            self.waiting_bytes -= written
            if written == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = memoryview(data)[written:]
        self._reactor.on_writable(self._fd, None)
        if self._on_drained:
            self._on_drained()

    def _break(self) -> None:
        self._is_broken = True
        self._waiting.clear()
        self.waiting_bytes = 0
        self._reactor.on_writable(self._fd, None)
        if self._on_broken:
            self._on_broken()


def read_available(fd: int, limit: int) -> bytes | None:
    """What is there to be read, b"" at the end of the stream, None when there is nothing yet."""
    try:
        return os.read(fd, limit)
    except (BlockingIOError, InterruptedError):
        return None
    except ConnectionResetError:
        return b""
