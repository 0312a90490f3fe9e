"""One tree of errors: a status, a stable code, a sentence that says what to do."""

from __future__ import annotations

from typing import Any, ClassVar


class AppError(Exception):
    """What a domain raises when it cannot do what was asked; answered as an RFC 9457 problem document."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra


class Unauthorized(AppError):
    status, code, title = 401, "unauthorized", "A valid token is needed"


class Forbidden(AppError):
    status, code, title = 403, "forbidden", "This needs another role"


class NotFound(AppError):
    status, code, title = 404, "not_found", "There is no such thing"


class Conflict(AppError):
    status, code, title = 409, "conflict", "This does not fit the present state"


class Invalid(AppError):
    status, code, title = 422, "invalid", "A value is not valid"


class TooManyRequests(AppError):
    status, code, title = 429, "too_many_requests", "Too many tries; wait a while"
