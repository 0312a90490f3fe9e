"""One suite over every twin of the `AudioStore` seam."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.storage.interface import BUCKETS, CHUNK, AudioStore, BadKey, NotThere, StoredFile
from app.storage.local import LocalStore
from app.storage.memory import MemoryStore

TWINS: dict[str, Callable[[Path], AudioStore]] = {
    "local": LocalStore,
    "memory": lambda _: MemoryStore(),
}


@pytest.fixture(params=TWINS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> AudioStore:
    return TWINS[request.param](tmp_path)


def put(store: AudioStore, key: str, data: bytes, bucket: str = "takes"):
    return store.put(bucket, key, io.BytesIO(data))


def read(store: AudioStore, key: str, bucket: str = "takes") -> bytes:
    with store.open(bucket, key) as file:
        return file.read()


def listed(store: AudioStore, bucket: str = "takes") -> dict[str, StoredFile]:
    return {file.key: file for file in store.keys(bucket)}


def test_is_an_audio_store(store):
    assert isinstance(store, AudioStore)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_what_was_put_comes_back_with_its_digest(store, size):
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    stored = store.put("samples", "actor/sample.wav", io.BytesIO(data), seconds=1.5)
    assert (stored.sha256, stored.bytes, stored.seconds) == (hashlib.sha256(data).hexdigest(), size, 1.5)
    assert read(store, "actor/sample.wav", "samples") == data


def test_seconds_are_unknown_unless_told(store):
    assert put(store, "a", b"x").seconds is None


def test_a_file_opens_for_ranges(store):
    put(store, "take.wav", b"0123456789")
    with store.open("takes", "take.wav") as file:
        assert file.seekable()
        assert file.seek(-3, io.SEEK_END) == 7
        assert file.read() == b"789"
        assert file.seek(2) == 2
        assert file.read(3) == b"234"
        assert file.tell() == 5
        assert file.seek(1, io.SEEK_CUR) == 6
        assert file.read(100) == b"6789"
        assert file.read(1) == b""


def test_a_reader_keeps_the_file_it_opened(store):
    put(store, "take.wav", b"old")
    with store.open("takes", "take.wav") as file:
        put(store, "take.wav", b"new!")
        assert file.read() == b"old"
    assert read(store, "take.wav") == b"new!"


def test_buckets_do_not_share_keys(store):
    for bucket in BUCKETS:
        put(store, "same", bucket.encode(), bucket)
    for bucket in BUCKETS:
        assert read(store, "same", bucket) == bucket.encode()
    assert store.delete("takes", "same")
    assert store.exists("samples", "same") and not store.exists("takes", "same")


def test_delete_tells_whether_it_was_there_and_leaves_the_neighbours(store):
    put(store, "a/b/one", b"1")
    put(store, "a/b/two", b"2")
    assert store.delete("takes", "a/b/one") is True
    assert store.delete("takes", "a/b/one") is False
    assert not store.exists("takes", "a/b/one")
    assert read(store, "a/b/two") == b"2"
    assert store.delete("takes", "a/b/two") is True
    assert listed(store) == {}


def test_what_is_not_there_is_a_typed_error(store):
    put(store, "folder/file", b"x")
    for key in ("nothing", "no/such/folder", "folder", "folder/file/deeper"):
        assert not store.exists("takes", key)
        with pytest.raises(NotThere) as caught:
            store.open("takes", key)
        assert caught.value.code == "file_missing" and caught.value.fix
        with pytest.raises(NotThere):
            store.stat("takes", key)
        assert store.delete("takes", "nothing") is False


def test_stat_and_keys_tell_length_and_age(store):
    put(store, "a/one", b"1")
    put(store, "two", b"22")
    put(store, "other", b"x", "models")
    files = listed(store)
    assert {key: file.bytes for key, file in files.items()} == {"a/one": 1, "two": 2}
    assert all(0 <= file.age < 60 for file in files.values())
    found = store.stat("takes", "two")
    assert (found.key, found.bytes) == ("two", 2) and 0 <= found.age < 60


def test_keys_may_be_deleted_while_they_are_listed(store):
    for number in range(20):
        put(store, f"folder{number % 3}/{number}", b"x")
    for file in store.keys("takes"):
        store.delete("takes", file.key)
    assert listed(store) == {}


class BrokenStream(io.RawIOBase):
    """An upload whose client goes away after some bytes."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks

    def read(self, size: int = -1) -> bytes:
        if not self.chunks:
            raise ConnectionResetError("gone")
        self.chunks -= 1
        return b"x" * 1000


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_a_stream_that_fails_leaves_nothing_and_its_error_comes_through(store, chunks):
    with pytest.raises(ConnectionResetError):
        store.put("takes", "new", BrokenStream(chunks))
    assert listed(store) == {}
    put(store, "old", b"old")
    with pytest.raises(ConnectionResetError):
        store.put("takes", "old", BrokenStream(chunks))
    assert read(store, "old") == b"old"
    assert set(listed(store)) == {"old"}


@pytest.mark.parametrize(
    "key",
    [
        "", "/", "/etc/passwd", "..", "../x", "a/../b", "a/./b", ".hidden", "a/.hidden", "a//b", "a/", "a\0b",
        "a\\b", "성우/샘플.wav", "a b", "-rf", "a\n", "x" * 201, "a/" * 8 + "a", "C:x", "~", "%2e%2e/x",
        "a.part",
    ],
)  # fmt: skip
def test_a_bad_key_never_reaches_the_store(store, key):
    with pytest.raises(BadKey):
        put(store, key, b"x")
    if not key.endswith(".part"):
        for action in (store.open, store.delete, store.exists, store.stat):
            with pytest.raises(BadKey):
                action("takes", key)
    assert listed(store) == {}


@pytest.mark.parametrize("bucket", ["", "..", "voice_samples", "TAKES"])
def test_a_bucket_nobody_made_is_refused(store, bucket):
    for action in (store.open, store.delete, store.exists, store.stat):
        with pytest.raises(BadKey):
            action(bucket, "key")
    with pytest.raises(BadKey):
        put(store, "key", b"", bucket)
    with pytest.raises(BadKey):
        list(store.keys(bucket))


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(
    files=st.dictionaries(st.from_regex(r"f[a-z0-9]{0,2}/[A-Za-z0-9][a-z._-]{0,8}x", fullmatch=True),
                          st.binary(max_size=64), max_size=6)
)  # fmt: skip
def test_a_store_is_a_dictionary(store, files):
    for key, data in files.items():
        put(store, key, data)
    assert {key: read(store, key) for key in listed(store)} == files
    for key in files:
        assert store.delete("takes", key)
    assert listed(store) == {}


def test_writers_of_one_key_do_not_mix(store):
    blobs = [bytes([65 + number]) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=put, args=(store, "one/key", blob)) for blob in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(store, "one/key") in blobs
    assert set(listed(store)) == {"one/key"}


def test_writing_and_deleting_in_one_folder_at_once(store):
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(30):
                put(store, f"folder/{name}", name.encode())
                assert store.delete("takes", f"folder/{name}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and listed(store) == {}


def test_ping_names_every_bucket(store):
    status = store.ping()
    assert [bucket.bucket for bucket in status.buckets] == list(BUCKETS)
    assert all(bucket.place and bucket.there and bucket.writable for bucket in status.buckets)
    assert listed(store) == {}
