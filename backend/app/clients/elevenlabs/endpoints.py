"""ElevenLabs' speech API: set a client's base address to `http://…/elevenlabs` and its key to a token of ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import APIKeyHeader
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audio.streams import Codec, StreamFormat
from app.auth.access import Caller, identify
from app.auth.errors import InvalidToken, NotAllowed
from app.auth.roles import Scope
from app.clients import voices
from app.clients.answers import engine_speed, spoken
from app.clients.elevenlabs.schemas import (
    ErrorOut,
    LanguageOut,
    ModelOut,
    SpeechIn,
    VoiceOut,
    VoicePageOut,
    VoicesOut,
    error_of,
)
from app.clients.refusals import ClientRoute, documented_as
from app.deps import Container, Parts, Reading
from app.generation.live.orders import Order
from app.kit.ids import is_id
from app.models import VoiceActor, VoiceModel
from app.scripts.schemas import MAX_CHARS

CLIENT = "ElevenLabs"
OutputFormat = Literal[
    "mp3_22050_32", "mp3_24000_48",
    "mp3_44100_32", "mp3_44100_64", "mp3_44100_96", "mp3_44100_128", "mp3_44100_192",
    "opus_48000_32", "opus_48000_64", "opus_48000_96", "opus_48000_128", "opus_48000_192",
    "pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_32000", "pcm_44100", "pcm_48000",
    "wav_8000", "wav_16000", "wav_22050", "wav_24000", "wav_32000", "wav_44100", "wav_48000",
    "ulaw_8000", "alaw_8000",
]  # fmt: skip


def _format(name: str) -> StreamFormat:
    codec, rate, *kbps = name.split("_")
    known: dict[str, Codec] = {each: each for each in get_args(Codec)}
    return StreamFormat(known[codec], int(rate), int(kbps[0]) if kbps else None)


FORMATS = {name: _format(name) for name in get_args(OutputFormat)}
AUDIO: dict[str, Any] = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in sorted({form.media_type for form in FORMATS.values()})
}
_key = APIKeyHeader(name="xi-api-key", auto_error=False, description="an API token")


class ElevenLabsRoute(ClientRoute):
    shape = staticmethod(error_of)


router = APIRouter(
    prefix="/elevenlabs",
    tags=["elevenlabs"],
    route_class=ElevenLabsRoute,
    responses=documented_as(ErrorOut),
)


def _needs(scope: Scope) -> Any:
    def check(container: Parts, token: Annotated[str | None, Depends(_key)]) -> Caller:
        if not token:
            raise InvalidToken("Send `xi-api-key: TOKEN`.")
        caller = identify(container, token)
        if scope not in caller.scopes:
            raise NotAllowed(
                f"This needs the scope `{scope}`; the role {caller.role} of this token lacks it."
            )
        return caller

    return Depends(check)


SPEECH: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"content": AUDIO}},
    "dependencies": [_needs("write")],
}
READ = [_needs("read")]


@router.post("/v1/text-to-speech/{voice_id}", **SPEECH)
@router.post("/v1/text-to-speech/{voice_id}/stream", **SPEECH)
async def create_speech(
    voice_id: str,
    body: SpeechIn,
    request: Request,
    container: Parts,
    output_format: OutputFormat = "mp3_44100_128",
) -> Response:
    """Speak a text in a voice, sent as it is made; both addresses do the same."""
    model_id = await anyio.to_thread.run_sync(_voice, container, voice_id)
    speed, tempo = engine_speed((body.voice_settings and body.voice_settings.speed) or 1.0)
    seed = (body.seed or 0) & 0x7FFFFFFF
    order = Order(CLIENT, model_id, body.text, body.language_code or "ko", speed, seed)
    return await spoken(request, container, order, FORMATS[output_format], tempo=tempo)


def _voice(container: Container, asked: str) -> str:
    with container.database.reading() as session:
        return voices.resolve(session, container.settings, asked).id


@router.get("/v1/voices", dependencies=READ)
def list_voices(session: Reading) -> VoicesOut:
    """The trained voices."""
    return VoicesOut(voices=_outs(session, list(session.scalars(voices.ready()))))


@router.get("/v1/voices/{voice_id}", dependencies=READ)
def get_voice(voice_id: str, session: Reading, container: Parts) -> VoiceOut:
    return _outs(session, [voices.resolve(session, container.settings, voice_id)])[0]


@router.get("/v2/voices", dependencies=READ)
def search_voices(
    session: Reading,
    page_size: Annotated[int, Query(ge=1, le=100)] = 10,
    search: Annotated[str, Query(max_length=200)] = "",
    voice_ids: Annotated[list[str] | None, Query(max_length=100)] = None,
    next_page_token: Annotated[str | None, Query(max_length=100)] = None,
    include_total_count: bool = True,
) -> VoicePageOut:
    """The trained voices, page by page, newest first."""
    query = voices.ready()
    if search:
        query = query.where(VoiceModel.model_name.icontains(search.replace("\0", ""), autoescape=True))
    if voice_ids:
        query = query.where(VoiceModel.id.in_([each for each in voice_ids if is_id(each)]))
    total = select(func.count()).select_from(query.order_by(None).subquery())
    count = session.scalar(total) if include_total_count else None
    if next_page_token and is_id(next_page_token):
        query = query.where(VoiceModel.id < next_page_token)
    rows = list(session.scalars(query.limit(page_size + 1)))
    more, rows = len(rows) > page_size, rows[:page_size]
    return VoicePageOut(
        voices=_outs(session, rows),
        has_more=more,
        total_count=count,
        next_page_token=rows[-1].id if more else None,
    )


def _outs(session: Session, models: list[VoiceModel]) -> list[VoiceOut]:
    ids = {model.voice_actor_id for model in models}
    actors = {actor.id: actor for actor in session.scalars(select(VoiceActor).where(VoiceActor.id.in_(ids)))}
    return [_out(model, actors.get(model.voice_actor_id)) for model in models]


def _out(model: VoiceModel, actor: VoiceActor | None) -> VoiceOut:
    labels = {"gender": actor.gender, "age": actor.age_range} if actor else {}
    return VoiceOut(
        voice_id=model.id,
        name=model.model_name,
        labels={name: value for name, value in labels.items() if value},
        description=(actor.description or None) if actor else None,
        created_at_unix=int(model.created_at.timestamp()),
    )


@router.get("/v1/models", dependencies=READ)
def list_models() -> list[ModelOut]:
    """The one engine that speaks; any `model_id` means it."""
    return [
        ModelOut(
            model_id="moksori",
            name="Moksori",
            description="The engine of this service.",
            languages=[LanguageOut(language_id="ko", name="Korean")],
            maximum_text_length_per_request=MAX_CHARS,
        )
    ]
