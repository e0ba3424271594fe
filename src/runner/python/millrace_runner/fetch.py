"""`ctx.fetch`: requests that the worker's broker makes, with bodies that flow in both directions."""

import json as json_module
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from . import link as messages
from .errors import Cancelled, FetchError
from .mailbox import Mailbox
from .protocol import (
    BODY_WINDOW_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FETCH_BYTES,
    MAX_HEADERS,
    MAX_METHOD_CHARS,
    MAX_TARGET_CHARS,
    REDIRECTS,
    count_units,
)

# So much is read from the worker before it is told; half a window keeps it sending without a frame for every piece.
_CREDIT_STEP_BYTES: Final = BODY_WINDOW_BYTES // 2


@runtime_checkable
class Readable(Protocol):
    """A file, or what looks like one."""

    def read(self, size: int, /) -> bytes | str: ...


# Inside of Response, `bytes` is its method.
Chunk = bytes
Body = str | bytes | bytearray | memoryview | Readable | Iterable[bytes | str]
HeadersInit = Mapping[str, str] | Iterable[tuple[str, str]]


class Headers(Mapping[str, str]):
    """Headers of a response: names in any case, values of equal names joined with a comma; `pairs` has them as sent."""

    __slots__ = ("_values", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = tuple((name, value) for name, value in pairs)
        self._values: dict[str, str] = {}
        for name, value in self.pairs:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values!r})"


class Response:
    """The answer to a fetch, made when its head has come; the body is read as it is asked for, once.

    Closed, or garbage, it tells the worker that the rest is not wanted. `with` closes it.
    """

    status: int
    headers: Headers
    url: str
    redirected: bool

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._fetch = 0
        self._has_head = False
        self._chunks: deque[Chunk] = deque()
        self._is_ended = False
        self._is_read = False
        self._is_closed = False
        self._failure: FetchError | None = None
        self._upload_credit = BODY_WINDOW_BYTES
        self._taken_bytes = 0
        self._body: Chunk | None = None

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.url}>"

    @property
    def ok(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status <= 299

    def bytes(self) -> Chunk:
        """The whole body. It may be asked for again, as text or JSON, too."""
        if self._body is None:
            self._body = b"".join(self)
        return self._body

    def text(self, encoding: str | None = None) -> str:
        """The body as text, in `encoding`, else in what the headers say, else in UTF-8."""
        encoding = encoding or _charset_of(self.headers.get("content-type", "")) or "utf-8"
        try:
            return self.bytes().decode(encoding, "replace")
        except LookupError:
            return self.bytes().decode("utf-8", "replace")

    def json(self) -> Any:
        """Raises ValueError when the body is no JSON."""
        return json_module.loads(self.bytes())

    def raise_for_status(self) -> "Response":
        """Raises FetchError with the code `http_status` for a status of 400 and above; gives itself otherwise."""
        if self.status >= 400:
            self.close()
            raise FetchError("http_status", f"{self.url} answered with status {self.status}")
        return self

    def __iter__(self) -> Iterator[Chunk]:
        """The body in pieces, as they come; the worker sends on as they are taken."""
        if self._is_read:
            raise ValueError("the body was read already: keep what bytes(), text() or json() gave")
        self._is_read = True
        while (chunk := self._next_chunk()) is not None:
            yield chunk

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._mailbox.close(self._fetch)
        if not self._is_ended and self._failure is None:
            self._mailbox.link.send(messages.FETCH_ABORT, self._fetch)

    def __del__(self) -> None:
        if self._fetch and not self._is_closed and not self._is_ended and self._failure is None:
            self._mailbox.abandon(self._fetch)

    def receive(self, kind: int, _number: int, body: Chunk) -> None:
        """Takes a message of this fetch."""
        if kind == messages.FETCH_HEAD:
            head = json_module.loads(body)
            self.status, self.url, self.redirected = head["status"], head["url"], head["redirected"]
            self.headers = Headers(map(tuple, head["headers"]))
            self._has_head = True
        elif kind == messages.FETCH_DATA:
            self._chunks.append(body)
        elif kind == messages.FETCH_END:
            self._is_ended = True
        elif kind == messages.FETCH_FAILED:
            failure = json_module.loads(body)
            self._failure = FetchError(failure["code"], failure["message"])
        elif kind == messages.FETCH_CREDIT:
            self._upload_credit += json_module.loads(body)

    def _next_chunk(self) -> Chunk | None:
        self._wait(lambda: bool(self._chunks) or self._is_ended)
        if not self._chunks:
            self.close()
            return None
        chunk = self._chunks.popleft()
        self._taken_bytes += len(chunk)
        if self._taken_bytes >= _CREDIT_STEP_BYTES and not self._is_ended:
            self._mailbox.link.send(messages.FETCH_CREDIT, self._fetch, str(self._taken_bytes).encode())
            self._taken_bytes = 0
        return chunk

    def _take_upload_credit(self, size: int) -> bool:
        """Waits until so much more of the request's body may be sent; False when the response has ended before."""
        self._wait(lambda: self._upload_credit >= size or self._is_ended)
        if self._is_ended:
            return False
        with self._mailbox.lock:
            self._upload_credit -= size
        return True

    def _wait(self, is_due: Callable[[], bool], seconds: float | None = None) -> None:
        """Waits, and raises what keeps it from coming: a failure, a cancellation, or a time that is over."""
        mailbox = self._mailbox
        came = mailbox.wait_for(lambda: is_due() or self._failure is not None or mailbox.is_cancelled, seconds)
        if came and is_due():
            return
        if self._failure is not None:
            # A new one for each caller: an exception carries the traceback of where it was raised.
            raise FetchError(self._failure.code, str(self._failure))
        self.close()
        if mailbox.is_cancelled:
            raise Cancelled("the step was cancelled")
        raise TimeoutError(f"no answer within {seconds} s")


class Fetcher:
    """`ctx.fetch` of one run."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def __call__(
        self,
        target: str,
        *,
        method: str | None = None,
        headers: HeadersInit | None = None,
        body: Body | None = None,
        json: Any = None,
        redirect: str = "follow",
        timeout: float | None = None,
    ) -> Response:
        """Makes a request through the platform, and returns when the response's head has come.

        `target` is a URL, or `credential-name:/path`. `json` is sent as JSON; an iterable or file as `body` is sent as
        it is read. Raises FetchError with a `.code` when the platform refuses or the request fails, and TimeoutError
        when no head has come `timeout` seconds after the request was sent. Any status is a response: see `.ok` and
        `.raise_for_status()`. May be called from threads; in `async def run`, use
        `await asyncio.to_thread(ctx.fetch, …)` for requests side by side.
        """
        pairs = _header_pairs(headers)
        if json is not None:
            if body is not None:
                raise TypeError("ctx.fetch takes `body` or `json`, not both")
            body = json_module.dumps(json, ensure_ascii=False, allow_nan=False).encode()
            if not any(name.lower() == "content-type" for name, _ in pairs):
                pairs.append(("content-type", "application/json"))
        chunks = None if body is None else _chunks_of(body)
        request = _request_header(target, method, pairs, chunks is not None, redirect)
        response = Response(self._mailbox)
        response._fetch = self._mailbox.open(response, request)
        try:
            if chunks is not None:
                self._upload(response, chunks)
            response._wait(lambda: response._has_head, timeout)
        except BaseException:
            response.close()
            raise
        return response

    def _upload(self, response: Response, chunks: Iterator[bytes]) -> None:
        """Sends a request's body within the window; stops when the response is over before."""
        link = self._mailbox.link
        for chunk in chunks:
            if not response._take_upload_credit(len(chunk)):
                return
            link.send(messages.FETCH_DATA, response._fetch, chunk)
        link.send(messages.FETCH_END, response._fetch)


def _request_header(
    target: str, method: str | None, headers: list[tuple[str, str]], has_body: bool, redirect: str
) -> bytes:
    """Raises for what the protocol has no place for; what the worker refuses, it says itself."""
    if not isinstance(target, str):
        raise TypeError(f"the target of ctx.fetch is {type(target).__name__}, not a URL as str")
    if count_units(target) > MAX_TARGET_CHARS:
        raise ValueError(f"a URL of {len(target)} characters is too long: the limit is {MAX_TARGET_CHARS}")
    method = method or ("POST" if has_body else "GET")
    if not isinstance(method, str) or not method.isascii() or not 0 < len(method) <= MAX_METHOD_CHARS:
        raise ValueError(f"{method!r} is no method of HTTP")
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"{len(headers)} headers are too many: the limit is {MAX_HEADERS}")
    if redirect not in REDIRECTS:
        raise ValueError(f"`redirect` is one of {', '.join(REDIRECTS)}, not {redirect!r}")
    request = {"target": target, "method": method, "headers": headers, "hasBody": has_body, "redirect": redirect}
    encoded = json_module.dumps(request).encode()
    if len(encoded) > MAX_FETCH_BYTES:
        raise ValueError(f"URL and headers have {len(encoded)} bytes: the limit is {MAX_FETCH_BYTES}")
    return encoded


def _header_pairs(headers: HeadersInit | None) -> list[tuple[str, str]]:
    if headers is None:
        return []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    result: list[tuple[str, str]] = []
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            raise TypeError(f"the header {name!r} is {type(value).__name__}: names and values of headers are str")
        result.append((name, str(value)))
    return result


def _chunks_of(body: Body) -> Iterator[bytes]:
    """A body in pieces that the protocol takes. Raises TypeError at once for what is no body."""
    if isinstance(body, str | bytes | bytearray | memoryview):
        return _split(body)
    if isinstance(body, Readable):
        return _read_pieces(body)
    if isinstance(body, Mapping) or not isinstance(body, Iterable):
        raise TypeError(
            f"the body of ctx.fetch is {type(body).__name__}: it takes str, bytes, a file, or an iterable of those; "
            "a dict or list goes into `json=`"
        )
    return (piece for part in body for piece in _split(part))


def _split(part: Any) -> Iterator[bytes]:
    # Raises TypeError itself for what holds no bytes.
    view = memoryview(part.encode() if isinstance(part, str) else part).cast("B")
    for start in range(0, len(view), MAX_CHUNK_BYTES):
        yield bytes(view[start : start + MAX_CHUNK_BYTES])


def _read_pieces(file: Readable) -> Iterator[bytes]:
    while part := file.read(MAX_CHUNK_BYTES):
        yield from _split(part)


def _charset_of(content_type: str) -> str | None:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None
