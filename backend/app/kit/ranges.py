"""Answers that a player can seek in: bytes of an open file, whole or one range of them (RFC 9110, 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from app.kit.errors import AppError

BLOCK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class RangeNotSatisfiable(AppError):
    status, code, title = 416, "range_not_satisfiable", "The file is shorter than that"

    def __init__(self, size: int) -> None:
        super().__init__(f"It has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})


def ranged(request: Request, file: BinaryIO, size: int, media_type: str, *, etag: str, name: str) -> Response:
    """The file, or the range that was asked for; for HEAD its head alone. Closes the file once it is sent."""
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{etag}"',
        "Content-Disposition": f'inline; filename="{name}"',
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if _knows(request.headers.get("if-none-match", ""), headers["ETag"]):
        file.close()
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":  # ranges are GET's alone (RFC 9110, 14.2)
        file.close()
        return Response(headers=headers | {"Content-Length": str(size)}, media_type=media_type)
    start, stop = 0, size
    wanted = request.headers.get("range")
    if wanted and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        match = _RANGE.fullmatch(wanted.strip())
        # Several ranges, or another unit: the whole file is a right answer too.
        if match and _makes_sense(*match.groups()):
            start, stop = _bounds(match, size, file)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    status = 206 if "Content-Range" in headers else 200
    return StreamingResponse(_blocks(file, start, stop), status, headers=headers, media_type=media_type)


def _knows(tags: str, etag: str) -> bool:
    """Whether an If-None-Match names this version; weak tags count as well (RFC 9110, 13.1.2)."""
    return tags.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in tags.split(","))


def _makes_sense(first: str, last: str) -> bool:
    """A range that ends before it starts is to be overlooked (RFC 9110, 14.1.1)."""
    return bool(first or last) and not (first and last and int(last) < int(first))


def _bounds(match: re.Match[str], size: int, file: BinaryIO) -> tuple[int, int]:
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, stop = max(size - int(last), 0), size
    if start >= stop:
        file.close()
        raise RangeNotSatisfiable(size)
    return start, stop


def _blocks(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < stop and (block := file.read(min(BLOCK, stop - start))):
            start += len(block)
            yield block
