"""A model hub of our own on loopback, which can be told to misbehave."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.speech.releases import CPML, Release, WeightsFile


def checkpoint(tensors: bytes) -> bytes:
    """A file that opens as PyTorch's do: a zip that packs nothing, its list of contents at its end."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data/0"), tensors)
    return file.getvalue()


CONTENTS = {
    "config.json": b'{"model": "xtts"}',
    "vocab.json": b'{"model": {"vocab": {}}}',
    "model.pth": checkpoint(bytes(range(256)) * 4000),
}
REPOSITORY, REVISION = "coqui/XTTS-v2", "0123abc"


def small_release(contents: dict[str, bytes] = CONTENTS) -> Release:
    """A release with the same shape as the real one, a megabyte in all."""
    files = [
        WeightsFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    ]
    return Release("xtts-v2", REPOSITORY, REVISION, CPML, tuple(files))


@dataclass
class Hub:
    """What the server gives out, how it misbehaves, and what it was asked for."""

    address: str = ""
    contents: dict[str, bytes] = field(default_factory=lambda: dict(CONTENTS))
    asked: list[tuple[str, str]] = field(default_factory=list)
    """File name and Range header of each request."""
    cut_after: list[int] = field(default_factory=list)
    """The next answers with a body for model.pth end after so many bytes; -1: not cut."""
    statuses: list[int] = field(default_factory=list)
    """The next answers have these statuses; 200: as usual."""
    ranges: bool = True
    etag: str = '"one"'
    headers: dict[str, str] = field(default_factory=dict)
    """More headers of every answer with a file."""

    def asked_for(self, name: str) -> list[str]:
        return [span for asked, span in self.asked if asked == name]


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            prefix = f"/{REPOSITORY}/resolve/{REVISION}/"
            if self.path.startswith(prefix):  # The real hub sends one on to its store, too.
                self.answer(302, b"", Location=f"/store/{self.path.removeprefix(prefix)}")
                return
            name = self.path.removeprefix("/store/")
            span = self.headers.get("Range", "")
            hub.asked.append((name, span))
            status = hub.statuses.pop(0) if hub.statuses else 200
            if status != 200 or name not in hub.contents:
                self.answer(status if status != 200 else 404, b"")
                return
            content = hub.contents[name]
            start = int(span.removeprefix("bytes=").rstrip("-")) if span and hub.ranges else 0
            if self.headers.get("If-Range", hub.etag) != hub.etag:
                start = 0
            if start >= len(content):
                self.answer(416, b"")
                return
            headers = {"ETag": hub.etag, **hub.headers}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206 if start else 200, content[start:], name=name, **headers)

        def answer(self, status: int, body: bytes, *, name: str = "", **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if name == "model.pth" and hub.cut_after and (kept := hub.cut_after.pop(0)) >= 0:
                body = body[:kept]
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, *parts: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *parts: Any) -> None:
            """A client that hangs up is part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
