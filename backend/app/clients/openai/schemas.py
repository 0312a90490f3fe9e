from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.clients.refusals import Refusal
from app.clients.voices import LONGEST_NAME
from app.kit.schemas import Answer, Text
from app.scripts.schemas import Announcement, Language, Seed

MAX_CHARS = 4096
Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
VoiceName = Annotated[Text, StringConstraints(min_length=1, max_length=LONGEST_NAME)]


class VoiceRef(BaseModel):
    id: VoiceName


class SpeechIn(BaseModel):
    """OpenAI's request. Fields that it may have one day are accepted and not looked at."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "example": {"model": "tts-1", "input": "상담원 연결은 0번을 눌러주세요.", "voice": "alloy"}
        },
    )

    model: Annotated[Text, StringConstraints(max_length=200)] = Field(
        "tts-1", description="any name: the service has one engine"
    )
    input: Annotated[Announcement, StringConstraints(max_length=MAX_CHARS)]
    voice: VoiceName | VoiceRef = Field(description="a voice model's id or name, or an alias")
    instructions: str | None = Field(None, description="accepted; no engine here follows instructions")
    response_format: Format = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4.0, description="outside 0.5–2.0 the spoken audio is stretched")
    stream_format: Literal["audio", "sse"] = "audio"
    language: Language = Field("ko", description="ours: the language of the text")
    seed: Seed = Field(0, description="ours: another seed, another rendering")


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorOut(BaseModel):
    error: ErrorBody


class ModelOut(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "moksori"


class ModelsOut(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelOut]


class AudioModelOut(BaseModel):
    id: str


class AudioModelsOut(BaseModel):
    models: list[AudioModelOut]


class VoiceOut(Answer):
    id: str
    name: str


class VoicesOut(BaseModel):
    voices: list[VoiceOut]


_PARAMS = {"voice_not_found": "voice", "unclear_text": "input", "bad_markup": "input"}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_of(refusal: Refusal) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = _TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
    code = "invalid_api_key" if refusal.status == 401 else refusal.code
    param = _PARAMS.get(refusal.code, refusal.param)
    return {"error": {"message": refusal.message, "type": kind, "param": param, "code": code}}
