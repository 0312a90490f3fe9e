from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from app.middleware import FORM_ROOM, JSON_BYTES, METHODS, REQUESTS, BodyLimit, OneSpelling, RequestContext

UPLOAD = "/api/v1/voice-actors/x/samples"
FORM, JSON = "multipart/form-data; boundary=x", "application/json"


def make_app(upload_bytes: int) -> FastAPI:
    app = FastAPI(redirect_slashes=False)

    @app.post("/{path:path}")
    async def count(path: str, request: Request) -> dict[str, object]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return {"path": path, "size": size}

    app.add_middleware(BodyLimit, upload_bytes=upload_bytes)
    app.add_middleware(OneSpelling)
    app.add_middleware(RequestContext)
    return app


@pytest.fixture
def client() -> TestClient:
    return TestClient(make_app(upload_bytes=10 * 2**20))


def chunks(size: int) -> Iterator[bytes]:
    """A body without a declared length."""
    while size > 0:
        yield bytes(min(size, 2**18))
        size -= 2**18


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [
        ("/api/v1/voice-actors", FORM, JSON_BYTES),
        ("/api/v1/voice-actors/x/samples/y", FORM, JSON_BYTES),
        ("/api/v1/sheets/x/generate", FORM, JSON_BYTES),
        (UPLOAD, JSON, JSON_BYTES),
        (UPLOAD, FORM, 10 * 2**20 + FORM_ROOM),
        (f"{UPLOAD}/", FORM.replace("multipart", "Multipart"), 10 * 2**20 + FORM_ROOM),
        ("/api/v1/sheets", FORM, 10 * 2**20 + FORM_ROOM),
        ("/api/v1/sheets/x/import", FORM, 10 * 2**20 + FORM_ROOM),
    ],
)
def test_a_body_has_its_limit(client: TestClient, path: str, kind: str, limit: int, streamed: bool) -> None:
    def send(size: int):
        content = chunks(size) if streamed else bytes(size)
        return client.post(path, content=content, headers={"Content-Type": kind})

    assert send(limit).json()["size"] == limit
    refused = send(limit + 1)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["x-request-id"]


def test_a_lie_about_the_length_does_not_help() -> None:
    """The header says ten bytes, and they keep coming."""
    app = make_app(upload_bytes=0)
    sent: list[dict] = []
    received = 0

    async def receive() -> dict:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": bytes(2**20), "more_body": True}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/x", "raw_path": b"/x", "query_string": b"",
        "headers": [(b"content-length", b"10")], "http_version": "1.1", "scheme": "http",
        "server": ("test", 80), "client": ("test", 1), "root_path": "",
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert received == JSON_BYTES // 2**20 + 1


@pytest.mark.parametrize(
    ("path", "seen"), [("/a", "a"), ("/a/", "a"), ("/a//", "a"), ("/", ""), ("//", ""), ("/a/b/", "a/b")]
)
def test_a_path_has_one_spelling(client: TestClient, path: str, seen: str) -> None:
    answer = client.post(f"http://testserver{path}", content=b"body")
    assert answer.json() == {"path": seen, "size": 4}


@pytest.mark.parametrize("length", ["-1", "x", "", "1e9", "9" * 100])
def test_a_length_that_is_no_number_is_no_fault(client: TestClient, length: str) -> None:
    answer = client.post("/a", content=b"x", headers={"Content-Length": length})
    assert answer.status_code in (200, 413)


def test_methods_that_strangers_make_up_are_counted_as_one() -> None:
    app = make_app(0)
    for method in ("BREW", "WHEN", "get", "POST"):
        TestClient(app).request(method, "/coffee")
    counted = {sample.labels["method"] for metric in REQUESTS.collect() for sample in metric.samples}
    assert "other" in counted
    assert counted <= METHODS | {"other"}
