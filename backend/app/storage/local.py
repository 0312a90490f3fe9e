"""Audio in folders of the data folder, as the guide names them."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.storage.interface import (
    BUCKETS,
    CHUNK,
    PART,
    BadKey,
    BucketStatus,
    NotThere,
    StorageError,
    StoredAudio,
    StoredFile,
    StoreFull,
    StoreReadOnly,
    StoreStatus,
    check_key,
    check_new_key,
)

FOLDERS = {"samples": "voice_samples", "takes": "audio_files", "models": "voice_models"}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_TRIES = 10  # to make a folder that others keep taking away


class LocalStore:
    """Files under `<data folder>/voice_samples`, `audio_files` and `voice_models`.

    A file is written beside its place, flushed to the disk, then renamed into it, and the folder is
    flushed too: after a power cut there is the old file or the new one.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folders = {bucket: data_dir / FOLDERS[bucket] for bucket in BUCKETS}
        for folder in self._folders.values():
            with suppress(OSError):  # `ping` says so, and the service starts to say it
                folder.mkdir(parents=True, exist_ok=True)

    def path(self, bucket: str, key: str) -> Path:
        """Where a file is, for the operator's eyes and for tools that need a path."""
        key = check_key(bucket, key)
        return self._folders[bucket] / key

    def _new_path(self, bucket: str, key: str) -> Path:
        key = check_new_key(bucket, key)
        return self._folders[bucket] / key

    def put(self, bucket: str, key: str, stream: BinaryIO, *, seconds: float | None = None) -> StoredAudio:
        target = self._new_path(bucket, key)
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}{PART}")
        digest, size = hashlib.sha256(), 0
        try:
            with _translated(key):
                descriptor = self._create(part)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    with _translated(key):
                        _write_all(file.fileno(), chunk)
                with _translated(key):
                    os.fsync(file.fileno())
            with _translated(key):
                part.replace(target)
                _sync_folder(target.parent)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        return StoredAudio(digest.hexdigest(), size, seconds)

    def open(self, bucket: str, key: str) -> BinaryIO:
        path = self.path(bucket, key)
        with _translated(key):
            return path.open("rb")

    def delete(self, bucket: str, key: str) -> bool:
        path = self.path(bucket, key)
        try:
            with _translated(key):
                path.unlink()
        except NotThere:
            return False
        root = self._folders[bucket]
        for folder in path.parents:
            if folder == root:
                break
            try:
                folder.rmdir()
            except OSError:
                break
        return True

    def exists(self, bucket: str, key: str) -> bool:
        return self.path(bucket, key).is_file()

    def stat(self, bucket: str, key: str) -> StoredFile:
        path = self.path(bucket, key)
        if not path.is_file():
            raise NotThere(f"{bucket}: {key}")
        with _translated(key):
            status = path.stat()
        return StoredFile(key, status.st_size, _age(status))

    def keys(self, bucket: str) -> Iterator[StoredFile]:
        """Files of ours alone: one that an operator put here under a name no key has is not touched."""
        if bucket not in BUCKETS:
            raise BadKey(f"no such bucket: {bucket!r}")
        # Thousands of files pass here at each diagnosis: one system call a file, and no Path.
        waiting = [(str(self._folders[bucket]), "")]
        while waiting:
            folder, prefix = waiting.pop()
            try:
                entries = list(os.scandir(folder))
            except OSError:  # gone meanwhile
                continue
            for entry in entries:
                key = prefix + entry.name
                with suppress(OSError, BadKey):  # gone meanwhile, or not ours
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, key + "/"))
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield StoredFile(check_key(bucket, key), status.st_size, _age(status))

    def ping(self) -> StoreStatus:
        return StoreStatus("local", tuple(self._ping(bucket) for bucket in BUCKETS))

    def _ping(self, bucket: str) -> BucketStatus:
        folder = self._folders[bucket]
        if not folder.is_dir():
            problem: StorageError = NotThere(f"{folder} is not there")
            problem.fix = f"Make the folder again: mkdir -p {folder}"
            return BucketStatus(bucket, str(folder), there=False, writable=False, problem=problem)
        free = shutil.disk_usage(folder).free
        probe = folder / f".ping-{secrets.token_hex(4)}"  # hidden: no key, so `keys` never shows it
        try:
            with _translated(str(folder)):
                probe.write_bytes(b"moksori")
        except StorageError as problem:
            return BucketStatus(bucket, str(folder), True, False, free, problem)
        finally:
            with suppress(OSError):
                probe.unlink()
        return BucketStatus(bucket, str(folder), True, True, free)

    def _create(self, part: Path) -> int:
        """A new file to write to, its folder made first; another thread's `delete` may take that away."""
        for tries_left in reversed(range(_TRIES)):
            missing = [folder for folder in part.parents if not folder.exists()]
            try:
                part.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            # mkdir says "exists" of a folder that was there when it began and is gone when it looks again.
            except (FileNotFoundError, FileExistsError):
                if not tries_left:
                    raise
                continue
            for folder in missing:
                _sync_folder(folder.parent)
            return descriptor
        raise AssertionError("unreachable")


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """The operating system's errors as the store's; an error of the caller's stream is no such thing."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotThere(key) from error
    except OSError as error:
        kind = (
            StoreFull
            if error.errno in _FULL
            else StoreReadOnly
            if error.errno in _READ_ONLY
            else NotThere
            if error.errno in (errno.ENOTDIR, errno.EISDIR)
            else StorageError
        )
        raise kind(f"{key}: {error.strerror}") from error


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _age(status: os.stat_result) -> float:
    return max(0.0, time.time() - status.st_mtime)
