from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from app.kit.schemas import Answer


class SampleOut(Answer):
    id: str
    voice_actor_id: str
    file_name: str = Field(description="what the uploader called it; a label")
    text_content: str
    sha256: str
    bytes: int
    format: str
    seconds: float
    sample_rate: int
    channels: int
    verdict: Literal["good", "usable", "rejected"] | None = Field(description="empty until it is measured")
    report: dict[str, Any] | None = Field(
        description="level (LUFS, dBFS), clipping, noise, bandwidth, silence, pitch, and reasons in words"
    )
    created_at: datetime
