"""The process that slots are forked from.

It has the baseline imported and has never seen a program, a payload or a nonce, so that no fork carries any. It does
what main tells it (template.py), answers in order, and ends with main.
"""

import os
import socket
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from . import baseline, kernel, limits
from .capture import CapturedText, LogHandler, set_streams
from .scratch import slot_folder, wipe, wipe_slot_folder
from .slot import Baseline, run_slot
from .template import ALL_SLOTS, MESSAGE, REAP, WIPE
from .volatile import LoggingState, reset

_FDS_OF_SLOT: Final = 3
# What a step sees of the sandbox's environment; everything else stays out.
_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")


def serve_template(control: socket.socket, scratch: Sequence[str]) -> None:
    """Returns when main closes the control socket. In a fork that has become a slot, never."""
    kernel.end_with_parent()
    kernel.use_one_heap()
    main = os.getppid()
    total_bytes = limits.total_memory_bytes()
    state = _prepare()
    while True:
        message, fds, _, _ = socket.recv_fds(control, MESSAGE.size, _FDS_OF_SLOT)
        if not message:
            return
        command, number, _ = MESSAGE.unpack(message)
        if command == REAP:
            answer = os.waitpid(number, 0)[1]
        else:
            answer = os.fork()
            if answer == 0:
                control.close()
                if command == WIPE:
                    _wipe(scratch, number)
                _become_slot(state, fds, slot_folder(scratch, number), main, total_bytes)
            for fd in fds:
                os.close(fd)
        control.send(MESSAGE.pack(command, number, answer))


def _prepare() -> Baseline:
    os.umask(0o022)
    os.chdir("/")
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    os.environ.clear()
    os.environ.update({"LANG": "C.UTF-8", **environment})
    baseline.preload()
    set_streams(CapturedText("<stdout>", 1, _discard), CapturedText("<stderr>", 2, _discard))
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
