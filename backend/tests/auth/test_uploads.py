from __future__ import annotations

import asyncio
import errno
import os
import re

import pytest
from starlette.datastructures import UploadFile

from tests.service import NOBODY, Service, wav


def uploads(service: Service) -> list[str]:
    """Every path that takes a form with files, ids filled in."""
    return [
        re.sub(r"\{\w+\}", NOBODY, path)
        for path, methods in service.app.openapi()["paths"].items()
        for operation in methods.values()
        if "multipart/form-data" in operation.get("requestBody", {}).get("content", {})
    ]


@pytest.mark.parametrize("token", [None, "mks_wrong"])
def test_a_strangers_file_is_not_read(service: Service, token: str | None) -> None:
    paths = uploads(service)
    assert len(paths) >= 4
    assert {path: asyncio.run(_unread(service, path, token)) for path in paths} == dict.fromkeys(paths, 401)


async def _unread(service: Service, path: str, token: str | None) -> int:
    """The status of an answer that comes without a look at the body."""
    headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"4000000")]
    headers += [(b"authorization", f"Bearer {token}".encode())] if token else []
    sent: list[dict] = []

    async def receive() -> dict:
        raise AssertionError("it was read")

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("test", 80),
        "client": ("test", 1), "root_path": "",
    }  # fmt: skip
    await service.app(scope, receive, send)  # type: ignore[arg-type]
    status: int = sent[0]["status"]
    return status


def test_a_full_disk_is_not_the_clients_mistake(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    actor = service.actor()
    monkeypatch.setattr(UploadFile, "write", full)
    refused = service.post(f"/voice-actors/{actor}/samples", files={"audio_file": ("a.wav", wav())})
    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")


def test_a_form_that_is_none_stays_the_clients_mistake(service: Service) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    refused = service.post("/sheets", content=b"nothing of the kind", headers=headers)
    assert refused.status_code == 400
