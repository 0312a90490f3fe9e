from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, StringConstraints

from app.kit.schemas import Answer, Body, Description, Name

Gender = Literal["female", "male", "other", "unspecified"]
AgeRange = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,2}s)?$")]  # "30s"; empty: not said


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
