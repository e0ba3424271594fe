"""What main and a slot say to each other: u32 length of the body · u8 kind · u32 number · body, over a socket pair.

A slot runs the author's code, so that main takes nothing of it on trust: sizes are bounded here, contents in relay.py.
The slot trusts main.
"""

import json
import select
import socket
import struct
import threading
from typing import Any, Final

from .frames import ProtocolError

# Main to slot.
PROGRAM: Final = 1
RUN: Final = 2
CANCEL: Final = 3
# Slot to main; `number` of the last two is one of the states below.
LOG: Final = 16
RESULT: Final = 17
FAILED: Final = 18
# What a slot's process is after a run: as good as new; used up by what was no fault, such as large memory; or unfit,
# because the run left something behind in it. The last two are replaced, the worker hears of the last only.
REUSABLE: Final = 0
USED_UP: Final = 1
UNFIT: Final = 2
# Both ways; `number` is the fetch.
FETCH: Final = 32
FETCH_HEAD: Final = 33
FETCH_DATA: Final = 34
FETCH_END: Final = 35
FETCH_FAILED: Final = 36
FETCH_ABORT: Final = 37
FETCH_CREDIT: Final = 38

MAX_FROM_SLOT_BYTES: Final = 1_048_576

_PREFIX: Final = struct.Struct("!IBI")
_U32: Final = struct.Struct("!I")
# A buffer of 128 KiB or more is memory mapped and given back for each read, which is dear in gVisor.
_RECEIVE_BYTES: Final = 65_536

Message = tuple[int, int, bytes]


def pack(kind: int, number: int = 0, body: bytes = b"") -> bytes:
    return _PREFIX.pack(len(body), kind, number) + body


def pack_parts(header: dict[str, Any], payload: bytes) -> bytes:
    """A body that holds a JSON header and bytes."""
    head = json.dumps(header).encode()
    return b"".join((_U32.pack(len(head)), head, payload))


def unpack_parts(body: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = _U32.unpack_from(body)
    end = _U32.size + length
    return json.loads(body[_U32.size : end]), body[end:]


class LinkDecoder:
    """Makes messages of a link's bytes."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, max_bytes: int | None = None) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    def push(self, chunk: bytes) -> list[Message]:
        """Raises ProtocolError for a body that is larger than `max_bytes`."""
        buffer = self._buffer
        buffer += chunk
        messages: list[Message] = []
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            length, kind, number = _PREFIX.unpack_from(buffer, start)
            if self._max_bytes is not None and length > self._max_bytes:
                raise ProtocolError(f"a message of {length} bytes is too large")
            body = start + _PREFIX.size
            if len(buffer) < body + length:
                break
            messages.append((kind, number, bytes(buffer[body : body + length])))
            start = body + length
        del buffer[:start]
        return messages


class Link:
    """A slot's end: blocking. Any thread may send; one at a time may receive (mailbox.py sees to that)."""

    __slots__ = ("_decoder", "_poll", "_ready", "_sending", "_socket", "fileno")

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._decoder = LinkDecoder()
        self._ready: list[Message] = []
        self._sending = threading.Lock()
        self.fileno = end.fileno()
        self._poll = select.poll()
        self._poll.register(self.fileno, select.POLLIN)

    def send(self, kind: int, number: int = 0, body: bytes = b"") -> None:
        """Blocks while main takes nothing more. Raises OSError when main is gone."""
        with self._sending:
            self._socket.sendall(pack(kind, number, body))

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, None when none came within `timeout` seconds. Raises EOFError when main is gone."""
        while not self._ready:
            # Not the socket's own time-out: that would hold for senders in other threads as well.
            if timeout is not None and not self._poll.poll(max(0, timeout) * 1000):
                return None
            chunk = self._socket.recv(_RECEIVE_BYTES)
            if not chunk:
                raise EOFError
            # Reversed, so that the next one is taken off the end.
            self._ready = self._decoder.push(chunk)[::-1]
        return self._ready.pop()
