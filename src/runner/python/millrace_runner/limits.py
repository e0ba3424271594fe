"""What one slot may use, so that a bomb ends its own run and not the sandbox. README.md has what gVisor enforces."""

import errno
import resource
import sys
import time
from collections.abc import Callable
from typing import Final

from .process_tree import descendants

_MIB: Final = 1_048_576
# For main, the template, the other slot and gVisor itself, which need some 80 MiB. A slot is refused more than the rest.
_RESERVED_BYTES: Final = 96 * _MIB
_LEAST_BYTES: Final = 64 * _MIB

MAX_OPEN_FILES: Final = 256
MAX_FILE_BYTES: Final = 64 * _MIB
# Of /tmp, as whoever starts the sandbox mounts it.
SCRATCH_BYTES: Final = 64 * _MIB
# Threads and processes of the whole sandbox: it is a limit of the uid.
MAX_TASKS: Final = 80
# Processes below main, the template and the slots among them, up to which Python code may make another one. A fork of a
# slot costs some 13 MiB at once (gVisor copies shared memory in large pieces), another program as little as it needs.
MAX_PROCESSES_BEFORE: Final = {"os.fork": 8, "os.forkpty": 8, "os.posix_spawn": 24, "subprocess.Popen": 24}
# After so many, each soon after the one before, a process is taken for a bomb.
MAX_REFUSALS: Final = 100
_PATIENCE_SECONDS: Final = 0.5
# glibc takes 8 MiB otherwise, all of which counts as address space.
THREAD_STACK_BYTES: Final = 2 * _MIB


def total_memory_bytes() -> int:
    """What the sandbox may use: gVisor shows its limit as the machine's memory."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(file.readline().split()[1]) * 1024


def limit_slot() -> None:
    """Sets what holds for the life of a slot's process. Memory is set for each run."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NPROC, (MAX_TASKS, MAX_TASKS))


def slot_memory_bytes(total_bytes: int) -> int:
    """What a slot may take beyond what it starts with, in a sandbox of so many bytes."""
    return max(_LEAST_BYTES, total_bytes - _RESERVED_BYTES)


def limit_memory(total_bytes: int) -> None:
    """Sets the soft limit only: `release_memory` raises it, for the report of a run that has used it up.

    RLIMIT_DATA would be the better measure, but gVisor does not hold private mappings to it.
    """
    allowed = address_space_bytes() + slot_memory_bytes(total_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, resource.RLIM_INFINITY))


def release_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def address_space_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def peak_memory_bytes() -> int:
    """The most that was resident since this process began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_LIMITS: Final = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


def current_limits() -> tuple[tuple[int, int], ...]:
    return tuple(resource.getrlimit(number) for number in _LIMITS)


def forbid_process_bombs(main: int, end_bomb: Callable[[str, int], None]) -> None:
    """Refuses Python code another process when main has many below it already; other programs meet RLIMIT_NPROC.

    `end_bomb` is called with the event and its limit, in a process that does not take no for an answer. There is no way to take an audit hook back
    (PEP 578), which is what is wanted here.
    """
    refusals, latest = 0, 0.0

    def refuse(event: str, _args: tuple[object, ...]) -> None:
        nonlocal refusals, latest
        most = MAX_PROCESSES_BEFORE.get(event)
        if most is None or (count := sum(1 for _ in descendants(main))) < most:
            return
        now = time.monotonic()
        refusals = refusals + 1 if now - latest < _PATIENCE_SECONDS else 1
        latest = now
        if refusals > MAX_REFUSALS:
            end_bomb(event, most)
        raise BlockingIOError(errno.EAGAIN, f"too many processes: {count} are there already, and {event} makes none beyond {most}")

    sys.addaudithook(refuse)
