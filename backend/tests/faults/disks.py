"""Folders that are full or cannot be written, as really as the machine allows."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _mount(folder: Path, options: str) -> bool:
    """Mount a small file system there; False where that is not allowed."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


@contextmanager
def full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk of 16 KiB; where none may be mounted, writes beyond so much are refused as the kernel would."""
    folder.mkdir(parents=True, exist_ok=True)
    if _mount(folder, "size=16k"):
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    with monkeypatch.context() as patch:
        write, left = os.write, [16_384]

        def limited(descriptor: int, data: bytes) -> int:
            if not Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder):
                return write(descriptor, data)
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = write(descriptor, memoryview(data)[: left[0]])
            left[0] -= written
            return written

        patch.setattr(os, "write", limited)
        yield


@contextmanager
def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder in which nothing can be made, not even by root where root may mount; else as if."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    if _mount(folder, "ro,size=16k"):
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    with monkeypatch.context() as patch:
        make, make_folder = os.open, os.mkdir

        def refuse(path: object) -> None:
            if str(path).startswith(str(folder)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        def opened(path: object, flags: int, *rest: object, **options: object) -> int:
            if flags & os.O_CREAT:
                refuse(path)
            return make(path, flags, *rest, **options)  # type: ignore[arg-type]

        def made(path: object, *rest: object, **options: object) -> None:
            refuse(path)
            make_folder(path, *rest, **options)  # type: ignore[arg-type]

        patch.setattr(os, "open", opened)
        patch.setattr(os, "mkdir", made)
        patch.setattr(Path, "write_bytes", lambda path, _data: refuse(path))
        yield
