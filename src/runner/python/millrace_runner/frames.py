"""The frames between worker and runner, as src/core/sandbox/frames.ts has them:

u32 length of what follows · u32 length of the header · header (JSON, UTF-8) · payload (bytes), big-endian.
"""

import json
import struct
from typing import Any, Final

MAX_PAYLOAD_BYTES: Final = 1_048_576
MAX_HEADER_BYTES: Final = 131_072

_PREFIX: Final = struct.Struct("!II")
_HEADER_LENGTH_BYTES: Final = 4
_MAX_FRAME_BYTES: Final = _HEADER_LENGTH_BYTES + MAX_HEADER_BYTES + MAX_PAYLOAD_BYTES

_to_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Frame = tuple[dict[str, Any], bytes]


class ProtocolError(Exception):
    """The other side broke the protocol; nothing it sends afterwards can be trusted."""


def encode_frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Raises ValueError when header or payload is larger than a frame may hold: a bug of the caller."""
    # A lone surrogate is no UTF-8; what an author's text may hold must not end the sandbox.
    head = _to_json(header).encode("utf-8", "replace")
    if len(head) > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {len(head)} bytes is too large")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes is too large")
    return b"".join((_PREFIX.pack(_HEADER_LENGTH_BYTES + len(head) + len(payload), len(head)), head, payload))


class FrameDecoder:
    """Makes frames of a stream's bytes, whatever pieces they come in; holds at most one frame and one piece."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def push(self, chunk: bytes) -> list[Frame]:
        """Gives the frames that `chunk` completes. Raises ProtocolError as soon as the bytes cannot be a frame."""
        buffer = self._buffer
        buffer += chunk
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            length, header_length = _PREFIX.unpack_from(buffer, start)
            _check_sizes(length, header_length)
            end = start + _HEADER_LENGTH_BYTES + length
            if len(buffer) < end:
                break
            header_end = start + _PREFIX.size + header_length
            header = _parse_header(bytes(buffer[start + _PREFIX.size : header_end]))
            frames.append((header, bytes(buffer[header_end:end])))
            start = end
        del buffer[:start]
        return frames


def _check_sizes(length: int, header_length: int) -> None:
    if length > _MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {length} bytes is too large")
    if header_length > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header of {header_length} bytes is too large")
    payload_length = length - _HEADER_LENGTH_BYTES - header_length
    if payload_length < 0:
        raise ProtocolError("the header is longer than its frame")
    if payload_length > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"a payload of {payload_length} bytes is too large")


def _parse_header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the header is not JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("the header is no object")
    return header
