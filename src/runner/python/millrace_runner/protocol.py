"""The numbers and words that worker and runner agree on; src/core/sandbox/protocol.ts is their source."""

from typing import Any, Final

PROTOCOL_VERSION: Final = 1
MAX_CHUNK_BYTES: Final = 65_536
BODY_WINDOW_BYTES: Final = 262_144
MAX_LOG_ENTRY_BYTES: Final = 16_384
# What an entry counts besides its text, on both sides.
LOG_ENTRY_COST_BYTES: Final = 64

# Lengths are counted in UTF-16 units, as JavaScript has them.
MAX_TARGET_CHARS: Final = 32_768
MAX_METHOD_CHARS: Final = 32
MAX_HEADERS: Final = 200
# A fetch in JSON; a frame's header takes a little more.
MAX_FETCH_BYTES: Final = 120_000
MAX_CREDIT_BYTES: Final = 1_048_576

MAX_NAME_CHARS: Final = 200
MAX_MESSAGE_CHARS: Final = 16_384
MAX_STACK_CHARS: Final = 65_536
MAX_CODE_CHARS: Final = 64
MAX_RETRY_AFTER_MS: Final = 86_400_000

LOG_LEVELS: Final = ("debug", "info", "warn", "error")
STDOUT_LEVEL: Final = "info"
# Python's own warnings and the progress of many tools go there; a real failure is the step's error.
STDERR_LEVEL: Final = "warn"
REDIRECTS: Final = ("follow", "manual", "error")
RUN_FAILURES: Final = frozenset(
    {
        "code_error",
        "syntax_error",
        "missing_export",
        "unresolved_import",
        "invalid_output",
        "output_too_large",
        "out_of_memory",
        "resource_limit",
        "cancelled",
    }
)


def count_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, limit: int) -> str:
    """At most `limit` UTF-16 units of a text, with a sign where something is missing."""
    if len(text) * 2 <= limit or (len(text) <= limit and count_units(text) <= limit):
        return text
    kept, units = [], 1
    for char in text[:limit]:
        units += 2 if char > "\uffff" else 1
        if units > limit:
            break
        kept.append(char)
    return "".join(kept) + "…"


def make_detail(name: str, message: str) -> dict[str, Any]:
    """The least that the worker is told of a failure."""
    return {"name": cut(name, MAX_NAME_CHARS), "message": cut(message, MAX_MESSAGE_CHARS)}
