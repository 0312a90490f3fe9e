from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.clients.refusals import Refusal
from app.kit.schemas import Text
from app.scripts.schemas import Announcement, Language


class VoiceSettings(BaseModel):
    """Of a client's wishes for a voice, its speed is followed."""

    model_config = ConfigDict(extra="ignore")

    speed: float | None = Field(None, ge=0.25, le=4.0)


class SpeechIn(BaseModel):
    """ElevenLabs' request. What is not named here is accepted and not looked at."""

    model_config = ConfigDict(
        extra="ignore",
        protected_namespaces=(),
        json_schema_extra={
            "example": {"text": "상담원 연결은 0번을 눌러주세요.", "model_id": "eleven_multilingual_v2"}
        },
    )

    text: Announcement
    model_id: Annotated[Text, StringConstraints(max_length=200)] | None = None
    language_code: Language | None = None
    voice_settings: VoiceSettings | None = None
    seed: int | None = Field(None, ge=0, le=2**32 - 1)


class ErrorBody(BaseModel):
    status: str
    message: str


class ErrorOut(BaseModel):
    detail: ErrorBody


class VoiceOut(BaseModel):
    voice_id: str
    name: str
    category: str = "cloned"
    labels: dict[str, str]
    description: str | None
    preview_url: str | None = None
    created_at_unix: int


class VoicesOut(BaseModel):
    voices: list[VoiceOut]


class VoicePageOut(BaseModel):
    voices: list[VoiceOut]
    has_more: bool
    total_count: int | None
    next_page_token: str | None


class LanguageOut(BaseModel):
    language_id: str
    name: str


class ModelOut(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    name: str
    description: str
    can_do_text_to_speech: bool = True
    languages: list[LanguageOut]
    maximum_text_length_per_request: int


def error_of(refusal: Refusal) -> dict[str, Any]:
    """ElevenLabs' error object."""
    status = "invalid_api_key" if refusal.status == 401 else refusal.code
    return {"detail": {"status": status, "message": refusal.message}}
