from __future__ import annotations

import csv
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from app.exports.package import Entry, File, ahead, manifest_csv, manifest_json, zip_stream

MOMENT = datetime(2026, 3, 4, 5, 6, 8, tzinfo=UTC)
FILES = [File("sounds/ko/a.ulaw", b"\xff" * 8000, MOMENT), File("가/b.wav", bytes(range(256)) * 9, MOMENT)]


def test_a_zip_is_whole_and_the_same_each_time() -> None:
    data = b"".join(zip_stream(FILES))
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        assert package.testzip() is None
        assert {info.filename: package.read(info) for info in package.infolist()} == {
            f.path: f.data for f in FILES
        }
        assert package.infolist()[0].date_time == (2026, 3, 4, 5, 6, 8)
        assert package.infolist()[0].external_attr >> 16 == 0o100644
    assert data == b"".join(zip_stream(FILES))


def test_a_file_is_sent_before_the_next_is_made() -> None:
    made: list[str] = []

    def making() -> Iterator[File]:
        for file in FILES:
            made.append(file.path)
            yield file

    sent = zip_stream(making())
    assert next(sent).startswith(b"PK\x03\x04")
    assert made == ["sounds/ko/a.ulaw"]


def test_what_fails_in_between_is_not_taken_for_whole() -> None:
    def failing() -> Iterator[File]:
        yield FILES[0]
        raise OSError("the file went")

    sent = b""
    with pytest.raises(OSError, match="went"):
        for part in zip_stream(failing()):
            sent += part
    assert sent and not zipfile.is_zipfile(io.BytesIO(sent))


def test_work_goes_ahead_in_order_and_stops_when_nobody_takes_it() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            started.append(number)
        return number * 2

    assert list(ahead(work, range(20))) == [number * 2 for number in range(20)]
    started.clear()
    some = ahead(work, range(1000))
    assert next(some) == 0
    some.close()
    assert len(started) <= 6


def test_the_first_failure_ends_it() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    done = []
    with pytest.raises(ValueError, match="three"):
        for result in ahead(work, range(100)):
            done.append(result)
    assert done == [0, 1, 2]


def test_manifests_say_the_same_and_run_nothing() -> None:
    entry = Entry("A1", "", "a.ulaw", "=1+1 안녕", "안녕", "하늘", "builtin", 1.5, "ulaw", "ab" * 32, "take")
    rows = list(csv.DictReader(io.StringIO(manifest_csv([entry]).decode("utf-8-sig"))))
    assert rows[0]["text"] == "'=1+1 안녕" and rows[0]["seconds"] == "1.5"
    whole = json.loads(manifest_json({"preset": "asterisk"}, [entry], [{"code": "B"}]))
    assert whole["files"][0] == {
        "code": "A1", "variant": "", "file": "a.ulaw", "text": "=1+1 안녕", "reading": "안녕", "voice": "하늘",
        "engine": "builtin", "seconds": 1.5, "format": "ulaw", "sha256": "ab" * 32, "take_id": "take",
    }  # fmt: skip
    assert whole["preset"] == "asterisk" and whole["left_out"] == [{"code": "B"}]
    assert list(rows[0]) == list(whole["files"][0])
