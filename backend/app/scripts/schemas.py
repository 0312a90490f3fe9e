from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from app.kit.schemas import Answer, Body, Text, one_line

MAX_CHARS = 5000


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


Announcement = Annotated[
    Text, StringConstraints(min_length=1, max_length=MAX_CHARS), AfterValidator(_not_blank)
]
Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(one_line)]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]{2})?$")]
Speed = Annotated[float, Field(ge=0.5, le=2.0)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


class ScriptIn(Body):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "text": "상담원 연결은 0번을 눌러주세요.",
                "voice_model_id": "01990000-0000-7000-8000-000000000000",
                "title": "상담원 연결",
            }
        },
    )

    text: Announcement
    voice_model_id: str = Field(max_length=100)
    title: Title = ""
    language: Language = "ko"
    speed: Speed = 1.0
    seed: Seed = 0


class ScriptChange(Body):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "감사합니다.", "speed": 0.9}}
    )

    text: Announcement | None = None
    voice_model_id: str | None = Field(None, max_length=100)
    title: Title | None = None
    language: Language | None = None
    speed: Speed | None = None
    seed: Seed | None = None


class TakeOut(Answer):
    """The audio of one generation, with its measurements."""

    id: str
    generation_id: str
    script_id: str
    engine: str
    simulated: bool = Field(description="true for the mock engine, whose scores mean nothing")
    text: str
    spoken_text: str
    reading: dict[str, object] = Field(
        description="how the text was read: the spoken text, its trace, and the lexicons with their versions"
    )
    model_version: int
    seed: int
    seconds: float
    sample_rate: int
    bytes: int
    sha256: str
    quality_score: float | None
    report: dict[str, object]
    approved_at: datetime | None
    missing_at: datetime | None = Field(description="when its file was found to be gone")
    created_at: datetime


class ScriptOut(Answer):
    id: str
    voice_model_id: str
    title: str
    text: str
    language: str
    speed: float
    seed: int
    current_take: TakeOut | None
    stale_at: datetime | None = Field(
        description="since when the take no longer says what it should: the script or its reading changed"
    )
    created_at: datetime
    updated_at: datetime
