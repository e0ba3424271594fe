"""How much of a run's output is let through: its beginning as it comes, its end when it is over."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from .protocol import LOG_ENTRY_COST_BYTES

_MARKER_BYTES: Final = 256

Emit = Callable[[str, bytes, bool], None]
"""Takes level, text, and whether the text stands for entries that were left out."""


class LogBudget:
    """Passes on entries up to half of `limit` bytes, then keeps the newest that fit into the other half for `flush`.

    Threads may add at the same time.
    """

    __slots__ = ("_emit", "_head_left", "_lock", "_lost_bytes", "_lost_entries", "_tail", "_tail_left", "limit")

    def __init__(self, limit: int, emit: Emit) -> None:
        self.limit = limit
        self._emit = emit
        self._lock = threading.Lock()
        self._head_left = limit // 2
        self._tail_left = max(0, limit - limit // 2 - _MARKER_BYTES)
        self._tail: deque[tuple[str, bytes, bool]] = deque()
        self._lost_entries = 0
        self._lost_bytes = 0

    def add(self, level: str, text: bytes, is_marker: bool = False) -> None:
        cost = len(text) + LOG_ENTRY_COST_BYTES
        with self._lock:
            if cost <= self._head_left and not self._tail and not self._lost_entries:
                self._head_left -= cost
                self._emit(level, text, is_marker)
            else:
                self._keep(level, text, is_marker, cost)

    def _keep(self, level: str, text: bytes, is_marker: bool, cost: int) -> None:
        self._tail.append((level, text, is_marker))
        self._tail_left -= cost
        while self._tail_left < 0:
            _, lost, _ = self._tail.popleft()
            self._tail_left += len(lost) + LOG_ENTRY_COST_BYTES
            self._lost_entries += 1
            self._lost_bytes += len(lost)

    def flush(self) -> None:
        """Passes on what was kept, after one entry that tells what is missing. The budget is of no use afterwards."""
        if self._lost_entries:
            self._emit("warn", self._describe_loss().encode(), True)
        for entry in self._tail:
            self._emit(*entry)
        self._tail.clear()

    def _describe_loss(self) -> str:
        return (
            f"{self._lost_entries} entries ({self._lost_bytes} bytes) are left out here: "
            f"a step's log keeps the first and the last of its output, {self.limit} bytes in all"
        )
