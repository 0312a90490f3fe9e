from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, File, Form, Request, Response, UploadFile
from sqlalchemy import select

from app.auth.access import Producer, Viewer
from app.auth.uploads import UploadRoute
from app.deps import Parts, Reading, Writing, forget_files
from app.kit.paging import Page, PageQuery, page
from app.kit.problems import documented
from app.kit.ranges import ranged
from app.kit.schemas import Text
from app.models import Sample
from app.samples import service
from app.samples.schemas import SampleOut
from app.voice_actors import service as voice_actors

router = APIRouter(prefix="/voice-actors/{actor_id}/samples", tags=["samples"], route_class=UploadRoute)
BYTES = {"schema": {"type": "string", "format": "binary"}}
AUDIO = {"audio/wav": BYTES, "application/octet-stream": BYTES}


@router.post(
    "",
    status_code=201,
    responses=documented(404, 413, 507)
    | {200: {"model": SampleOut, "description": "these bytes are known already"}},
)
def upload_sample(
    actor_id: str,
    _: Producer,
    container: Parts,
    response: Response,
    audio_file: Annotated[UploadFile, File(description="WAV, FLAC, MP3, Ogg Vorbis or Opus; 0.5 s to 2 h")],
    text_content: Annotated[Text, Form(description="what is said in it")] = "",
) -> SampleOut:
    """Add a recording. It is measured right after; see `verdict` and `report`."""
    text = service.checked_text(text_content, container.settings.text_max_chars)
    sample, new = service.add(container, actor_id, audio_file.file, audio_file.filename, text)
    response.status_code = 201 if new else 200
    return SampleOut.model_validate(sample)


@router.get("", responses=documented(404))
def list_samples(
    actor_id: str, _: Viewer, session: Reading, paging: PageQuery = Depends()
) -> Page[SampleOut]:
    voice_actors.get(session, actor_id)
    rows, cursor = page(session, select(Sample).where(Sample.voice_actor_id == actor_id), Sample.id, paging)
    return Page(items=[SampleOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{sample_id}", responses=documented(404))
def get_sample(actor_id: str, sample_id: str, _: Viewer, session: Reading) -> SampleOut:
    return SampleOut.model_validate(service.get(session, actor_id, sample_id))


@router.head("/{sample_id}/audio", include_in_schema=False)
@router.get(
    "/{sample_id}/audio",
    response_class=Response,
    responses=documented(404, 416) | {200: {"content": AUDIO}, 206: {"content": AUDIO}, 304: {}},
)
def get_sample_audio(
    actor_id: str,
    sample_id: str,
    _: Viewer,
    session: Reading,
    container: Parts,
    request: Request,
    original: bool = False,
) -> Response:
    """The checked mono WAV, or with `?original=true` the file as it was uploaded."""
    sample = service.get(session, actor_id, sample_id)
    file, size = service.open_audio(container.store, sample, original)
    media_type = "application/octet-stream" if original else "audio/wav"
    name = f"{sample.id}.{sample.format if original else 'wav'}"
    etag = sample.sha256 if original else sample.wav_sha256
    return ranged(request, file, size, media_type, etag=etag, name=name)


@router.delete("/{sample_id}", status_code=204, responses=documented(404))
def delete_sample(
    actor_id: str, sample_id: str, _: Producer, session: Writing, container: Parts, later: BackgroundTasks
) -> None:
    keys = service.remove(session, actor_id, sample_id)
    later.add_task(forget_files, container.store, service.BUCKET, keys)
