"""What the worker is told of an exception that ended a run."""

import errno
import math
import traceback
from typing import Any, Final

from . import limits
from .errors import Cancelled, FetchError, RetryableError, TerminalError
from .importer import Program, is_unresolved
from .output import InvalidOutput, OutputTooLarge
from .protocol import (
    MAX_CODE_CHARS,
    MAX_MESSAGE_CHARS,
    MAX_RETRY_AFTER_MS,
    MAX_STACK_CHARS,
    cut,
    make_detail,
)

Failure = tuple[str, dict[str, Any]]
"""One of RUN_FAILURES, and its detail as protocol.ts has it."""

_MIB: Final = 1_048_576
_FIXED: Final = "for `resources` do not raise it"
_TASKS: Final = (f"{limits.MAX_TASKS} threads and processes", f"start fewer at a time, {_FIXED}")
# Each has a stack, which may be what there is no room for.
_THREADS: Final = (
    f"{limits.MAX_TASKS} threads and processes, or of memory for the {limits.THREAD_STACK_BYTES // _MIB} MiB of each",
    "start fewer at a time",
)
_FILES: Final = (f"{limits.MAX_OPEN_FILES} open files", f"close what is no longer needed, {_FIXED}")
_SPACE: Final = (f"{limits.SCRATCH_BYTES // _MIB} MiB for all files in /tmp", f"remove what is no longer needed, {_FIXED}")
_SIZE: Final = (f"{limits.MAX_FILE_BYTES // _MIB} MiB for a file", f"write less, {_FIXED}")
_EXHAUSTED: Final = {
    errno.EAGAIN: _TASKS,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SIZE,
}
"""Limits and what to do about them, by the error of who meets one."""


class MissingExport(Exception):
    """The entry has no function `run`."""


def describe_failure(error: BaseException, program: Program | None, memory_bytes: int) -> Failure:
    """Never raises, whatever the author's exception does when it is asked for its text.

    `memory_bytes` is what the process may take beyond what it starts with.
    """
    detail = make_detail(_name_of(error), _message_of(error))
    if stack := _stack_of(error, program):
        detail["stack"] = cut(stack, MAX_STACK_CHARS)
    failure = _classify(error, detail, memory_bytes)
    detail["message"] = cut(detail["message"], MAX_MESSAGE_CHARS)
    return failure, detail


def _classify(error: BaseException, detail: dict[str, Any], memory_bytes: int) -> str:
    """The failure of an exception; completes its detail."""
    match error:
        case InvalidOutput():
            return "invalid_output"
        case OutputTooLarge():
            return "output_too_large"
        case MissingExport():
            return "missing_export"
        case Cancelled():
            return "cancelled"
        case SystemExit():
            detail["message"] = f"the code ended its process: sys.exit({_message_of(error)}); return from run() instead"
        case SyntaxError():
            return _classify_syntax_error(error, detail)
        case ModuleNotFoundError() if is_unresolved(error.name):
            detail["message"] = (
                f"there is no module {error.name!r} in the workflow, its packages or the standard library: "
                "list its package in requirements.txt and run `millrace deploy`"
            )
            return "unresolved_import"
        case _ if _is_out_of_memory(error):
            detail["message"] = f"its process took more than {memory_bytes // _MIB} MiB beyond what it began with"
            return "out_of_memory"
        case _ if exhausted := _exhausted_resource(error):
            limit, remedy = exhausted
            detail["message"] = f"the step reached its limit of {limit}: {detail['message']}; {remedy}"
            return "resource_limit"
        case TerminalError():
            detail["retryable"] = False
        case RetryableError():
            detail["retryable"] = True
            if (after := _retry_after_ms(error)) is not None:
                detail["retryAfterMs"] = after
        case FetchError():
            detail["platformCode"] = cut(str(error.code), MAX_CODE_CHARS)
    return "code_error"


def _classify_syntax_error(error: SyntaxError, detail: dict[str, Any]) -> str:
    place = f"{error.filename}, line {error.lineno}, column {error.offset}" if error.lineno else str(error.filename)
    line = f": {error.text.strip()}" if isinstance(error.text, str) and error.text.strip() else ""
    detail["message"] = f"{error.msg} ({place}){line}"
    return "syntax_error"


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def _exhausted_resource(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, RuntimeError) and _message_of(error) == "can't start new thread":
        return _THREADS
    if isinstance(error, OSError) and error.errno is not None:
        return _EXHAUSTED.get(error.errno)
    return None


def _retry_after_ms(error: RetryableError) -> float | None:
    seconds: object = error.retry_after
    if not isinstance(seconds, int | float) or math.isnan(seconds):
        return None
    return min(max(0.0, seconds * 1000), MAX_RETRY_AFTER_MS)


def _name_of(error: BaseException) -> str:
    return type(error).__name__


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{_name_of(error)} whose str() failed>"


def _stack_of(error: BaseException, program: Program | None) -> str:
    """The traceback with the author's files alone: nobody can mend the lines of others. Empty when there are none."""
    try:
        formatted = traceback.TracebackException.from_exception(error, max_group_width=5, max_group_depth=3)
        has_lines = isinstance(error, SyntaxError)
        for part in _chain_of(formatted):
            own = [frame for frame in part.stack if program and program.is_own(frame.filename)]
            part.stack = traceback.StackSummary.from_list(own)
            has_lines = has_lines or bool(own)
        return "".join(formatted.format()) if has_lines else ""
    except Exception:
        return ""


def _chain_of(top: traceback.TracebackException) -> list[traceback.TracebackException]:
    found: list[traceback.TracebackException] = []
    waiting: list[traceback.TracebackException | None] = [top]
    while waiting:
        part = waiting.pop()
        if part is None or any(part is known for known in found):
            continue
        found.append(part)
        waiting += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or [])]
    return found
