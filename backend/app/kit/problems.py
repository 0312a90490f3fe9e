"""Errors over HTTP: RFC 9457 problem documents with a stable `code`."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError, IntegrityError
from starlette.exceptions import HTTPException

from app.kit.database import UNAVAILABLE, is_full
from app.kit.errors import AppError

log = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457; `errors` names the fields of a request that are wrong."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "There is no such thing",
                "status": 404,
                "code": "voice_actor_not_found",
                "detail": "There is no voice actor with this id.",
            }
        },
    )

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for the errors that a route can answer."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def problem(
    status: int, code: str, title: str, detail: str, headers: dict[str, str] | None = None, **extra: Any
) -> JSONResponse:
    body = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **extra}
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def _app_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)
    extra = dict(error.extra)
    headers = extra.pop("headers", {})
    if error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    if retry := extra.pop("retry_after", None):
        headers = {"Retry-After": str(retry)}
    return problem(error.status, error.code, error.title, error.detail, headers, **extra)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    code = title.lower().replace(" ", "_").replace("-", "_")
    return problem(error.status_code, code, title, str(error.detail), dict(error.headers or {}))


def _validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # The input itself stays out: it may be a password or a transcript.
    errors = [
        {
            "field": ".".join(str(part) for part in item["loc"]),
            "message": _message(item),
            "kind": item["type"],
        }
        for item in error.errors()
    ]
    named = ", ".join(sorted({item["field"] for item in errors}))
    return problem(422, "invalid", "A value is not valid", f"See `errors`: {named}.", errors=errors)


def _message(item: dict[str, Any]) -> str:
    """Pydantic counts items where it checks a text after another check of it."""
    message = str(item["msg"])
    if item["type"] in ("too_short", "too_long") and isinstance(item["input"], str):
        return re.sub(r"\bitem(?=s?\b)", "character", message)
    return message


def _database_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)
    log.error("http.database_failed", path=request.url.path, error=type(error.orig).__name__)
    if is_full(error):
        return problem(
            507, "storage_full", "The disk is full", "Free some space and try again; nothing was changed."
        )
    return problem(
        503,
        "database_unavailable",
        "The database does not answer",
        "Nothing was changed; try again in a moment.",
        {"Retry-After": "5"},
    )


def _integrity_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IntegrityError)
    # What a request looked at was changed by another before it could commit: a row it refers to is gone, or
    # the name it wants is taken.
    log.warning("http.conflict", path=request.url.path, error=type(error.orig).__name__)
    return problem(
        409, "conflict", "This does not fit the present state",
        "Another request changed the same thing at the same time. Nothing was changed; look again.",
    )  # fmt: skip


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("http.failed", path=request.url.path, error=type(error).__name__, exc_info=error)
    return problem(
        500, "internal_error", "Something went wrong", "Nothing was changed; the log has the details."
    )


def install(app: FastAPI) -> None:
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, _database_error)
    app.add_exception_handler(IntegrityError, _integrity_error)
    app.add_exception_handler(Exception, _unexpected)
