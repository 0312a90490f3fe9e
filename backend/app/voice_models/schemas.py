from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from app.kit.schemas import Answer, Body, Name

Status = Literal["pending", "training", "ready", "failed"]


class VoiceModelIn(Body):
    model_config = ConfigDict(
        extra="forbid",
        protected_namespaces=(),
        json_schema_extra={
            "example": {
                "voice_actor_id": "01990000-0000-7000-8000-000000000000",
                "model_name": "테스트 모델 v1.0",
            }
        },
    )

    voice_actor_id: str = Field(max_length=100)
    model_name: Name


class VoiceModelChange(Body):
    model_config = ConfigDict(
        extra="forbid", protected_namespaces=(), json_schema_extra={"example": {"status": "ready"}}
    )

    model_name: Name | None = None
    status: Literal["ready"] | None = Field(
        None, description="stop a training under way and put the last good state back in service"
    )


class FailureOut(Answer):
    code: str
    message: str
    fix: str


class VoiceModelOut(Answer):
    id: str
    voice_actor_id: str
    model_name: str
    status: Status
    version: int = Field(description="how often it was trained to the end")
    engine: str | None
    quality_score: float | None = Field(description="0–100, from the parts in `report`")
    report: dict[str, Any] | None
    failure: FailureOut | None
    training_run_id: str | None
    trained_at: datetime | None
    created_at: datetime
    updated_at: datetime


class TrainingOut(Answer):
    """A training that was started; watch the model's status."""

    training_run_id: str
    model_id: str
    status: Status


class StepOut(Answer):
    name: str
    status: Literal["running", "ok", "failed", "stopped"]
    seconds: float
    used: dict[str, Any]
    figures: dict[str, Any]
    error: str | None = None
    fix: str | None = None


class DebugTrainOut(Answer):
    model_id: str
    training_run_id: str
    status: Status
    engine: str | None
    seconds: float
    quality_score: float | None
    steps: list[StepOut]
    failure: FailureOut | None
