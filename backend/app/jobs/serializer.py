"""What goes into the engine's rows is JSON: readable, and safe to load whoever wrote it."""

from __future__ import annotations

import json
from typing import Any

from dbos import Serializer

from app.jobs.interface import JobFailed

ERROR_KEY = "$error"
MESSAGE_LENGTH = 1000


def as_failure(error: BaseException) -> JobFailed:
    """The stored form of any error: its `code` where it has one, else its type says what kind it is."""
    if isinstance(error, JobFailed):
        return error
    code = getattr(error, "code", None)
    if isinstance(code, str):
        return JobFailed(code, str(error)[:MESSAGE_LENGTH])
    return JobFailed("internal_error", f"{type(error).__name__}: {error}"[:MESSAGE_LENGTH])


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
