"""Speaking one script, in a worker: one job a generation, one take at its end or a typed failure."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict
from typing import Any

import numpy as np
import structlog

from app.audio.formats import encode
from app.audio.loudness import set_loudness
from app.audio.measure import TakeReport, measure_take
from app.audio.shape import join, trim
from app.deps import Container
from app.generation.errors import VoiceNotReady
from app.generation.fingerprint import fingerprint
from app.jobs import JobContext, JobLost, job
from app.kit.clock import now
from app.kit.errors import AppError
from app.kit.ids import new_id
from app.lexicons.service import Readings, readings
from app.models import Generation, Script, Take, VoiceModel
from app.speech.interface import Audio, SpeechError, Utterance, VoiceState
from app.speech.speaker import SpeakingCancelled
from app.storage.interface import StorageError, StoreFull
from app.text import Part, Reading, UnclearText, split

log = structlog.get_logger()
BUCKET = "takes"
EDGE_SECONDS = 0.1  # silence at both ends of a take
# Another try on a fault of the engine or the store; what a text or a voice lacks, it lacks again.
TRIES = 3


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
        _make(ctx, container, generation, model, read)
    except SpeakingCancelled as error:
        raise JobLost(generation_id) from error
    except UnclearText as error:
        unclear = [
            {"start": each.start, "end": each.end, "written": each.written, "why": each.why,
             "suggestion": each.suggestion}
            for each in error.unclear
        ]  # fmt: skip
        _fail(ctx, generation, {
            "code": "unclear_text", "message": str(error), "unclear": unclear,
            "fix": "Write these characters as they are spoken, or add a lexicon entry.",
        })  # fmt: skip
    except (SpeechError, StorageError) as error:
        _fail(ctx, generation, {"code": error.code, "message": str(error), "fix": error.fix})
    except AppError as error:
        _fail(ctx, generation, {"code": error.code, "message": error.detail, "fix": error.title})


def _make(
    ctx: JobContext, container: Container, generation: Generation, model: VoiceModel | None, read: Readings
) -> None:
    if model is None or model.state_key is None:
        raise VoiceNotReady
    settings = generation.settings
    reading = read.read(generation.text, language=settings["language"], script_id=generation.script_id)
    if not container.settings.best_effort:
        reading.require_clear()
    parts = split(reading)
    voice = container.states.get(model.state_key)
    audio, rate = _retried(ctx, lambda attempt: _speak(ctx, container, generation, parts, voice, attempt))
    audio = set_loudness(audio, rate, container.settings.take_loudness, container.settings.take_true_peak)
    report = measure_take(
        audio, rate, reading.text,
        similarity=container.engine.similarity(audio, rate, voice),
        simulated=container.engine.simulated,
        speed=settings["speed"], lufs=container.settings.take_loudness,
    )  # fmt: skip
    _publish(ctx, container, generation, model, reading, audio, rate, report)


def _retried(ctx: JobContext, speak: Any) -> tuple[Audio, int]:
    pause = 0.5
    for attempt in range(1, TRIES + 1):
        try:
            result: tuple[Audio, int] = speak(attempt)
            return result
        except SpeechError as error:
            if not error.retry or attempt == TRIES:
                raise
            log.warning("tts.retried", generation=ctx.job_id, code=error.code, attempt=attempt)
        ctx.wait(pause)
        pause *= 4
    raise AssertionError("a generation is tried at least once")


def _speak(
    ctx: JobContext, container: Container, generation: Generation, parts: tuple[Part, ...],
    voice: VoiceState, attempt: int,
) -> tuple[Audio, int]:  # fmt: skip
    settings = generation.settings
    utterances = [
        Utterance(
            id=f"{generation.id}.{ctx.attempt}.{attempt}.{number}",
            text=part.text,
            voice=voice,
            language=settings["language"],
            speed=min(2.0, max(0.5, settings["speed"] * part.rate)),
            seed=seed_of(settings["seed"], number),
            interactive=generation.interactive,
        )
        for number, part in enumerate(parts)
    ]
    clips = container.speaker.speak(utterances, ctx.cancelled)
    if not clips:
        raise SpeechError("There is nothing to say in this text.", "Write some words.")
    rate = clips[0].sample_rate
    trimmed = [trim(clip.audio, clip.sample_rate, lead=0.02, tail=0.02) for clip in clips]
    audio = join(trimmed, [part.pause for part in parts[:-1]], rate)
    return trim(np.asarray(audio), rate, lead=EDGE_SECONDS, tail=EDGE_SECONDS), rate


def seed_of(seed: int, number: int) -> int:
    """A seed for each part: the same script and seed give the same audio, and parts differ."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big") >> 1


def _publish(
    ctx: JobContext, container: Container, generation: Generation, model: VoiceModel, reading: Reading,
    audio: Audio, rate: int, report: TakeReport,
) -> None:  # fmt: skip
    # Of the reading that was spoken: a lexicon may have changed since the generation was asked for.
    made_of = fingerprint(
        generation.text, generation.settings, model, reading, container.engine.name, container.settings
    )
    # A key of this attempt's own: after a crash there is the old state or the new one, and at worst a
    # file that no row knows, which is swept. It is not deleted here when the commit fails: a commit whose
    # answer was lost may have happened.
    key = f"{generation.script_id}/{generation.id}-{new_id()}.wav"
    data = encode(audio, rate, "wav", seed=generation.settings["seed"])
    try:
        stored = container.store.put(BUCKET, key, io.BytesIO(data), seconds=len(audio) / rate)
    except StoreFull:
        log.error("tts.storage_full", generation=generation.id)
        raise
    with ctx.publishing() as session:
        fresh = session.get(Generation, generation.id)
        script = session.get(Script, generation.script_id)
        if fresh is None or script is None or fresh.outcome is not None:
            raise JobLost(generation.id)  # cancelled or deleted meanwhile
        take = Take(
            id=new_id(), generation_id=generation.id, script_id=script.id, voice_model_id=model.id,
            model_version=model.version, engine=container.engine.name,
            simulated=container.engine.simulated, fingerprint=made_of,
            text=generation.text, reading=reading_document(reading),
            seed=generation.settings["seed"], audio_key=key, sha256=stored.sha256, bytes=stored.bytes,
            seconds=len(audio) / rate, sample_rate=rate, quality_score=report.quality_score,
            report=asdict(report),
        )  # fmt: skip
        session.add(take)
        fresh.outcome, fresh.take_id, fresh.ended_at = "done", take.id, now()
        current = session.get(Take, script.current_take_id) if script.current_take_id else None
        # An older generation that ends late does not take the place of a newer one's take.
        if current is None or current.generation_id < generation.id:
            script.current_take_id = take.id
            if script.stale_at and script.stale_at <= generation.created_at:
                script.stale_at = None
    log.info("tts.generated", generation=generation.id, seconds=round(len(audio) / rate, 2))


def reading_document(reading: Reading) -> dict[str, Any]:
    """What a take keeps of how its text was read."""
    return {
        "text": reading.text,
        "trace": [
            {
                "start": span.start, "end": span.end, "written": span.written, "spoken": span.spoken,
                "kind": span.kind, "rule": span.rule, "alternatives": list(span.alternatives),
                "confidence": span.confidence,
            }
            for span in reading.trace
        ],
    }  # fmt: skip


def _fail(ctx: JobContext, generation: Generation, failure: dict[str, Any]) -> None:
    with ctx.publishing() as session:
        fresh = session.get(Generation, generation.id)
        if fresh is None or fresh.outcome is not None:
            return
        fresh.outcome, fresh.failure, fresh.ended_at = "failed", failure, now()
    log.warning("tts.failed", generation=generation.id, code=failure["code"])
