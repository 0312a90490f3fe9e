"""Generating: one durable job a script, keyed so that a repeated request makes nothing twice."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import BinaryIO

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.audio.formats import FORMATS, encode, telephone_preview
from app.deps import Container
from app.generation.errors import (
    GenerationNotFound,
    NoTake,
    NotSpokenYet,
    TakeFileAltered,
    TakeFileMissing,
    VoiceNotReady,
)
from app.generation.fingerprint import fingerprint, settings_of
from app.generation.schemas import FailureOut, GenerationOut, GenerationStatus
from app.jobs import BATCH, INTERACTIVE, JobState, JobStatus
from app.kit.clock import now
from app.kit.database import in_lots
from app.kit.ids import is_id, new_id
from app.lexicons.schemas import UnclearOut
from app.lexicons.service import readings
from app.models import Generation, Script, Take, VoiceModel
from app.scripts import service as scripts
from app.storage.interface import NotThere
from app.text import Reading

log = structlog.get_logger()
JOB = "tts.generate"
BUCKET = "takes"


def get(session: Session, generation_id: str) -> Generation:
    generation = session.get(Generation, generation_id) if is_id(generation_id) else None
    if generation is None:
        raise GenerationNotFound
    return generation


def unclear_outs(reading: Reading) -> list[UnclearOut]:
    return [UnclearOut.model_validate(each) for each in reading.unclear]


def ready_model(session: Session, script: Script) -> VoiceModel:
    model = session.get(VoiceModel, script.voice_model_id)
    if model is None or model.state_key is None:
        raise VoiceNotReady
    return model


def asked(
    container: Container, script: Script, model: VoiceModel, reading: Reading, *, batch_id: str | None = None
) -> Generation:
    """A generation of the script as it is now, to be requested."""
    return Generation(
        id=new_id(),
        script_id=script.id,
        batch_id=batch_id,
        voice_model_id=model.id,
        text=script.text,
        settings=settings_of(script),
        fingerprint=fingerprint_of(container, script, model, reading),
    )


def request(
    container: Container, session: Session, generations: Sequence[Generation], *, interactive: bool = False
) -> None:
    """Have them made, in the caller's transaction."""
    for each in generations:
        each.interactive = interactive
    session.add_all(generations)
    container.jobs.enqueue_all(
        session,
        JOB,
        {each.id: {"generation_id": each.id} for each in generations},
        priority=INTERACTIVE if interactive else BATCH,
    )


def fingerprint_of(container: Container, script: Script, model: VoiceModel, reading: Reading) -> str:
    """What an up-to-date take of the script would carry."""
    engine = container.engine.name
    return fingerprint(script.text, settings_of(script), model, reading, engine, container.settings)


def up_to_date(container: Container, take: Take | None, wanted: str) -> bool:
    """Whether a take says what is wanted, and its file is there as it was."""
    if take is None or take.missing_at is not None or take.fingerprint != wanted:
        return False
    try:
        return container.store.stat(BUCKET, take.audio_key).bytes == take.bytes
    except NotThere:
        return False


def generate(container: Container, session: Session, script_id: str) -> Generation:
    """Generate one script now, ahead of every batch."""
    script = scripts.get(session, script_id)
    model = ready_model(session, script)
    reading = readings(session, best_effort=container.settings.best_effort).of(script)
    generation = asked(container, script, model, reading)
    request(container, session, [generation], interactive=True)
    log.info("tts.generation_asked", generation=generation.id, script=script_id)
    return generation


def cancel(container: Container, session: Session, generation_ids: Sequence[str]) -> None:
    """Stop what of these has not ended. What is done stays; a job under way can publish nothing any more."""
    # First the jobs, then what they publish: a worker locks in this order too.
    container.jobs.cancel(generation_ids, session)
    moment = now()
    for ids in in_lots(generation_ids):
        session.execute(
            update(Generation)
            .where(Generation.id.in_(ids), Generation.outcome.is_(None))
            .values(outcome="cancelled", ended_at=moment)
        )


def status_of(generation: Generation, job: JobState | None) -> tuple[GenerationStatus, FailureOut | None]:
    """A generation's status and failure; until its row says how it ended, its job does."""
    failure = FailureOut.model_validate(generation.failure) if generation.failure else None
    match generation.outcome:
        case "done":
            return "done", None
        case "failed":
            return "failed", failure
        case "cancelled":
            return "cancelled", None
    if job is None:
        return "failed", FailureOut(
            code="job_lost", message="The job of this generation is gone.", fix="Generate the script again."
        )
    match job.status:
        case JobStatus.QUEUED:
            return "queued", None
        case JobStatus.RUNNING:
            return "running", None
        case JobStatus.CANCELLED:
            return "cancelled", None
    return "failed", FailureOut(
        code=job.error_code or "job_failed",
        message=job.error_message or "The job ended without a result.",
        fix="Generate the script again; if it fails again, look at the text and the log.",
    )


def outs(container: Container, session: Session, rows: Sequence[Generation]) -> list[GenerationOut]:
    open_ids = [row.id for row in rows if row.outcome is None]
    jobs = container.jobs.states(open_ids, session) if open_ids else {}
    take_ids = [row.take_id for row in rows if row.take_id]
    takes = {take.id: take for take in session.scalars(select(Take).where(Take.id.in_(take_ids)))}
    answers = []
    for row in rows:
        status, failure = status_of(row, jobs.get(row.id))
        take = takes.get(row.take_id or "")
        answers.append(
            GenerationOut(
                id=row.id,
                script_id=row.script_id,
                batch_id=row.batch_id,
                voice_model_id=row.voice_model_id,
                status=status,
                interactive=row.interactive,
                text=row.text,
                failure=failure,
                take=scripts.take_out(take) if take else None,
                created_at=row.created_at,
                ended_at=row.ended_at,
            )
        )
    return answers


def open_audio(
    container: Container, session: Session, generation_id: str, format_name: str, preview: str | None
) -> tuple[BinaryIO, int, str, str, str]:
    """A take's audio in a format: the open file, its bytes, media type, ETag and file name."""
    generation = get(session, generation_id)
    take = session.get(Take, generation.take_id) if generation.take_id else None
    if take is None:
        status, failure = status_of(
            generation, container.jobs.states([generation_id], session).get(generation_id)
        )
        if status in ("queued", "running"):
            raise NotSpokenYet(status)
        raise NoTake(failure.message if failure else "")
    try:
        file = container.store.open(BUCKET, take.audio_key)
        size = container.store.stat(BUCKET, take.audio_key).bytes
    except NotThere:
        raise TakeFileMissing from None
    if size != take.bytes:
        file.close()
        raise TakeFileAltered
    if format_name == "wav" and preview is None:
        return file, take.bytes, "audio/wav", take.sha256, f"{generation.id}.wav"
    import soundfile  # only conversions need it: the service starts faster without

    try:
        with file:
            audio, rate = soundfile.read(file, dtype="float32")
    except soundfile.LibsndfileError:
        raise TakeFileAltered from None
    if preview == "phone":
        audio, rate = soundfile.read(io.BytesIO(telephone_preview(audio, rate)), dtype="float32")
    form = FORMATS[format_name]
    data = encode(audio, rate, form.name)
    etag = f"{take.sha256}-{form.name}{'-phone' if preview else ''}"
    return io.BytesIO(data), len(data), form.media_type, etag, f"{generation.id}.{form.extension}"
