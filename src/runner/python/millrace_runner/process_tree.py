"""Finding and ending processes by who made them; author's code may leave sessions and groups, but not its ancestors."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Final

# Each pass finds what was forked during the one before; stopped processes fork no more, so a few are enough.
_MAX_PASSES: Final = 50


def descendants(root: int) -> Iterator[int]:
    """Everything below `root`, parents first."""
    waiting = [root]
    while waiting:
        for child in children(waiting.pop()):
            waiting.append(child)
            yield child


def kill_tree(root: int) -> None:
    """Ends `root` and all below it with SIGKILL. `root` is to be a child that was not waited for yet.

    They are stopped first: a fork bomb at its limit would use each place that a kill frees.
    """
    _signal(root, signal.SIGSTOP)
    stopped = {root}
    for _ in range(_MAX_PASSES):
        found = {pid for pid in descendants(root) if pid not in stopped}
        for pid in found:
            _signal(pid, signal.SIGSTOP)
        stopped |= found
        if not found:
            break
    # The root last: its descendants stay below it, for the next attempt, while it lives.
    for pid in sorted(stopped - {root}, reverse=True):
        _signal(pid, signal.SIGKILL)
    _signal(root, signal.SIGKILL)


def kill_orphans(spared: int) -> None:
    """Ends and reaps the children of this process other than `spared`: what was left by a process that is gone."""
    for _ in range(_MAX_PASSES):
        orphans = [pid for pid in children(os.getpid()) if pid != spared]
        if not orphans:
            return
        for pid in orphans:
            kill_tree(pid)
        for pid in orphans:
            os.waitpid(pid, 0)


def kill_descendants() -> None:
    """Ends everything below this process."""
    for pid in children(os.getpid()):
        kill_tree(pid)


def children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:
            continue
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
