from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.storage import local
from app.storage.interface import NotThere, StorageError, StoreFull, StoreReadOnly
from app.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def files_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, after: int = 0) -> None:
    """Lets `os.<name>` fail with an error number, as the kernel does, after some calls."""
    real, calls = getattr(os, name), []

    def fail(*arguments, **keywords):
        calls.append(name)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **keywords)

    monkeypatch.setattr(local.os, name, fail)


def test_the_folders_are_the_guides(tmp_path, store):
    assert {path.name for path in tmp_path.iterdir()} == {"audio_files", "voice_samples", "voice_models"}
    store.put("samples", "a/b.wav", io.BytesIO(b"1"))
    store.put("takes", "c.wav", io.BytesIO(b"2"))
    store.put("models", "d/voice.json", io.BytesIO(b"3"))
    assert files_under(tmp_path) == {
        "voice_samples/a/b.wav",
        "audio_files/c.wav",
        "voice_models/d/voice.json",
    }
    assert store.path("samples", "a/b.wav") == tmp_path / "voice_samples/a/b.wav"
    assert (tmp_path / "voice_samples/a/b.wav").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("name", "after"), [("write", 0), ("write", 1), ("fsync", 0), ("open", 0)])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, store, monkeypatch, name, after, number):
    store.put("takes", "a", io.BytesIO(b"old"))
    failing(monkeypatch, name, number, after)
    with pytest.raises(StoreFull) as caught:
        store.put("takes", "a", io.BytesIO(b"x" * 3_000_000))
    assert caught.value.code == "storage_full"
    with pytest.raises(StoreFull):
        store.put("takes", "new", io.BytesIO(b"x" * 3_000_000))
    monkeypatch.undo()
    assert files_under(tmp_path) == {"audio_files/a"}
    assert store.path("takes", "a").read_bytes() == b"old"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_folder_is_a_typed_error(tmp_path, store, monkeypatch, number):
    failing(monkeypatch, "open", number)
    with pytest.raises(StoreReadOnly):
        store.put("takes", "a", io.BytesIO(b"x"))
    monkeypatch.undo()
    assert files_under(tmp_path) == set()


def test_any_other_trouble_is_a_storage_error(store, monkeypatch):
    failing(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(StorageError) as caught:
        store.put("takes", "a", io.BytesIO(b"x"))
    assert type(caught.value) is StorageError


def test_short_writes_are_gone_on_with(store, monkeypatch):
    real = os.write
    monkeypatch.setattr(local.os, "write", lambda descriptor, data: real(descriptor, data[:1000]))
    store.put("takes", "a", io.BytesIO(bytes(range(256)) * 20))
    assert store.path("takes", "a").read_bytes() == bytes(range(256)) * 20


def test_file_and_folders_are_flushed_before_put_returns(tmp_path, store, monkeypatch):
    flushed: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(local.os, "fsync", fsync)
    store.put("takes", "new/folder/a", io.BytesIO(b"x"))
    takes = tmp_path / "audio_files"
    assert {takes, takes / "new", takes / "new/folder"} <= set(flushed)
    names = [path.name for path in flushed]
    assert names[-1] == "folder" and names[-2].startswith("a.") and names[-2].endswith(".part")


def test_what_a_killed_writer_left_is_listed_and_can_be_swept(tmp_path, store):
    writer = f"""
import os, signal, sys
from pathlib import Path
from app.storage.local import LocalStore

class Stream:
    def __init__(self): self.count = 0
    def read(self, size):
        self.count += 1
        if self.count == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return b"x" * 1000

LocalStore(Path({str(tmp_path)!r})).put("takes", "actor/take.wav", Stream())
"""
    ended = subprocess.run([sys.executable, "-c", writer], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not store.exists("takes", "actor/take.wav")
    (left,) = store.keys("takes")
    assert left.key.startswith("actor/take.wav.") and left.key.endswith(".part")
    assert left.bytes == 2000
    assert store.delete("takes", left.key)
    assert list(store.keys("takes")) == []
    assert not (tmp_path / "audio_files/actor").exists()


def test_files_that_are_not_ours_are_neither_listed_nor_touched(tmp_path, store):
    takes = tmp_path / "audio_files"
    (takes / ".gitkeep").touch()
    (takes / "성우 노트.txt").touch()
    outside = tmp_path / "secret"
    outside.write_text("x")
    (takes / "link").symlink_to(outside)
    (takes / "away").symlink_to(tmp_path)
    store.put("takes", "ours", io.BytesIO(b"x"))
    assert [file.key for file in store.keys("takes")] == ["ours"]


def test_age_is_since_the_file_was_written(tmp_path, store):
    store.put("takes", "a", io.BytesIO(b"x"))
    path = store.path("takes", "a")
    written = path.stat().st_mtime - 7200
    os.utime(path, (written, written))
    assert 7200 <= store.stat("takes", "a").age < 7260
    assert 7200 <= next(store.keys("takes")).age < 7260
    os.utime(path, (written + 1e6, written + 1e6))  # a clock that was set back
    assert store.stat("takes", "a").age == 0


def test_a_folder_that_went_missing_is_named_and_made_again(tmp_path, store):
    shutil.rmtree(tmp_path / "audio_files")
    status = store.ping()
    takes = next(bucket for bucket in status.buckets if bucket.bucket == "takes")
    assert not takes.there and not takes.writable
    assert isinstance(takes.problem, NotThere) and "mkdir" in takes.problem.fix
    assert list(store.keys("takes")) == []
    store.put("takes", "a", io.BytesIO(b"x"))
    assert all(bucket.there and bucket.writable for bucket in store.ping().buckets)


@pytest.mark.parametrize(("number", "kind"), [(errno.EROFS, StoreReadOnly), (errno.ENOSPC, StoreFull)])
def test_ping_tries_to_write(tmp_path, store, monkeypatch, number, kind):
    def write(self, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", write)
    status = store.ping()
    assert all(bucket.there and not bucket.writable for bucket in status.buckets)
    assert all(type(bucket.problem) is kind and bucket.problem.fix for bucket in status.buckets)
    assert files_under(tmp_path) == set()


def test_ping_tells_free_space(store):
    assert all((bucket.free_bytes or 0) > 0 for bucket in store.ping().buckets)


def test_a_data_folder_that_cannot_be_made_does_not_stop_the_start(tmp_path):
    (tmp_path / "file").touch()
    store = LocalStore(tmp_path / "file")
    assert not any(bucket.there or bucket.writable for bucket in store.ping().buckets)
    with pytest.raises(StorageError):
        store.put("takes", "a", io.BytesIO(b"x"))
