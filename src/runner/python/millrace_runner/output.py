"""Makes JSON of what a run returned, or says what about it is no JSON, and where."""

import datetime
import decimal
import json
from collections.abc import Iterator
from typing import Any, Final

# As the worker has it.
MAX_DEPTH: Final = 100
_MAX_SAFE_INTEGER: Final = 2**53 - 1
_ROOT: Final = "output"

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

_HINTS: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    ((set, frozenset), "make a list of it, such as sorted(value)"),
    ((bytes, bytearray, memoryview), "decode it, or send it as text with base64.b64encode"),
    ((datetime.datetime, datetime.date, datetime.time), "use value.isoformat()"),
    (decimal.Decimal, "use float(value), or str(value) to keep every digit"),
)


class InvalidOutput(Exception):
    """The message names the place and the remedy."""


class OutputTooLarge(Exception):
    """The message has size and limit."""


def encode_output(value: object, max_bytes: int) -> bytes:
    """JSON in UTF-8 of at most `max_bytes`; None is null. Raises InvalidOutput or OutputTooLarge."""
    _check(value, max_bytes)
    try:
        encoded = _encode(value).encode()
    except UnicodeEncodeError as error:
        raise InvalidOutput(
            f"`{_ROOT}` holds a lone surrogate ({error.object[error.start]!a}), which no text in UTF-8 can have: "
            "decode bytes with errors='replace'"
        ) from None
    if len(encoded) > max_bytes:
        raise _too_large(f"{len(encoded)} bytes", max_bytes)
    return encoded


def _too_large(size: str, max_bytes: int) -> OutputTooLarge:
    return OutputTooLarge(
        f"the output is {size}, the limit is {max_bytes}: store it elsewhere and return a reference to it"
    )


def _check(value: object, max_bytes: int) -> None:
    """Walks the value without recursion, and no further than an output of `max_bytes` can reach.

    `json` alone would turn keys into strings without a word, and would not say where the fault is.
    """
    path: list[str | int] = []
    # For each container that is open: its entries still to come, and its identity.
    open_containers: list[tuple[Iterator[tuple[str | int, object]], int]] = []
    open_ids: set[int] = set()
    least_bytes = 0
    current = value
    while True:
        least_bytes += 1 + (len(current) if isinstance(current, str) else 0)
        if least_bytes > max_bytes:
            raise _too_large(f"more than {least_bytes} bytes", max_bytes)
        if isinstance(current, dict | list | tuple):
            if id(current) in open_ids:
                raise InvalidOutput(f"`{_place(path)}` contains itself: JSON has no cycles")
            if len(open_containers) >= MAX_DEPTH:
                raise InvalidOutput(f"`{_ROOT}` is nested deeper than {MAX_DEPTH} levels")
            open_containers.append((_entries(current, path), id(current)))
            open_ids.add(id(current))
            path.append("")
        else:
            _check_scalar(current, path)
        while open_containers:
            entries, identity = open_containers[-1]
            entry = next(entries, None)
            if entry is not None:
                path[-1], current = entry
                break
            open_containers.pop()
            open_ids.discard(identity)
            path.pop()
        else:
            return


def _entries(container: Any, path: list[str | int]) -> Iterator[tuple[str | int, object]]:
    """The entries of a container; the last of `path` is where the walk is inside it."""
    if not isinstance(container, dict):
        yield from enumerate(container)
        return
    for key, entry in container.items():
        if not isinstance(key, str):
            raise InvalidOutput(
                f"`{_place(path[:-1])}` has the key {_shorten(key)} of type {type(key).__name__}: "
                "keys of JSON are strings, so use str(key)"
            )
        yield key, entry


def _check_scalar(value: object, path: list[str | int]) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if abs(value) > _MAX_SAFE_INTEGER:
            raise InvalidOutput(
                f"`{_place(path)}` is an integer beyond ±(2^53−1), which JSON readers round: return str(value)"
            )
        return
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidOutput(f"`{_place(path)}` is {float(value)!r}: JSON has no such number; return None or a text")
        return
    raise InvalidOutput(f"`{_place(path)}` is {_with_article(type(value).__name__)}, which is no JSON: {_hint(value)}")


def _hint(value: object) -> str:
    for types, hint in _HINTS:
        if isinstance(value, types):
            return hint
    if hasattr(type(value), "__dataclass_fields__"):
        return "use dataclasses.asdict(value)"
    if hasattr(type(value), "tolist"):
        return "use value.tolist()"
    if hasattr(type(value), "model_dump"):
        return "use value.model_dump(mode='json')"
    return "return dicts with string keys, lists, strings, numbers, booleans and None"


def _place(path: list[str | int]) -> str:
    """`output.items[3].name`; `path` has the keys and indexes that lead there."""
    text = _ROOT
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif key.isidentifier():
            text += f".{_shorten(key, plain=True)}"
        else:
            text += f"[{_shorten(key)}]"
    return text


def _shorten(key: object, plain: bool = False) -> str:
    try:
        text = str(key) if plain else repr(key)
    except Exception:
        text = f"<{type(key).__name__}>"
    return text if len(text) <= 80 else f"{text[:79]}…"


def _with_article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
