"""OpenAI's speech API: set a client's base address to `http://…/v1` and its key to a token of ours."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.audio.streams import StreamFormat
from app.auth.access import Producer, get_caller
from app.auth.errors import NotAllowed
from app.clients import voices
from app.clients.answers import Progress, engine_speed, spoken
from app.clients.openai.schemas import (
    AudioModelOut,
    AudioModelsOut,
    ErrorOut,
    Format,
    ModelOut,
    ModelsOut,
    SpeechIn,
    VoiceOut,
    VoiceRef,
    VoicesOut,
    error_of,
)
from app.clients.refusals import ClientRoute, documented_as
from app.deps import Container, Parts, Reading
from app.generation.live.orders import Order
from app.kit.errors import NotFound

Client = Annotated[
    Literal["OpenAI", "Wyoming"], Header(alias="X-Moksori-Client", description="whose generation it is")
]
RATE = 24_000  # as OpenAI answers
FORMATS: dict[Format, StreamFormat] = {
    "mp3": StreamFormat("mp3", RATE, 128),
    "opus": StreamFormat("opus", RATE, 64),
    "aac": StreamFormat("aac", RATE, 96),
    "flac": StreamFormat("flac", RATE),
    "wav": StreamFormat("wav", RATE),
    "pcm": StreamFormat("pcm", RATE),
}
# What clients may call the one engine that speaks.
MODELS = ("moksori", "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
AUDIO: dict[str, Any] = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in sorted({form.media_type for form in FORMATS.values()})
} | {"text/event-stream": {"schema": {"type": "string"}}}


class ModelNotFound(NotFound):
    code, title = "model_not_found", "There is no model of this name"


class OpenAIRoute(ClientRoute):
    shape = staticmethod(error_of)


router = APIRouter(
    prefix="/v1",
    tags=["openai"],
    route_class=OpenAIRoute,
    responses=documented_as(ErrorOut),
)


def _may_read(
    container: Parts,
    credentials: Annotated[
        HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False, scheme_name="HTTPBearer"))
    ],
) -> None:
    if not container.settings.voices_public and "read" not in get_caller(container, credentials).scopes:
        raise NotAllowed("This needs the scope `read`.")


MayRead = Depends(_may_read)


@router.post("/audio/speech", response_class=Response, responses={200: {"content": AUDIO}})
async def create_speech(
    body: SpeechIn, _: Producer, request: Request, container: Parts, client: Client = "OpenAI"
) -> Response:
    """Speak a text in a voice, sent as it is made.

    The answer's `X-Moksori-Generation` names the generation, which is kept with its reading and its
    measurements. `stream_format` `sse` sends `speech.audio.delta` events with base64 audio, and at the end
    `speech.audio.done`, whose usage counts the text's characters and the audio's seconds.
    """
    asked = body.voice.id if isinstance(body.voice, VoiceRef) else body.voice
    model_id = await anyio.to_thread.run_sync(_voice, container, asked)
    speed, tempo = engine_speed(body.speed)
    order = Order(client, model_id, body.input, body.language, speed, body.seed)
    form = FORMATS[body.response_format]
    if body.stream_format == "audio":
        return await spoken(request, container, order, form, tempo=tempo)

    def events(audio: AsyncIterator[bytes], progress: Progress) -> AsyncIterator[bytes]:
        return _events(audio, progress, len(body.input))

    return await spoken(
        request, container, order, form, tempo=tempo, wrap=events, media_type="text/event-stream"
    )


def _voice(container: Container, asked: str) -> str:
    with container.database.reading() as session:
        return voices.resolve(session, container.settings, asked).id


async def _events(audio: AsyncIterator[bytes], progress: Progress, characters: int) -> AsyncIterator[bytes]:
    async for data in audio:
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
    seconds = math.ceil(progress.seconds)
    usage = {"input_tokens": characters, "output_tokens": seconds, "total_tokens": characters + seconds}
    yield _event({"type": "speech.audio.done", "usage": usage})


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


@router.get("/models", dependencies=[MayRead])
def list_models() -> ModelsOut:
    """The names that may stand in a request's `model`."""
    return ModelsOut(data=[ModelOut(id=name, created=0) for name in MODELS])


@router.get("/models/{model_id}", dependencies=[MayRead])
def get_model(model_id: str) -> ModelOut:
    if model_id not in MODELS:
        raise ModelNotFound
    return ModelOut(id=model_id, created=0)


@router.get("/audio/models", dependencies=[MayRead])
def list_audio_models() -> AudioModelsOut:
    """The same, as self-hosted servers answer it."""
    return AudioModelsOut(models=[AudioModelOut(id=name) for name in MODELS])


@router.get("/audio/voices", dependencies=[MayRead])
def list_voices(session: Reading, container: Parts) -> VoicesOut:
    """The trained voices, and the aliases that stand for one."""
    found = voices.listed(session, container.settings)
    return VoicesOut(voices=[VoiceOut(id=each.id, name=each.name) for each in found])
