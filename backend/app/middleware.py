"""What every request passes: a name of its own, one spelling of its path, and a limit on its body."""

from __future__ import annotations

import re
import time

import structlog
from fastapi.routing import iter_route_contexts
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.ids import new_id
from app.kit.problems import problem

log = structlog.get_logger()

REQUESTS = Counter("moksori_http_requests_total", "Requests", ["method", "route", "status"])
SECONDS = Histogram("moksori_http_request_seconds", "Time to the end of an answer", ["method", "route"])

# A method is whatever a stranger writes: others than these are counted as one.
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

JSON_BYTES = 4 * 2**20
FORM_ROOM = 2**20  # a multipart body's own lines, beside the file
_UPLOADS = re.compile(r"/api/v1/(voice-actors/[^/]+/samples|sheets|sheets/[^/]+/import)")


class RequestContext:
    """Gives every request an id (`X-Request-ID`), a log line and its measurements."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._templates: dict[int, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, status, start = new_id(), 500, time.perf_counter()
        structlog.contextvars.bind_contextvars(request=request_id)

        async def named_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, named_send)
        finally:
            seconds = time.perf_counter() - start
            route = self._template(scope)
            method = scope["method"] if scope["method"] in METHODS else "other"
            REQUESTS.labels(method, route, status).inc()
            SECONDS.labels(method, route).observe(seconds)
            if status >= 400 or scope["method"] not in ("GET", "HEAD"):
                log.info("http.request", method=scope["method"], route=route, status=status,
                         milliseconds=round(seconds * 1000, 1))  # fmt: skip
            structlog.contextvars.unbind_contextvars("request")

    def _template(self, scope: Scope) -> str:
        """The whole path with its parameters' names; a route of its own knows only what its router says."""
        if not self._templates:
            every = iter_route_contexts(scope["app"].routes)
            self._templates = {id(each.original_route): each.path or "" for each in every}
        return self._templates.get(id(scope.get("route")), "unknown")


class OneSpelling:
    """`/voice-actors/` and `/voice-actors` are one path; a redirect would lose curl's body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses a body that is too large before it fills a disk, whatever its headers promise."""

    def __init__(self, app: ASGIApp, upload_bytes: int) -> None:
        self.app, self.upload_bytes = app, upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.upload_bytes + FORM_ROOM if _is_upload(scope) else JSON_BYTES
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await self._refuse(limit, scope, receive, send)
            return
        seen, started, refused = 0, False, False

        async def counted() -> Message:
            nonlocal seen, refused
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    refused = True
                    return {"type": "http.disconnect"}
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if refused and not started:
                return
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except Exception:
            if not refused:
                raise
        if refused and not started:
            await self._refuse(limit, scope, receive, send)

    @staticmethod
    async def _refuse(limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        answer = problem(
            413, "too_large", "The request is too large", f"At most {limit:,} bytes are taken here."
        )
        await answer(scope, receive, send)


def _is_upload(scope: Scope) -> bool:
    """Whether the body is a form with files, which lie on the disk: any other is read into memory."""
    kind = dict(scope["headers"]).get(b"content-type", b"").lower()
    return (
        scope["method"] == "POST"
        and kind.startswith(b"multipart/form-data")
        and _UPLOADS.fullmatch(scope["path"]) is not None
    )
