"""What every audio store is: named buckets of files under keys, written whole or not at all.

A key is a relative path that the service makes up (`<actor id>/<sample id>.wav`), never one that came
from a user: what users call their files is a label in the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

BUCKETS = ("samples", "takes", "models")
CHUNK = 1 << 20  # bytes moved at a time
PART = ".part"  # ends the name of a write under way; a crash can leave one, which is swept like any stray

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_MAX_KEY, _MAX_SEGMENTS = 200, 8


class StorageError(Exception):
    """The store could not do what was asked; `fix` says what an operator can do."""

    code = "storage_failed"
    fix = "See the service's log; diagnosis checks the store."


class NotThere(StorageError):
    code = "file_missing"
    fix = "Run fix-issues: takes are made again by a batch, samples by uploading them again."


class StoreFull(StorageError):
    code = "storage_full"
    fix = "Free some space on the store's disk, or raise its quota, and try again."


class StoreReadOnly(StorageError):
    code = "storage_read_only"
    fix = "Let the service's user write to the data folders (chmod 755, chown, remount)."


class BadKey(StorageError, ValueError):
    """A key or bucket that no part of the service makes: a mistake in the code, or an attack."""

    code = "storage_bad_key"
    fix = "Report this: keys are made by the service."


@dataclass(frozen=True, slots=True)
class StoredAudio:
    """What was written: SHA-256 (hex) and length in bytes; seconds where the writer said so."""

    sha256: str
    bytes: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is there now. `age` is in seconds since it was last written, at the time of asking."""

    key: str
    bytes: int
    age: float


@dataclass(frozen=True, slots=True)
class BucketStatus:
    """How one bucket is: where, whether it can be written, and the free bytes where that is known."""

    bucket: str
    place: str
    there: bool
    writable: bool
    free_bytes: int | None = None
    problem: StorageError | None = None


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """A store's answer to `ping`."""

    store: str
    buckets: tuple[BucketStatus, ...]


@runtime_checkable
class AudioStore(Protocol):
    """Holds files. Safe for use by several threads. Implementations are picked in `app.bootstrap` alone."""

    def put(self, bucket: str, key: str, stream: BinaryIO, *, seconds: float | None = None) -> StoredAudio:
        """Store what `stream` holds, in place of what was there; durable once this returns.

        A reader sees the old file or the new one. When anything fails, `stream` included (its error comes
        through as it is), the old one stays and nothing half-written is left.
        Raises BadKey, StoreFull, StoreReadOnly.
        """

    def open(self, bucket: str, key: str) -> BinaryIO:
        """The file, for reading, seekable; the caller closes it. Raises NotThere, BadKey."""

    def delete(self, bucket: str, key: str) -> bool:
        """Remove the file; whether it had been there. Raises BadKey, StoreReadOnly."""

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is such a file. Raises BadKey."""

    def stat(self, bucket: str, key: str) -> StoredFile:
        """Its length and age. Raises NotThere, BadKey."""

    def keys(self, bucket: str) -> Iterator[StoredFile]:
        """Every file of a bucket, in no order; what a crash left of a write is among them."""

    def ping(self) -> StoreStatus:
        """Whether the buckets are there and can be written: tried, not guessed; a few milliseconds."""


def check_key(bucket: str, key: str) -> str:
    """`key` as it is, when it is one that the service may use: else BadKey.

    Segments of ASCII letters, digits, `.`, `_` and `-`, none of which begins with a sign: so no `..`, no
    hidden file, no absolute path, no NUL, and the same meaning on a disk and in an object store.
    """
    if bucket not in BUCKETS:
        raise BadKey(f"no such bucket: {bucket!r}")
    segments = key.split("/")
    if (
        len(key) > _MAX_KEY
        or len(segments) > _MAX_SEGMENTS
        or not all(_SEGMENT.fullmatch(segment) for segment in segments)
    ):
        raise BadKey(f"not a key: {key[:_MAX_KEY]!r}")
    return key


def check_new_key(bucket: str, key: str) -> str:
    """Like `check_key`, for a file that is to be written: its name must not be that of a write under way."""
    if check_key(bucket, key).endswith(PART):
        raise BadKey(f"not a key: {key!r}")
    return key
