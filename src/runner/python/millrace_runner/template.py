"""The process that slots are forked from.

It has the baseline imported and has never seen a program, a payload or a nonce, so that no fork carries any. Main tells it
over a socket (SOCK_SEQPACKET, one message each) what to do; it answers in order, and ends with main.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from . import baseline, kernel, limits
from .capture import CapturedText, LogHandler
from .reactor import Reactor
from .scratch import slot_folder, wipe, wipe_slot_folder
from .slot import Baseline, run_slot
from .volatile import LoggingState, reset

ALL_SLOTS: Final = 0

_FORK: Final = 1
_WIPE: Final = 2
_REAP: Final = 3
# Command or answer; slot or, for _REAP, pid; in answers the pid or wait status.
_MESSAGE: Final = struct.Struct("!BIi")
_FDS_OF_SLOT: Final = 3
# What a step sees of the sandbox's environment; everything else stays out.
_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")


class Template:
    """Main's side. Answers come to the callbacks of their commands."""

    def __init__(self, reactor: Reactor, control: socket.socket, pid: int, on_lost: Callable[[], None]) -> None:
        self.pid = pid
        self._control = control
        self._on_lost = on_lost
        self._waiting: list[Callable[[int], None]] = []
        reactor.on_readable(control.fileno(), self._receive)

    def fork(self, slot: int, fds: Sequence[int], on_forked: Callable[[int], None]) -> None:
        """Forks a slot with its link, stdout and stderr; gives its pid. The pid is not reused before `reap`."""
        self._send(_FORK, slot, on_forked, fds)

    def wipe(self, slot: int, on_forked: Callable[[int], None]) -> None:
        """Forks a process that removes a slot's folder, or with ALL_SLOTS empties the scratch folders."""
        self._send(_WIPE, slot, on_forked)

    def reap(self, pid: int, on_status: Callable[[int], None]) -> None:
        """To be called for a process that has ended; gives its wait status."""
        self._send(_REAP, pid, on_status)

    def _send(self, command: int, number: int, callback: Callable[[int], None], fds: Sequence[int] = ()) -> None:
        self._waiting.append(callback)
        message = _MESSAGE.pack(command, number, 0)
        try:
            if fds:
                socket.send_fds(self._control, [message], fds)
            else:
                self._control.send(message)
        except OSError:
            self._on_lost()

    def _receive(self) -> None:
        try:
            answer = self._control.recv(_MESSAGE.size)
        except OSError:
            answer = b""
        if not answer:
            self._on_lost()
            return
        self._waiting.pop(0)(_MESSAGE.unpack(answer)[2])


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
            _serve(theirs, scratch)
            code = 0
        finally:
            os._exit(code)
    theirs.close()
    return ours, pid


def _serve(control: socket.socket, scratch: Sequence[str]) -> None:
    kernel.end_with_parent()
    kernel.use_one_heap()
    main = os.getppid()
    total_bytes = limits.total_memory_bytes()
    state = _prepare()
    while True:
        message, fds, _, _ = socket.recv_fds(control, _MESSAGE.size, _FDS_OF_SLOT)
        if not message:
            return
        command, number, _ = _MESSAGE.unpack(message)
        if command == _REAP:
            answer = os.waitpid(number, 0)[1]
        else:
            answer = os.fork()
            if answer == 0:
                control.close()
                if command == _WIPE:
                    _wipe(scratch, number)
                _become_slot(state, fds, slot_folder(scratch, number), main, total_bytes)
            for fd in fds:
                os.close(fd)
        control.send(_MESSAGE.pack(command, number, answer))


def _prepare() -> Baseline:
    os.umask(0o022)
    os.chdir("/")
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    os.environ.clear()
    os.environ.update({"LANG": "C.UTF-8", **environment})
    baseline.preload()
    sys.argv = [""]
    sys.stdout = sys.__stdout__ = CapturedText("<stdout>", 1, _discard)  # type: ignore[misc] - declared final
    sys.stderr = sys.__stderr__ = CapturedText("<stderr>", 2, _discard)  # type: ignore[misc]
    logging_state = LoggingState(LogHandler())
    # Not of the baseline: an import of theirs tells that a run can reach the limits of its process.
    for name in ("resource", "ctypes", "_ctypes"):
        sys.modules.pop(name, None)
    reset()
    state = Baseline(logging_state)
    baseline.freeze()
    return state


def _discard(_entry: bytes) -> None:
    """Nothing is written between runs."""


def _wipe(scratch: Sequence[str], slot: int) -> NoReturn:
    if slot != ALL_SLOTS:
        wipe_slot_folder(scratch, slot)
    else:
        for folder in scratch:
            wipe(folder)
    os._exit(0)


def _become_slot(state: Baseline, fds: Sequence[int], folder: str, main: int, total_bytes: int) -> NoReturn:
    link, out, err = fds
    os.dup2(out, 1)
    os.dup2(err, 2)
    run_slot(state, link, folder, main, total_bytes)
