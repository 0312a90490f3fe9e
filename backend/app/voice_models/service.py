"""Voice models: training is asked for here and done by a worker; its state is read, never kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

import structlog
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.deps import Container
from app.jobs import INTERACTIVE, NORMAL, JobState
from app.kit.clock import now
from app.kit.ids import is_id, new_id
from app.models import Script, TrainingRun, VoiceModel
from app.voice_actors import service as voice_actors
from app.voice_actors.errors import VoiceActorNotFound
from app.voice_models.errors import NoGoodState, VoiceFileMissing, VoiceModelInUse, VoiceModelNotFound
from app.voice_models.schemas import FailureOut, Status, VoiceModelIn, VoiceModelOut
from app.voice_models.state import STATE_FILES, state_is_there

log = structlog.get_logger()
JOB = "voice_models.train"


def get(session: Session, model_id: str) -> VoiceModel:
    model = session.get(VoiceModel, model_id) if is_id(model_id) else None
    if model is None:
        raise VoiceModelNotFound
    return model


def _afresh(session: Session, model_id: str) -> VoiceModel:
    """The row as it is now, locked: it may have been changed while something was waited for."""
    model = session.get(VoiceModel, model_id, populate_existing=True, with_for_update=True)
    if model is None:
        raise VoiceModelNotFound
    return model


def found(voice_actor_id: str) -> Select[Any]:
    query = select(VoiceModel)
    return query.where(VoiceModel.voice_actor_id == voice_actor_id) if voice_actor_id else query


def create(session: Session, body: VoiceModelIn) -> VoiceModel:
    try:
        voice_actors.get(session, body.voice_actor_id)
    except VoiceActorNotFound:
        raise VoiceActorNotFound(field="voice_actor_id") from None
    model = VoiceModel(voice_actor_id=body.voice_actor_id, model_name=body.model_name)
    session.add(model)
    session.flush()
    log.info("voice_model.created", voice_model=model.id)
    return model


def status_of(model: VoiceModel, job: JobState | None) -> tuple[Status, FailureOut | None]:
    """A model's status and, when its last training failed, why.

    While a run is set its job decides: a run without a live job is a failure, not a training.
    """
    if model.training_run_id:
        if job and not job.status.is_over:
            return "training", None
        return "failed", FailureOut(
            code=(job and job.error_code) or "training_lost",
            message=(job and job.error_message) or "The training ended without a result.",
            fix="Train the model again; `debug-train` shows every step.",
        )
    if model.failure:
        return "failed", FailureOut.model_validate(model.failure)
    return ("ready", None) if model.state_key else ("pending", None)


def outs(container: Container, session: Session, models: Sequence[VoiceModel]) -> list[VoiceModelOut]:
    runs = [model.training_run_id for model in models if model.training_run_id]
    jobs = container.jobs.states(runs, session) if runs else {}
    answers = []
    for model in models:
        status, failure = status_of(model, jobs.get(model.training_run_id or ""))
        fields = {
            name: getattr(model, name)
            for name in VoiceModelOut.model_fields
            if name not in ("status", "failure")
        }
        answers.append(VoiceModelOut(**fields, status=status, failure=failure))
    return answers


def train(container: Container, session: Session, model_id: str, *, interactive: bool = False) -> TrainingRun:
    """Start a training, or return the one that is under way."""
    get(session, model_id)
    model = _afresh(session, model_id)  # locked: of two that ask at once, the later one finds the run
    if model.training_run_id:
        job = container.jobs.states([model.training_run_id], session).get(model.training_run_id)
        run = session.get(TrainingRun, model.training_run_id)
        if job and not job.status.is_over and run:
            return run
    run = TrainingRun(id=new_id(), voice_model_id=model.id, steps=[])
    session.add(run)
    model.training_run_id, model.failure = run.id, None
    session.flush()
    priority = INTERACTIVE if interactive else NORMAL
    container.jobs.enqueue(session, JOB, {"run_id": run.id}, job_id=run.id, priority=priority)
    log.info("voice_model.training_asked", voice_model=model.id, run=run.id)
    return run


def cancel(container: Container, session: Session, model_id: str) -> VoiceModel:
    """Stop a training under way, if there is one; the last good state stays in service."""
    model = get(session, model_id)
    if model.training_run_id:
        stop_run(container, session, model.training_run_id, "stopped")
        model = _afresh(session, model_id)
        model.training_run_id = None
        session.flush()
        log.info("voice_model.training_stopped", voice_model=model.id)
    return model


def reset(container: Container, session: Session, model_id: str) -> VoiceModel:
    """Put the last good state back in service, stopping a training under way."""
    model = get(session, model_id)
    if model.state_key is None:
        raise NoGoodState(
            "Its first training is under way: cancel it, or wait." if model.training_run_id else ""
        )
    if not state_is_there(container.store, model.state_key):
        raise VoiceFileMissing
    model = cancel(container, session, model_id)
    model.failure = None
    session.flush()
    log.info("voice_model.reset", voice_model=model.id)
    return model


def stop_run(container: Container, session: Session, run_id: str, outcome: str) -> None:
    """End a run's row and cancel its job: it can publish nothing any more, the row being ended."""
    # First the job, then what it publishes: a worker locks in this order too.
    container.jobs.cancel([run_id], session)
    run = session.get(TrainingRun, run_id, populate_existing=True)
    if run and run.outcome is None:
        run.outcome, run.ended_at = outcome, now()


def remove(container: Container, session: Session, model_id: str) -> list[str]:
    """Delete a model; the store's keys that may go once this is committed."""
    model = get(session, model_id)
    used = session.scalar(select(func.count()).where(Script.voice_model_id == model_id)) or 0
    if used:
        raise VoiceModelInUse(
            f"{used} scripts speak with this model; delete them or give them another voice."
        )
    model = cancel(container, session, model_id)
    keys = [f"{model.state_key}/{name}" for name in STATE_FILES] if model.state_key else []
    session.delete(model)
    log.info("voice_model.deleted", voice_model=model_id)
    return keys


def lost(container: Container, session: Session) -> Iterable[VoiceModel]:
    """Models that show a training whose job is gone or ended: what fix-issues puts right."""
    models = list(session.scalars(select(VoiceModel).where(VoiceModel.training_run_id.is_not(None))))
    jobs = container.jobs.states([cast(str, model.training_run_id) for model in models], session)
    for model in models:
        job = jobs.get(model.training_run_id or "")
        if job is None or job.status.is_over:
            yield model


def settle(container: Container, session: Session, model: VoiceModel, when: datetime) -> bool:
    """Write down how a training ended whose job ended without saying so; False: it did say so, or goes on."""
    run_id = model.training_run_id
    if run_id is None:
        return False
    job = container.jobs.states([run_id], session).get(run_id)
    if job and not job.status.is_over:
        return False
    # A job publishes before it is over: what the row says now, after that was seen, is how it ended.
    model = _afresh(session, model.id)
    if model.training_run_id != run_id:
        return False
    _, failure = status_of(model, job)
    model.training_run_id = None
    model.failure = failure.model_dump() if failure else None
    run = session.get(TrainingRun, run_id)
    if run and run.outcome is None:
        run.outcome, run.ended_at = "failed", when
    return True
