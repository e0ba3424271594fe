"""Main's side of the template, the process that slots are forked from (template_process.py).

Commands and answers are messages on a socket (SOCK_SEQPACKET), in order.
"""

import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

from .reactor import Reactor

ALL_SLOTS: Final = 0

FORK: Final = 1
WIPE: Final = 2
REAP: Final = 3
# Command; slot or, for REAP, pid; in answers the pid or wait status.
MESSAGE: Final = struct.Struct("!BIi")


class Template:
    """Main's side. Answers come to the callbacks of their commands."""

    def __init__(self, reactor: Reactor, control: socket.socket, pid: int) -> None:
        self.pid = pid
        self._control = control
        self.on_lost: Callable[[], None] | None = None
        self._waiting: list[Callable[[int], None]] = []
        reactor.on_readable(control.fileno(), self._receive)

    def fork(self, slot: int, fds: Sequence[int], on_forked: Callable[[int], None]) -> None:
        """Forks a slot with its link, stdout and stderr; gives its pid. The pid is not reused before `reap`."""
        self._send(FORK, slot, on_forked, fds)

    def wipe(self, slot: int, on_forked: Callable[[int], None]) -> None:
        """Forks a process that removes a slot's folder, or with ALL_SLOTS empties the scratch folders."""
        self._send(WIPE, slot, on_forked)

    def reap(self, pid: int, on_status: Callable[[int], None]) -> None:
        """To be called for a process that has ended; gives its wait status."""
        self._send(REAP, pid, on_status)

    def _send(self, command: int, number: int, callback: Callable[[int], None], fds: Sequence[int] = ()) -> None:
        self._waiting.append(callback)
        message = MESSAGE.pack(command, number, 0)
        try:
            if fds:
                socket.send_fds(self._control, [message], fds)
            else:
                self._control.send(message)
        except OSError:
            self._lose()

    def _lose(self) -> None:
        if self.on_lost:
            self.on_lost()

    def _receive(self) -> None:
        try:
            answer = self._control.recv(MESSAGE.size)
        except OSError:
            answer = b""
        if not answer:
            self._lose()
            return
        self._waiting.pop(0)(MESSAGE.unpack(answer)[2])


def start_template(scratch: Sequence[str], keep_open: Sequence[int]) -> tuple[socket.socket, int]:
    """Forks the template, which closes `keep_open`, main's own descriptors. Gives the control socket and its pid."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            for fd in keep_open:
                os.close(fd)
            # Here rather than above: what main does not import, it does not pay for.
            from .template_process import serve_template

            serve_template(theirs, scratch)
            code = 0
        finally:
            os._exit(code)
    theirs.close()
    return ours, pid
