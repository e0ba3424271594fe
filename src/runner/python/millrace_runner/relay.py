"""One run as main sees it, and what passes between its slot and the worker.

Main alone knows the nonce. What a slot says is the author's word: only what the protocol allows at that point is passed
on, so that no step can make the worker take the whole sandbox for broken.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from . import link as messages
from .budget import LogBudget
from .frames import MAX_PAYLOAD_BYTES, ProtocolError
from .protocol import (
    BODY_WINDOW_BYTES,
    LOG_ENTRY_COST_BYTES,
    LOG_LEVELS,
    MAX_CHUNK_BYTES,
    MAX_CODE_CHARS,
    MAX_CREDIT_BYTES,
    MAX_FETCH_BYTES,
    MAX_HEADERS,
    MAX_LOG_ENTRY_BYTES,
    MAX_METHOD_CHARS,
    MAX_RETRY_AFTER_MS,
    MAX_STACK_CHARS,
    MAX_TARGET_CHARS,
    REDIRECTS,
    RUN_FAILURES,
    count_units,
    cut,
    make_detail,
)

# The worker refuses more than 32 at a time, politely; this many at once are no honest slot's.
_MAX_FETCHES: Final = 1_024

SendFrame = Callable[[dict[str, Any], bytes], None]
SendMessage = Callable[[int, int, bytes], None]

_WORKER_KINDS: Final = {
    "fetch_data": messages.FETCH_DATA,
    "fetch_end": messages.FETCH_END,
}


class _Fetch:
    """What may still come of a fetch."""

    __slots__ = ("has_upload", "upload_credit")

    def __init__(self, has_upload: bool) -> None:
        self.has_upload = has_upload
        self.upload_credit = BODY_WINDOW_BYTES


class Run:
    """A run from its header to its end."""

    def __init__(self, header: dict[str, Any], send: SendFrame) -> None:
        self.nonce: str = header["nonce"]
        self.program: str = header["program"]
        self.is_isolated: bool = header.get("isolateProcess", False)
        self.max_output_bytes = min(header["maxOutputBytes"], MAX_PAYLOAD_BYTES)
        self.is_cancelled = False
        self.is_over = False
        self.is_told_waiting = False
        self.payload = bytearray()
        self.missing_bytes: int = header["bytes"]
        self._header = header
        self._send = send
        self._logs = LogBudget(header["maxLogBytes"], self._send_log)
        self._slot_log_bytes = 0
        self._fetches: dict[int, _Fetch] = {}
        self._last_fetch = 0

    def add_part(self, payload: bytes) -> None:
        """Raises ProtocolError for more than was announced."""
        self.payload += payload
        self.missing_bytes -= len(payload)
        if self.missing_bytes < 0:
            raise ProtocolError("a run has more bytes than it said")

    def body_for_slot(self) -> bytes:
        """What a slot needs of it; the payload is forgotten here."""
        header: dict[str, Any] = {name: self._header[name] for name in _HEADER_FOR_SLOT if name in self._header}
        header["maxOutputBytes"] = self.max_output_bytes
        payload, self.payload = bytes(self.payload), bytearray()
        return messages.pack_parts(header, payload)

    def log(self, level: str, text: bytes) -> None:
        self._logs.add(level, text)

    def say_waiting(self) -> None:
        """No slot is free for it yet."""
        if not self.is_told_waiting:
            self.is_told_waiting = True
            self._send({"type": "waiting", "nonce": self.nonce}, b"")

    def say_started(self) -> None:
        if self.is_told_waiting:
            self._send({"type": "started", "nonce": self.nonce}, b"")

    def note_lost_slot(self) -> None:
        """Its slot ended without a word: what it kept of a long log for the end is gone with it."""
        head_bytes = self._header["maxLogBytes"] // 2
        if self._slot_log_bytes > head_bytes - MAX_LOG_ENTRY_BYTES - LOG_ENTRY_COST_BYTES:
            self._logs.add("warn", b"the rest of a long log is lost with the process of the step", True)

    def succeed(self, output: bytes, slot_replaced: bool) -> None:
        self._end({"type": "result"}, output, slot_replaced)

    def fail(self, failure: str, detail: dict[str, Any], slot_replaced: bool) -> None:
        self._end({"type": "failed", "failure": failure}, json.dumps(detail).encode(), slot_replaced)

    def _end(self, header: dict[str, Any], payload: bytes, slot_replaced: bool) -> None:
        if self.is_over:
            return
        self._logs.flush()
        self.is_over = True
        replaced = {"slotReplaced": True} if slot_replaced else {}
        self._send({**header, "nonce": self.nonce, **replaced}, payload)

    def _send_log(self, level: str, text: bytes, is_marker: bool) -> None:
        marker = {"truncated": True} if is_marker else {}
        self._send({"type": "log", "nonce": self.nonce, "level": level, **marker}, text)

    def from_worker(self, header: dict[str, Any], payload: bytes, to_slot: SendMessage) -> None:
        """Passes on a `fetch_…` frame, unless the slot has lost interest in that fetch."""
        number = header["fetch"]
        fetch = self._fetches.get(number)
        if fetch is None:
            return
        kind = header["type"]
        if kind == "fetch_head":
            head = {name: header[name] for name in ("status", "headers", "url", "redirected")}
            to_slot(messages.FETCH_HEAD, number, json.dumps(head).encode())
        elif kind == "fetch_credit":
            fetch.upload_credit += header["bytes"]
            to_slot(messages.FETCH_CREDIT, number, str(header["bytes"]).encode())
        elif kind == "fetch_failed":
            del self._fetches[number]
            failure = {"code": header["code"], "message": header["message"]}
            to_slot(messages.FETCH_FAILED, number, json.dumps(failure).encode())
        else:
            if kind == "fetch_end":
                del self._fetches[number]
            to_slot(_WORKER_KINDS[kind], number, payload)

    def from_slot(self, kind: int, number: int, body: bytes) -> None:
        """Passes on what is no end of the run. Raises ProtocolError for what no honest slot sends."""
        if kind == messages.LOG:
            level, marker = number & 0xFF, bool(number >> 8)
            _require(level < len(LOG_LEVELS) and len(body) <= MAX_LOG_ENTRY_BYTES and is_text(body))
            self._slot_log_bytes += len(body) + LOG_ENTRY_COST_BYTES
            self._logs.add(LOG_LEVELS[level], body, marker)
        elif kind == messages.FETCH:
            self._open_fetch(number, body)
        elif kind in _FETCH_KINDS:
            # The worker may have ended it while this was under way.
            if fetch := self._fetches.get(number):
                self._pass_fetch(fetch, kind, number, body)
        else:
            _require(False)

    def _open_fetch(self, number: int, body: bytes) -> None:
        _require(number == self._last_fetch + 1 and len(self._fetches) < _MAX_FETCHES)
        _require(len(body) <= MAX_FETCH_BYTES)
        header = parse_json(body)
        _require(_is_fetch(header))
        self._last_fetch = number
        self._fetches[number] = _Fetch(header["hasBody"])
        self._send({"type": "fetch", "nonce": self.nonce, "fetch": number, **header}, b"")

    def _pass_fetch(self, fetch: _Fetch, kind: int, number: int, body: bytes) -> None:
        names = {"nonce": self.nonce, "fetch": number}
        if kind == messages.FETCH_DATA:
            fetch.upload_credit -= len(body)
            _require(fetch.has_upload and 0 < len(body) <= MAX_CHUNK_BYTES and fetch.upload_credit >= 0)
            self._send({"type": "fetch_data", **names}, body)
        elif kind == messages.FETCH_END:
            _require(fetch.has_upload)
            fetch.has_upload = False
            self._send({"type": "fetch_end", **names}, b"")
        elif kind == messages.FETCH_ABORT:
            del self._fetches[number]
            self._send({"type": "fetch_abort", **names}, b"")
        else:
            count = parse_json(body)
            _require(type(count) is int and 1 <= count <= MAX_CREDIT_BYTES)
            self._send({"type": "fetch_credit", **names, "bytes": count}, b"")


_HEADER_FOR_SLOT: Final = ("program", "maxLogBytes", "memoryBytes", "isolateProcess")
_FETCH_KINDS: Final = frozenset({messages.FETCH_DATA, messages.FETCH_END, messages.FETCH_ABORT, messages.FETCH_CREDIT})


def parse_failure(body: bytes) -> tuple[str, dict[str, Any]]:
    """A slot's failure, made into what protocol.ts allows. Raises ProtocolError for what no honest slot sends."""
    parsed = parse_json(body)
    _require(isinstance(parsed, list) and len(parsed) == 2)
    failure, given = parsed
    _require(failure in RUN_FAILURES if isinstance(failure, str) else False)
    _require(isinstance(given, dict) and all(isinstance(given.get(name), str) for name in ("name", "message")))
    detail = make_detail(given["name"], given["message"])
    for name, limit in (("stack", MAX_STACK_CHARS), ("platformCode", MAX_CODE_CHARS)):
        if isinstance(given.get(name), str):
            detail[name] = cut(given[name], limit)
    if isinstance(given.get("retryable"), bool):
        detail["retryable"] = given["retryable"]
    after = given.get("retryAfterMs")
    if type(after) in (int, float) and 0 <= after <= MAX_RETRY_AFTER_MS:
        detail["retryAfterMs"] = after
    return failure, detail


def parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError("a slot sent what is no JSON") from None


def is_text(body: bytes) -> bool:
    """Whether it is UTF-8; the worker takes anything else for a breach."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_fetch(header: Any) -> bool:
    """Whether it has the members of a `fetch` frame, and no others."""
    match header:
        case {
            "target": str(target),
            "method": str(method),
            "headers": list(headers),
            "hasBody": bool(),
            "redirect": str(redirect),
            **others,
        }:
            return (
                not others
                and count_units(target) <= MAX_TARGET_CHARS
                and len(method) <= MAX_METHOD_CHARS
                and redirect in REDIRECTS
                and len(headers) <= MAX_HEADERS
                and all(_is_pair(pair) for pair in headers)
            )
    return False


def _is_pair(pair: Any) -> bool:
    match pair:
        case [str(), str()]:
            return True
    return False


def _require(condition: bool) -> None:
    if not condition:
        raise ProtocolError("a slot broke the protocol")
