"""A slot's process as main sees it: its link, what it writes to fd 1 and 2, and its end."""

import codecs
import os
import socket
from typing import Final, Protocol

from . import link as messages
from .frames import ProtocolError
from .lines import LineSplitter
from .link import LinkDecoder, pack
from .process_tree import kill_tree
from .protocol import STDERR_LEVEL, STDOUT_LEVEL
from .reactor import Reactor
from .relay import Run
from .stream import Outbox, read_available
from .template import Template

_READ_BYTES: Final = 65_536
# From the end of a process's link to its own end; large memory takes its time to be given back.
_ENDING_SECONDS: Final = 0.5
# A pipe holds one of these; a process that goes on writing must not keep main here.
_MAX_DRAIN_READS: Final = 4
_MAX_FROM_SLOT_BYTES: Final = messages.MAX_FROM_SLOT_BYTES


class Owner(Protocol):
    """Who is told what happens to a slot's process."""

    def on_forked(self, process: "SlotProcess") -> None: ...
    def on_message(self, process: "SlotProcess", kind: int, number: int, body: bytes) -> None: ...
    def on_ended(self, process: "SlotProcess", status: int) -> None: ...


class SlotProcess:
    """Lives from the command to fork it until it is reaped."""

    def __init__(self, reactor: Reactor, template: Template, owner: Owner, slot: int) -> None:
        self.slot = slot
        self.run: Run | None = None
        self.is_isolated = False
        self.is_dying = False
        self.has_lost_link = False
        self.programs: set[str] = set()
        self._reactor = reactor
        self._template = template
        self._owner = owner
        self._pid = 0
        self._pidfd = -1
        self._decoder = LinkDecoder(_MAX_FROM_SLOT_BYTES)
        self._link, far_link = socket.socketpair()
        self._link.setblocking(False)
        # When it is gone, reading its link tells so.
        self._outbox = Outbox(reactor, self._link.fileno(), None, None)
        out, far_out = os.pipe()
        err, far_err = os.pipe()
        self._pipes = (_OutputPipe(self, out, STDOUT_LEVEL), _OutputPipe(self, err, STDERR_LEVEL))
        template.fork(slot, [far_link.fileno(), far_out, far_err], self._on_forked)
        far_link.close()
        os.close(far_out)
        os.close(far_err)

    @property
    def is_ready(self) -> bool:
        return self._pid > 0 and not self.is_dying

    def send(self, kind: int, number: int = 0, body: bytes = b"") -> None:
        self._outbox.write(pack(kind, number, body))

    def drain_output(self) -> None:
        """Takes what was written to fd 1 and 2 so far; to be called before a run ends."""
        for pipe in self._pipes:
            pipe.drain()

    def pause(self, is_paused: bool) -> None:
        """While paused, nothing is read of it, and it blocks when it has written much."""
        if self.is_ready:
            self._reactor.on_readable(self._link.fileno(), None if is_paused else self._read_link)
            for pipe in self._pipes:
                self._reactor.on_readable(pipe.fd, None if is_paused else pipe.read)

    def kill(self) -> None:
        """Ends it with all its descendants; `on_ended` follows. Idempotent."""
        if self.is_dying:
            return
        self.is_dying = True
        if self._pid:
            kill_tree(self._pid)
            self._stop_reading()

    def _on_forked(self, pid: int) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._reactor.on_readable(self._pidfd, self._on_exit)
        if self.is_dying:
            kill_tree(pid)
            return
        self.pause(False)
        self._owner.on_forked(self)

    def _read_link(self) -> None:
        chunk = read_available(self._link.fileno(), _READ_BYTES)
        if chunk:
            self._take(chunk)
        elif chunk is not None:
            # It is ending, which the pidfd will tell; or its code closed the descriptor, and it is of no use.
            self._reactor.forget(self._link.fileno())
            self._reactor.after(_ENDING_SECONDS, self._kill_without_link)

    def _take(self, chunk: bytes) -> None:
        try:
            for kind, number, body in self._decoder.push(chunk):
                self._owner.on_message(self, kind, number, body)
                if self.is_dying:
                    return
        except ProtocolError:
            self._kill_without_link()

    def _kill_without_link(self) -> None:
        if not self.is_dying:
            self.has_lost_link = True
            self.kill()

    def _on_exit(self) -> None:
        self._reactor.forget(self._pidfd)
        # What it said last counts.
        while not self.is_dying and (chunk := read_available(self._link.fileno(), _READ_BYTES)):
            self._take(chunk)
        self.is_dying = True
        self._stop_reading()
        self._template.reap(self._pid, self._on_reaped)

    def _on_reaped(self, status: int) -> None:
        os.close(self._pidfd)
        self._link.close()
        for pipe in self._pipes:
            os.close(pipe.fd)
        self._owner.on_ended(self, status)

    def _stop_reading(self) -> None:
        self.drain_output()
        for fd in (self._link.fileno(), *(pipe.fd for pipe in self._pipes)):
            self._reactor.forget(fd)


class _OutputPipe:
    """What a slot and its subprocesses write to a descriptor, as log entries of the run that is under way."""

    def __init__(self, process: SlotProcess, fd: int, level: str) -> None:
        self.fd = fd
        self._process = process
        self._level = level
        os.set_blocking(fd, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._splitter = LineSplitter(self._emit)

    def read(self) -> None:
        if (chunk := read_available(self.fd, _READ_BYTES)) is not None:
            self._take(chunk)

    def drain(self) -> None:
        for _ in range(_MAX_DRAIN_READS):
            if not (chunk := read_available(self.fd, _READ_BYTES)):
                break
            self._take(chunk)
        self._splitter.finish()

    def _take(self, chunk: bytes) -> None:
        if chunk:
            self._splitter.write(self._decoder.decode(chunk))
        else:
            self._process._reactor.forget(self.fd)

    def _emit(self, text: bytes) -> None:
        if self._process.run:
            self._process.run.log(self._level, text)
