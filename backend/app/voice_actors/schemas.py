from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from app.kit.schemas import Answer, Body, Description, Name

Gender = Literal["female", "male", "other", "unspecified"]


def _age_range(value: str) -> str:
    if not re.fullmatch(r"([0-9]{1,2}s)?", value):
        raise ValueError('must be like "30s", or empty')
    return value


AgeRange = Annotated[
    str, AfterValidator(_age_range), Field(json_schema_extra={"pattern": "^([0-9]{1,2}s)?$"})
]


class VoiceActorIn(Body):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "테스트 성우",
                "gender": "female",
                "age_range": "30s",
                "description": "테스트용 성우",
            }
        },
    )

    name: Name
    gender: Gender = "unspecified"
    age_range: AgeRange = ""
    description: Description = ""


class VoiceActorChange(Body):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"age_range": "40s"}})

    name: Name | None = None
    gender: Gender | None = None
    age_range: AgeRange | None = None
    description: Description | None = None


class VoiceActorOut(Answer):
    id: str
    name: str
    gender: Gender
    age_range: str
    description: str
    created_at: datetime
    updated_at: datetime
