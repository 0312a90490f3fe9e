from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from app.kit.schemas import Answer, Body, Name, Text
from app.scripts.schemas import Announcement, Language

MOST_ENTRIES = 20_000
Form = Annotated[Text, StringConstraints(max_length=200)]


class EntryBody(Body):
    written: Annotated[Form, StringConstraints(min_length=1)]
    spoken: Form


class LexiconIn(Body):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"name": "제품 이름", "entries": [{"written": "Moksori", "spoken": "목소리"}]}
        },
    )

    name: Name
    script_id: str | None = Field(None, max_length=100, description="for one script; empty: for all")
    entries: list[EntryBody] = Field([], max_length=MOST_ENTRIES)


class LexiconChange(Body):
    name: Name | None = None
    entries: list[EntryBody] | None = Field(None, max_length=MOST_ENTRIES)


class EntryOut(Answer):
    written: str
    spoken: str


class LexiconSummary(Answer):
    id: str
    name: str
    script_id: str | None
    version: int
    size: int
    created_at: datetime
    updated_at: datetime


class LexiconOut(LexiconSummary):
    entries: list[EntryOut]
    changed_scripts: list[str] = Field(
        [],
        description="after a change: scripts that are now read differently; a batch makes just these again",
    )


class VersionOut(Answer):
    version: int
    entries: list[EntryOut]
    created_at: datetime


class NormalizeIn(Body):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "이번 달 요금은 125,000원입니다."}}
    )

    text: Announcement
    language: Language = "ko"
    script_id: str | None = Field(None, max_length=100, description="read with this script's lexicon too")
    best_effort: bool = False


class SpanOut(Answer):
    start: int
    end: int
    written: str
    spoken: str
    spoken_start: int
    spoken_end: int
    kind: str
    rule: str
    alternatives: list[str]
    confidence: float


class UnclearOut(Answer):
    """Characters that cannot be read, and where; a lexicon entry would say how."""

    start: int
    end: int
    written: str
    why: str
    suggestion: str = ""


class PartOut(Answer):
    text: str
    start: int
    end: int
    pause: float
    rate: float


class ReadingOut(Answer):
    text: str = Field(description="as it is spoken")
    trace: list[SpanOut]
    unclear: list[UnclearOut]
    parts: list[PartOut] = Field(description="what an engine speaks at once, and the pauses after")
