from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from app.kit.schemas import Answer, Body
from app.lexicons.schemas import UnclearOut
from app.scripts.schemas import TakeOut

GenerationStatus = Literal["queued", "running", "done", "failed", "cancelled"]
ScriptId = Annotated[str, StringConstraints(max_length=100)]
MAX_SCRIPTS = 10_000


class FailureOut(Answer):
    code: str
    message: str
    fix: str = ""
    unclear: list[UnclearOut] = []


class GenerationOut(Answer):
    id: str
    script_id: str
    batch_id: str | None
    voice_model_id: str
    status: GenerationStatus
    interactive: bool
    text: str
    failure: FailureOut | None
    take: TakeOut | None
    created_at: datetime
    ended_at: datetime | None


class BatchIn(Body):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"script_ids": ["script1", "script2"], "force_regenerate": False}},
    )

    script_ids: list[ScriptId] = Field(min_length=1, max_length=MAX_SCRIPTS)
    force_regenerate: bool = Field(False, description="also what is up to date")


class BatchItem(Answer):
    script_id: str
    status: Literal["accepted", "unchanged", "unknown"]
    generation_id: str | None = None
    take_id: str | None = Field(None, description="the up-to-date take of an unchanged script")
    unclear: list[UnclearOut] = Field(
        [], description="characters that cannot be read: it will fail with these"
    )


class BatchStarted(Answer):
    batch_id: str
    accepted: int
    unchanged: int
    unknown: int
    scripts: list[BatchItem]


class FailureCount(Answer):
    code: str
    message: str
    count: int
    script_ids: list[str] = Field(description="the first hundred of them")


class BatchOut(Answer):
    id: str
    status: Literal["running", "done", "cancelled"]
    total: int = Field(description="scripts that were accepted")
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    unchanged: int
    unknown: int
    per_minute: float | None = Field(description="scripts finished a minute, so far")
    seconds_left: float | None = Field(description="a guess from that rate")
    failures: list[FailureCount]
    created_at: datetime
    ended_at: datetime | None


class GeneratedOut(Answer):
    """A generation that was started; `watch` shows how it goes."""

    generation_id: str
    script_id: str
    status: GenerationStatus
    watch: str
