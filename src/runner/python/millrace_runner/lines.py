"""Makes log entries of written text, line by line, however long the lines are."""

import threading
from collections.abc import Callable
from typing import Final

from .protocol import MAX_LOG_ENTRY_BYTES

_CUT_SIGN_BYTES: Final = 64


def to_entry(text: str, more_chars: int = 0) -> bytes:
    """A log entry's bytes, cut at MAX_LOG_ENTRY_BYTES; `more_chars` of the text are missing already."""
    # One character is a byte at least, so that no more than this is ever looked at.
    encoded = text[:MAX_LOG_ENTRY_BYTES].encode("utf-8", "backslashreplace")
    more_chars += max(0, len(text) - MAX_LOG_ENTRY_BYTES)
    if not more_chars and len(encoded) <= MAX_LOG_ENTRY_BYTES:
        return encoded
    kept = encoded[: MAX_LOG_ENTRY_BYTES - _CUT_SIGN_BYTES].decode("utf-8", "ignore")
    more_chars += max(0, min(len(text), MAX_LOG_ENTRY_BYTES) - len(kept))
    return f"{kept}… [cut, {more_chars} more characters]".encode()


class LineSplitter:
    """Calls `emit` with the entry of each line; holds no more of a line than an entry may have. Safe for threads."""

    __slots__ = ("_emit", "_length", "_lock", "_more", "_parts")

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._parts: list[str] = []
        self._length = 0
        self._more = 0

    def write(self, text: str) -> None:
        with self._lock:
            start = 0
            while (end := text.find("\n", start)) >= 0:
                self._extend(text, start, end)
                self._finish_line()
                start = end + 1
            self._extend(text, start, len(text))

    def finish(self) -> None:
        """Emits a last line that has no end."""
        with self._lock:
            if self._length:
                self._finish_line()

    def _extend(self, text: str, start: int, end: int) -> None:
        taken = min(end - start, MAX_LOG_ENTRY_BYTES - self._length)
        if taken:
            self._parts.append(text[start : start + taken])
            self._length += taken
        self._more += end - start - taken

    def _finish_line(self) -> None:
        line = "".join(self._parts)
        more = self._more
        self._parts.clear()
        self._length = self._more = 0
        self._emit(to_entry(line[:-1] if line.endswith("\r") else line, more))
