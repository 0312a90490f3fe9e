"""Errors in a client's own shape: one route class that knows what went wrong, one function that says it."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.generation.live.listening import NotSpoken
from app.kit.database import UNAVAILABLE
from app.kit.errors import AppError
from app.kit.problems import documented
from app.storage.interface import StorageError, StoreFull

log = structlog.get_logger()
# Fields and places in lists; pydantic also names the kind of value that it tried, where there are several.
_FIELD = re.compile(r"[a-z0-9][a-z0-9_-]*")
CODES = (400, 401, 403, 404, 409, 422, 429, 503, 507)


def documented_as(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for what a client's routes can refuse; a body over the limit is a problem document."""
    refused: dict[int | str, dict[str, Any]] = {status: {"model": model} for status in CODES}
    return refused | documented(413)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not served; `param` is the field at fault, `retry` whether another try may help."""

    status: int
    code: str
    message: str
    param: str | None = None
    retry: bool = False
    headers: tuple[tuple[str, str], ...] = ()


ERRORS = (AppError, RequestValidationError, HTTPException, *UNAVAILABLE, StorageError)


def refusal_of(error: Exception) -> Refusal:
    """What a client is told of an error."""
    match error:
        case NotSpoken():
            return Refusal(error.answer, error.reason, error.detail, retry=error.retry)
        case AppError():
            headers = (("WWW-Authenticate", "Bearer"),) if error.status == 401 else ()
            param = error.extra.get("field")
            return Refusal(error.status, error.code, error.detail, param, headers=headers)
        case RequestValidationError():
            # The input itself stays out: it may be a token or a transcript.
            first = error.errors()[0]
            parts = [str(part) for part in first["loc"][1:]]
            field = ".".join(part for part in parts if _FIELD.fullmatch(part)) or None
            most = first.get("ctx", {}).get("max_length")
            wrong = f"at most {most:,} characters are taken" if most else first["msg"]
            return Refusal(422, "invalid", f"{field or 'The request'}: {wrong}", field)
        case HTTPException():
            return Refusal(error.status_code, "bad_request", str(error.detail))
        case StoreFull():
            return Refusal(507, error.code, f"{error} {error.fix}")
        case StorageError():
            return Refusal(503, error.code, f"{error} {error.fix}")
    return Refusal(
        503, "database_unavailable", "The database does not answer; try again in a moment.", retry=True
    )


class ClientRoute(APIRoute):
    """A route whose errors are answered by `shape`."""

    @staticmethod
    def shape(refusal: Refusal) -> dict[str, Any]:
        """The body of an answer that says why."""
        raise NotImplementedError

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except ERRORS as error:
                refusal = refusal_of(error)
            if refusal.status >= 500:
                log.warning("http.refused", path=self.path, status=refusal.status, code=refusal.code)
            headers = dict(refusal.headers)
            if refusal.retry:
                headers["Retry-After"] = "1"
            elif refusal.status in (409, 429) or refusal.status >= 500:
                headers["x-should-retry"] = "false"  # openai would ask twice more, for the same answer
            return JSONResponse(self.shape(refusal), refusal.status, headers)

        return handled
