"""What the standard library has no function for; each does nothing where the kernel does not know it."""

import ctypes
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_SYSLOG_ACTION_READ_ALL: Final = 3
_M_ARENA_MAX: Final = -8
_KERNEL_CHARS: Final = 500

_libc: Final = ctypes.CDLL(None)


def forbid_inspection() -> None:
    """Nobody else of this uid may open this process's descriptors or memory (prctl(2), PR_SET_DUMPABLE)."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_inspection() -> None:
    """What `forbid_inspection` took is inherited by a fork, which also loses its own /proc/self/fd on plain Linux."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def use_one_heap() -> None:
    """Each thread would reserve 64 MiB of address space for a heap of its own otherwise, which RLIMIT_AS counts."""
    _libc.mallopt(_M_ARENA_MAX, 1)


def describe_kernel() -> str:
    """/proc/version and the first line of the kernel's log: evidence of gVisor."""
    lines = [_first_line_of_version(), _first_line_of_log()]
    return " | ".join(line for line in lines if line)[:_KERNEL_CHARS]


def _first_line_of_version() -> str:
    try:
        with open("/proc/version", encoding="utf-8", errors="replace") as file:
            return file.readline(_KERNEL_CHARS).strip()
    except OSError:
        return ""


def _first_line_of_log() -> str:
    log = ctypes.create_string_buffer(_KERNEL_CHARS)
    length = _libc.klogctl(_SYSLOG_ACTION_READ_ALL, log, _KERNEL_CHARS)
    return log.raw[: max(0, length)].decode("utf-8", "replace").partition("\n")[0].strip()
