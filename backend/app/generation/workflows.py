"""Speaking one script, in a worker: one job a generation, one take at its end or a typed failure."""

from __future__ import annotations

from typing import Any

import structlog

from app.deps import Container
from app.generation import speaking
from app.generation.speaking import TRIES, Work
from app.jobs import JobContext, JobLost, job
from app.kit.clock import now
from app.lexicons.service import readings
from app.models import Generation, VoiceModel
from app.speech.interface import Clip, SpeechError
from app.speech.speaker import SpeakingCancelled

log = structlog.get_logger()


@job("tts.generate")
def generate(ctx: JobContext, generation_id: str) -> None:
    """Speak a script and publish the take, or end the generation with a reason."""
    container: Container = ctx.container
    with container.database.reading() as session:
        generation = session.get(Generation, generation_id)
        model = session.get(VoiceModel, generation.voice_model_id) if generation else None
        read = readings(session, best_effort=container.settings.best_effort)
    if generation is None or generation.outcome is not None:
        return
    try:
        work = speaking.prepare(container, generation, model, read)
        clips = _speak(ctx, container, work)
        finished = speaking.finish(container, work, [clip.audio for clip in clips], clips[0].sample_rate)
        take = speaking.store(container, work, finished)
    except SpeakingCancelled as error:
        raise JobLost(generation_id) from error
    except speaking.FAILURES as error:
        _fail(ctx, generation, speaking.failure_of(error))
        return
    with ctx.publishing() as session:
        if not speaking.publish(session, generation, take):
            raise JobLost(generation.id)  # cancelled or deleted meanwhile
    log.info("tts.generated", generation=generation.id, seconds=round(take.seconds, 2))


def _speak(ctx: JobContext, container: Container, work: Work) -> list[Clip]:
    pause = 0.5
    for attempt in range(1, TRIES + 1):
        try:
            said = speaking.utterances(work, f"{ctx.attempt}.{attempt}")
            return container.speaker.speak(said, ctx.cancelled)
        except SpeechError as error:
            if not error.retry or attempt == TRIES:
                raise
            log.warning("tts.retried", generation=ctx.job_id, code=error.code, attempt=attempt)
        ctx.wait(pause)
        pause *= 4
    raise AssertionError("a generation is tried at least once")


def _fail(ctx: JobContext, generation: Generation, failure: dict[str, Any]) -> None:
    with ctx.publishing() as session:
        fresh = session.get(Generation, generation.id)
        if fresh is None or fresh.outcome is not None:
            return
        fresh.outcome, fresh.failure, fresh.ended_at = "failed", failure, now()
    log.warning("tts.failed", generation=generation.id, code=failure["code"])
