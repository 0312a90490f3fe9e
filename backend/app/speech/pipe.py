"""Messages between a process and its child: a JSON header and raw blobs, each with its length before it.

Never a pickle, and nothing beyond the standard library, so that the smallest child can use it.
A message on the wire: 4 bytes length of the header, the header, then the blobs whose lengths the
header's `"blobs"` gives. Integers are little-endian.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

_MOST_HEADER = 1 << 20
_MOST_BLOB = 1 << 30


class PipeClosed(Exception):
    """The other side went away, in the middle of a message or between two."""


def send(stream: IO[bytes], header: dict[str, Any], *blobs: bytes | memoryview) -> None:
    """Write one message. Raises PipeClosed when nobody reads any more, and ValueError for too long a header."""
    sizes = [blob.nbytes if isinstance(blob, memoryview) else len(blob) for blob in blobs]
    encoded = json.dumps({**header, "blobs": sizes}).encode()
    if len(encoded) > _MOST_HEADER:
        raise ValueError("the header is too long")
    try:
        stream.write(struct.pack("<I", len(encoded)) + encoded)
        for blob in blobs:
            stream.write(blob)
        stream.flush()
    except (OSError, ValueError) as error:
        raise PipeClosed from error


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Read one message. Raises PipeClosed at the end of the stream or on anything that is no message."""
    (length,) = struct.unpack("<I", _exactly(stream, 4))
    if length > _MOST_HEADER:
        raise PipeClosed
    try:
        header: dict[str, Any] = json.loads(_exactly(stream, length))
        sizes = [int(size) for size in header.pop("blobs")]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise PipeClosed from error
    if any(not 0 <= size <= _MOST_BLOB for size in sizes):
        raise PipeClosed
    return header, [_exactly(stream, size) for size in sizes]


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = b""
    try:
        data = stream.read(size) if size else b""
    except (OSError, ValueError) as error:
        raise PipeClosed from error
    if len(data) != size:
        raise PipeClosed
    return data
