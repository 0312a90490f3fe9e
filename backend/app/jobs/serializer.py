"""What goes into the engine's rows is JSON: readable, and safe to load whoever wrote it."""

from __future__ import annotations

import json
from typing import Any

from dbos import Serializer
from sqlalchemy.exc import SQLAlchemyError

from app.jobs.interface import JobFailed

ERROR_KEY = "$error"
MESSAGE_LENGTH = 1000


def as_failure(error: BaseException) -> JobFailed:
    """The stored form of any error: its code and message where it is one of ours, else its type alone.

    It is answered over HTTP, and what another's error says may be a path or a statement.
    """
    if isinstance(error, JobFailed):
        return error
    code = getattr(error, "code", None)
    if isinstance(code, str) and not isinstance(error, SQLAlchemyError):  # whose codes are its own
        return JobFailed(code, str(error)[:MESSAGE_LENGTH])
    return JobFailed("internal_error", f"{type(error).__name__}: the service's log has the details.")


class JsonSerializer(Serializer):
    """Values are JSON; an error is kept as its code and message and comes back as JobFailed."""

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            failure = as_failure(data)
            data = {ERROR_KEY: {"code": failure.code, "message": failure.message}}
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def deserialize(cls, serialized_data: str) -> Any:
        data = json.loads(serialized_data)
        if isinstance(data, dict) and set(data) == {ERROR_KEY}:
            return JobFailed(data[ERROR_KEY]["code"], data[ERROR_KEY]["message"])
        return data

    def name(self) -> str:
        return "moksori_json"
