from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from app.auth.access import Producer, Viewer
from app.auth.idempotency import Once
from app.deps import Container, Parts, Reading, Writing
from app.generation import batches, service
from app.generation.schemas import BatchIn, BatchOut, BatchStarted, GeneratedOut, GenerationOut
from app.kit.paging import Page, PageQuery, page
from app.kit.problems import documented
from app.kit.ranges import ranged
from app.models import Generation
from app.scripts import service as scripts

router = APIRouter(prefix="/voice-actors", tags=["generation"])
AUDIO = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("audio/wav", "audio/flac", "audio/mpeg", "audio/ogg", "audio/basic", "audio/x-alaw-basic")
}
EVENT = {
    "type": "object",
    "description": "`data` is the batch as `GET …/batches/{batch_id}` answers it",
    "properties": {"event": {"enum": ["progress", "end"]}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
EVENT_SECONDS = 0.5


@router.post("/tts-scripts/batch-generate", status_code=202, responses=documented(409))
def batch_generate(body: BatchIn, once: Once, session: Writing, container: Parts) -> BatchStarted:
    """Generate what is out of date of these scripts: text, reading, voice, settings or engine changed."""
    return once(body, lambda: batches.start(container, session, body), BatchStarted)


@router.post("/tts-scripts/{script_id}/generate", status_code=202, responses=documented(404, 409))
def generate(
    script_id: str, once: Once, session: Writing, container: Parts, response: Response
) -> GeneratedOut:
    """Generate one script now, ahead of every batch."""

    def make() -> GeneratedOut:
        row = service.generate(container, session, script_id)
        return GeneratedOut(
            generation_id=row.id,
            script_id=script_id,
            status="queued",
            watch=f"/api/v1/voice-actors/tts-generations/{row.id}",
        )

    answer = once(None, make, GeneratedOut)
    response.headers["Location"] = answer.watch
    return answer


@router.get("/tts-scripts/{script_id}/generations", responses=documented(404))
def list_generations(
    script_id: str, _: Viewer, session: Reading, container: Parts, paging: PageQuery = Depends()
) -> Page[GenerationOut]:
    scripts.get(session, script_id)
    query = select(Generation).where(Generation.script_id == script_id)
    rows, cursor = page(session, query, Generation.id, paging)
    return Page(items=service.outs(container, session, rows), next_cursor=cursor)


@router.get("/batches/{batch_id}", responses=documented(404))
def get_batch(batch_id: str, _: Viewer, session: Reading, container: Parts) -> BatchOut:
    return batches.view(container, session, batch_id)


@router.get(
    "/batches/{batch_id}/events",
    response_class=Response,
    responses=documented(404) | {200: {"content": {"text/event-stream": {"schema": EVENT}}}},
)
async def watch_batch(batch_id: str, _: Viewer, container: Parts) -> Response:
    """Server-sent events: `progress` whenever a count changes, and `end` once all is over."""
    first = await anyio.to_thread.run_sync(_look, container, batch_id)
    return StreamingResponse(_events(container, first), media_type="text/event-stream")


def _look(container: Container, batch_id: str) -> BatchOut:
    with container.database.reading() as session:
        return batches.view(container, session, batch_id)


async def _events(container: Container, now: BatchOut) -> AsyncIterator[str]:
    sent = None
    while True:
        counts = (now.queued, now.running, now.done, now.failed, now.cancelled)
        if counts != sent:
            yield f"event: progress\ndata: {now.model_dump_json()}\n\n"
            sent = counts
        if now.status != "running":
            yield f"event: end\ndata: {now.model_dump_json()}\n\n"
            return
        await asyncio.sleep(EVENT_SECONDS)
        now = await anyio.to_thread.run_sync(_look, container, now.id)


@router.post("/batches/{batch_id}/cancel", responses=documented(404))
def cancel_batch(batch_id: str, _: Producer, session: Writing, container: Parts) -> BatchOut:
    """Stop what has not ended; what is done stays."""
    batches.cancel(container, session, batch_id)
    session.flush()
    return batches.view(container, session, batch_id)


@router.get("/tts-generations/{generation_id}", responses=documented(404))
def get_generation(generation_id: str, _: Viewer, session: Reading, container: Parts) -> GenerationOut:
    return service.outs(container, session, [service.get(session, generation_id)])[0]


@router.post("/tts-generations/{generation_id}/cancel", responses=documented(404))
def cancel_generation(generation_id: str, _: Producer, session: Writing, container: Parts) -> GenerationOut:
    """Stop a generation that has not ended; one that is done stays."""
    generation = service.get(session, generation_id)
    service.cancel(container, session, [generation_id])
    session.refresh(generation)
    return service.outs(container, session, [generation])[0]


@router.head("/tts-generations/{generation_id}/audio", include_in_schema=False)
@router.get(
    "/tts-generations/{generation_id}/audio",
    response_class=Response,
    responses=documented(404, 409, 416) | {200: {"content": AUDIO}, 206: {"content": AUDIO}, 304: {}},
)
def get_generation_audio(
    generation_id: str,
    _: Viewer,
    session: Reading,
    container: Parts,
    request: Request,
    format: Literal["wav", "flac", "mp3", "ogg", "ulaw", "alaw"] = "wav",
    preview: Annotated[Literal["phone"] | None, Query(description="as it sounds over a telephone")] = None,
) -> Response:
    """The take's audio, with range requests."""
    file, size, media_type, etag, name = service.open_audio(
        container, session, generation_id, format, preview
    )
    return ranged(request, file, size, media_type, etag=etag, name=name)
