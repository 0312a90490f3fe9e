from __future__ import annotations

import io

import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient

from app.kit import problems
from app.kit.ranges import ranged

DATA = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    problems.install(app)

    @app.head("/")
    @app.get("/")
    def audio(request: Request) -> Response:
        return ranged(request, FILES.file, len(DATA), "audio/wav", etag="abc", name="a.wav")

    return TestClient(app)


class _Files:
    """The file that the next request is answered from."""

    file = io.BytesIO()


FILES = _Files


@pytest.fixture(autouse=True)
def _fresh_file() -> None:
    FILES.file = io.BytesIO(DATA)


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 1024),
        ("bytes=100-199", 100, 200),
        ("bytes=1000-5000", 1000, 1024),
        ("bytes=1023-", 1023, 1024),
        ("bytes=-1", 1023, 1024),
        ("bytes=-5000", 0, 1024),
        (" bytes=5-9 ", 5, 10),
    ],
)
def test_a_range_is_its_bytes(client: TestClient, wanted: str, start: int, stop: int) -> None:
    answer = client.get("/", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, DATA[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"
    assert answer.headers["content-length"] == str(stop - start)
    assert FILES.file.closed


def test_a_head_says_what_there_is_and_reads_nothing(client: TestClient) -> None:
    """A range is of GET alone."""
    whole = client.get("/")
    _fresh()
    answer = client.head("/", headers={"Range": "bytes=0-0"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers == whole.headers
    assert answer.headers["content-length"] == "1024"
    assert FILES.file.closed


@pytest.mark.parametrize("wanted", ["bytes=1024-", "bytes=9999999999-", "bytes=-0"])
def test_a_range_outside_is_416(client: TestClient, wanted: str) -> None:
    answer = client.get("/", headers={"Range": wanted})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */1024"
    assert FILES.file.closed


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "bytes",
        "bytes=-",
        "bytes=a-b",
        "items=0-1",
        "bytes=0-1,5-6",
        "bytes=--1",
        "bytes=5-4",
        "bytes=" + "9" * 40 + "-",
    ],
)
def test_what_is_no_single_range_is_the_whole(client: TestClient, wanted: str) -> None:
    answer = client.get("/", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_what_the_client_has_is_not_sent_again(client: TestClient) -> None:
    whole = client.get("/")
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    for known in (whole.headers["etag"], f"W/{whole.headers['etag']}", f'"x", {whole.headers["etag"]}', "*"):
        _fresh()
        answer = client.get("/", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b""), known
        assert FILES.file.closed
    _fresh()
    assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200


def _fresh() -> None:
    FILES.file = io.BytesIO(DATA)


def test_a_range_of_another_version_is_the_whole(client: TestClient) -> None:
    headers = {"Range": "bytes=0-1", "If-Range": '"other"'}
    assert client.get("/", headers=headers).status_code == 200
    _fresh()
    assert client.get("/", headers=headers | {"If-Range": '"abc"'}).status_code == 206
