"""Audio in memory: for tests and for trying things out; gone with the process."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from app.storage.interface import (
    BUCKETS,
    CHUNK,
    BadKey,
    BucketStatus,
    NotThere,
    StoredAudio,
    StoredFile,
    StoreFull,
    StoreStatus,
    check_key,
    check_new_key,
)


class MemoryStore:
    """A dictionary; `capacity` in bytes makes a full disk."""

    def __init__(self, capacity: int | None = None) -> None:
        self._files: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._lock = threading.Lock()
        self._capacity = capacity

    def put(self, bucket: str, key: str, stream: BinaryIO, *, seconds: float | None = None) -> StoredAudio:
        place = (bucket, check_new_key(bucket, key))
        chunks, size = [], 0
        while chunk := stream.read(CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            free = self._free()
            if free is not None and size > free:
                raise StoreFull(f"{key}: more than {free} bytes")
        data = b"".join(chunks)
        with self._lock:
            self._files[place] = (data, time.time())
        return StoredAudio(hashlib.sha256(data).hexdigest(), size, seconds)

    def open(self, bucket: str, key: str) -> BinaryIO:
        return io.BytesIO(self._get(bucket, key)[0])

    def delete(self, bucket: str, key: str) -> bool:
        with self._lock:
            return self._files.pop((bucket, check_key(bucket, key)), None) is not None

    def exists(self, bucket: str, key: str) -> bool:
        return (bucket, check_key(bucket, key)) in self._files

    def stat(self, bucket: str, key: str) -> StoredFile:
        data, written = self._get(bucket, key)
        return StoredFile(key, len(data), max(0.0, time.time() - written))

    def keys(self, bucket: str) -> Iterator[StoredFile]:
        if bucket not in BUCKETS:
            raise BadKey(f"no such bucket: {bucket!r}")
        with self._lock:
            files = [(key, *file) for (place, key), file in self._files.items() if place == bucket]
        for key, data, written in files:
            yield StoredFile(key, len(data), max(0.0, time.time() - written))

    def ping(self) -> StoreStatus:
        return StoreStatus(
            "memory",
            tuple(BucketStatus(bucket, "memory", True, True, self._free()) for bucket in BUCKETS),
        )

    def _get(self, bucket: str, key: str) -> tuple[bytes, float]:
        try:
            return self._files[bucket, check_key(bucket, key)]
        except KeyError:
            raise NotThere(f"{bucket}: {key}") from None

    def _free(self) -> int | None:
        if self._capacity is None:
            return None
        with self._lock:
            return self._capacity - sum(len(data) for data, _ in self._files.values())
