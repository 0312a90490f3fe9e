from __future__ import annotations

import asyncio
import time
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, BackgroundTasks, Depends, Query, Response

from app.auth.access import Producer, Viewer
from app.auth.idempotency import Once
from app.deps import Container, Parts, Reading, Writing, forget_files
from app.kit.paging import Page, PageQuery, page
from app.kit.problems import documented
from app.kit.schemas import Text
from app.models import TrainingRun, VoiceModel
from app.voice_models import service
from app.voice_models.errors import TrainingStopped
from app.voice_models.names import Voices
from app.voice_models.schemas import (
    DebugTrainOut,
    StepOut,
    TrainingOut,
    VoiceModelChange,
    VoiceModelIn,
    VoiceModelOut,
)
from app.voice_models.state import BUCKET

router = APIRouter(prefix="/voice-actors/models", tags=["voice models"])
LOOK_SECONDS, LONGEST_PAUSE = 0.05, 0.5


@router.post("", status_code=201, responses=documented(404, 409))
def create_voice_model(body: VoiceModelIn, once: Once, session: Writing, container: Parts) -> VoiceModelOut:
    return once(
        body, lambda: service.outs(container, session, [service.create(session, body)])[0], VoiceModelOut
    )


@router.get("")
def list_voice_models(
    _: Viewer,
    session: Reading,
    container: Parts,
    paging: PageQuery = Depends(),
    voice_actor_id: Annotated[Text, Query(max_length=100)] = "",
    name: Annotated[
        Text | None,
        Query(max_length=200, description="only what this means in a sheet: id, alias, name or actor"),
    ] = None,
) -> Page[VoiceModelOut]:
    query = service.found(voice_actor_id)
    if name is not None:
        query = query.where(VoiceModel.id.in_(Voices(session, container.settings.voice_aliases).find(name)))
    rows, cursor = page(session, query, VoiceModel.id, paging)
    return Page(items=service.outs(container, session, rows), next_cursor=cursor)


@router.get("/{model_id}", responses=documented(404))
def get_voice_model(model_id: str, _: Viewer, session: Reading, container: Parts) -> VoiceModelOut:
    return service.outs(container, session, [service.get(session, model_id)])[0]


@router.put("/{model_id}", responses=documented(404, 409))
def change_voice_model(
    model_id: str, body: VoiceModelChange, _: Producer, session: Writing, container: Parts
) -> VoiceModelOut:
    """Rename a model, or with `{"status": "ready"}` put its last good state back in service."""
    model = service.get(session, model_id)
    if body.status == "ready":
        model = service.reset(container, session, model_id)
    if body.model_name is not None:
        model.model_name = body.model_name
    session.flush()
    return service.outs(container, session, [model])[0]


@router.delete("/{model_id}", status_code=204, responses=documented(404, 409))
def delete_voice_model(
    model_id: str, _: Producer, session: Writing, container: Parts, later: BackgroundTasks
) -> None:
    keys = service.remove(container, session, model_id)
    later.add_task(forget_files, container.store, BUCKET, keys)


@router.post("/{model_id}/train", status_code=202, responses=documented(404, 409))
def train(model_id: str, once: Once, session: Writing, container: Parts) -> TrainingOut:
    """Train in the background; a training that is under way already is not started twice."""

    def make() -> TrainingOut:
        run = service.train(container, session, model_id)
        return TrainingOut(training_run_id=run.id, model_id=model_id, status="training")

    return once(None, make, TrainingOut)


@router.post("/{model_id}/cancel", responses=documented(404))
def cancel_training(model_id: str, _: Producer, session: Writing, container: Parts) -> VoiceModelOut:
    """Stop a training under way; the last good state, if there is one, stays in service."""
    model = service.cancel(container, session, model_id)
    return service.outs(container, session, [model])[0]


@router.post(
    "/{model_id}/debug-train",
    responses=documented(404, 409)
    | {202: {"model": DebugTrainOut, "description": "not ended within the time that a caller waits"}},
)
async def debug_train(model_id: str, _: Producer, container: Parts, response: Response) -> DebugTrainOut:
    """Train while the caller waits; every step with its duration, its figures, and what to do if it failed."""
    started = time.monotonic()
    run_id = await run_sync(_start, container, model_id)
    deadline, pause = started + container.settings.debug_train_seconds, LOOK_SECONDS
    # Between looks no thread is held: however many wait, others are served.
    while not await run_sync(_is_over, container, run_id) and time.monotonic() < deadline:
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)
    answer = await run_sync(_report, container, model_id, run_id, time.monotonic() - started)
    if answer.status == "training":
        response.status_code = 202
    return answer


def _start(container: Container, model_id: str) -> str:
    with container.database.session() as session:
        return service.train(container, session, model_id, interactive=True).id


def _is_over(container: Container, run_id: str) -> bool:
    with container.database.reading() as session:
        run = session.get(TrainingRun, run_id)
    if run is None or run.outcome is not None:
        return True
    job = container.jobs.states([run_id]).get(run_id)
    return job is None or job.status.is_over


def _report(container: Container, model_id: str, run_id: str, seconds: float) -> DebugTrainOut:
    with container.database.reading() as session:
        model = service.outs(container, session, [service.get(session, model_id)])[0]
        run = session.get(TrainingRun, run_id)
        steps = [StepOut.model_validate(step) for step in (run.steps if run else [])]
    if run is None or run.outcome == "stopped":
        for step in steps:
            if step.status == "running":  # the worker goes on for a moment
                step.status = "stopped"
        raise TrainingStopped(steps=[step.model_dump(mode="json") for step in steps])
    return DebugTrainOut(
        model_id=model_id,
        training_run_id=run_id,
        status=model.status,
        engine=model.engine,
        seconds=round(seconds, 3),
        quality_score=model.quality_score,
        steps=steps,
        failure=model.failure,
    )
