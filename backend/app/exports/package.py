"""The package: a zip that is sent while it is made, its manifests last."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TypeVar

from app.sheets.parsing.table import neutral

T = TypeVar("T")
R = TypeVar("R")
_THREADS = 2  # rendering is numpy's work, which lets others run
_AHEAD = 4
_FIRST_YEAR = 1980  # before which a zip knows no time


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the manifest, for one file."""

    code: str
    variant: str
    file: str
    text: str
    reading: str
    voice: str
    engine: str
    seconds: float
    format: str
    sha256: str
    take_id: str


@dataclass(frozen=True, slots=True)
class File:
    path: str
    data: bytes
    made_at: datetime


def zip_stream(files: Iterable[File]) -> Iterator[bytes]:
    """A zip's bytes, file by file. An error in between leaves it without its end, so that nobody takes it for whole.

    Deflated, because stored files of unknown length cannot be read from a stream; the same files give the
    same bytes.
    """
    sink = _Sink()
    package = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1)  # type: ignore[call-overload]
    for file in files:
        moment = file.made_at
        info = zipfile.ZipInfo(
            file.path,
            (
                max(moment.year, _FIRST_YEAR),
                moment.month,
                moment.day,
                moment.hour,
                moment.minute,
                moment.second,
            ),
        )
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o100644 << 16
        package.writestr(info, file.data)
        yield sink.taken()
    package.close()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Where zipfile writes; it cannot seek, and what was written is taken away."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:  # type: ignore[override]
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def taken(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole


def ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`function` of each item, in order, a few at work ahead of the one that is waited for."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="export")
    waiting: list[Future[R]] = []
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _AHEAD:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        # Nobody takes what is left, when the receiver went away or one failed; and nobody waits for it.
        pool.shutdown(wait=False, cancel_futures=True)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_csv(entries: Iterable[Entry]) -> bytes:
    """The manifest for spreadsheets: UTF-8 with a mark, and no cell that would run."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([field.name for field in fields(Entry)])
    for entry in entries:
        writer.writerow([neutral(str(getattr(entry, field.name))) for field in fields(Entry)])
    return file.getvalue().encode("utf-8-sig")


def manifest_json(
    about: dict[str, object], entries: Iterable[Entry], left_out: list[dict[str, str]]
) -> bytes:
    whole = {**about, "files": [asdict(entry) for entry in entries], "left_out": left_out}
    return json.dumps(whole, ensure_ascii=False, indent=1).encode()
