"""What takes the place of stdout, stderr and the root logger's handler inside a slot."""

import codecs
import io
import logging
import sys
from collections.abc import Callable, Iterable

from .lines import LineSplitter, to_entry

LogEntry = Callable[[str, bytes], None]
"""Takes an entry's level and text."""


class CapturedBuffer(io.BufferedIOBase):
    """`sys.stdout.buffer`: bytes that are text in UTF-8."""

    def __init__(self, splitter: LineSplitter, fd: int) -> None:
        self._splitter = splitter
        self._fd = fd
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._splitter.write(self._decoder.decode(data))
        return memoryview(data).nbytes

    def fileno(self) -> int:
        return self._fd


class CapturedText(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`: each line written becomes a log entry.

    `fileno` is the real descriptor, which main reads (slots.py), so that subprocesses can be given the stream.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True

    def __init__(self, name: str, fd: int, emit: Callable[[bytes], None]) -> None:
        self.name = name
        self.mode = "w"
        self._fd = fd
        self._splitter = LineSplitter(emit)
        self.buffer = CapturedBuffer(self._splitter, fd)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._splitter.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def reconfigure(self, **_options: object) -> None:
        """Taken and ignored: programs call it to get UTF-8, which they have."""

    def finish(self) -> None:
        """Emits what was written without an end of line."""
        self._splitter.finish()


def set_streams(out: object, err: object) -> None:
    """Makes them stdout and stderr, and what programs take for the original ones."""
    vars(sys).update(stdout=out, __stdout__=out, stderr=err, __stderr__=err)


class LogHandler(logging.Handler):
    """The root logger's handler: `emit_entry` takes what is logged while a run is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.emit_entry: LogEntry | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.emit_entry is None:
            return
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
        else:
            self.emit_entry(level_of(record.levelno), to_entry(text))


def level_of(number: int) -> str:
    """The protocol's level of a level of `logging`."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warn"
    return "info" if number >= logging.INFO else "debug"
