"""Training a voice model, in a worker: one job a run."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import soundfile
import structlog
from sqlalchemy import select

from app.audio.measure import ModelQuality, TakeReport, measure_sample
from app.deps import Container
from app.jobs import JobContext, job
from app.kit.clock import now
from app.kit.ids import new_id
from app.models import Sample, TrainingRun, VoiceModel
from app.samples.recordings import read_recording
from app.speech.interface import SpeechError, VoiceState
from app.speech.speaker import SpeakingCancelled
from app.storage.interface import StorageError
from app.voice_models import training
from app.voice_models.errors import TrainingFailed
from app.voice_models.state import put_state

log = structlog.get_logger()


@job("voice_models.train")
def train(ctx: JobContext, run_id: str) -> None:
    """Gather samples, condition, speak test lines, measure, publish; or end the run with a reason."""
    container: Container = ctx.container
    with container.database.reading() as session:
        run = session.get(TrainingRun, run_id)
        model = session.get(VoiceModel, run.voice_model_id) if run else None
    if run is None or run.outcome is not None or model is None:
        return
    steps = training.StepLog(container, run_id)
    try:
        state, quality, report = _make(ctx, container, model, run_id, steps)
        state_key = _publish(ctx, container, model, run_id, state, quality, report, steps)
    except SpeakingCancelled:
        ctx.check()
        raise
    except (TrainingFailed, SpeechError, StorageError) as error:
        _fail(ctx, run_id, error.code, str(error), error.fix)
        log.warning("voice_model.training_failed", voice_model=model.id, run=run_id, code=error.code)
        return
    log.info("voice_model.trained", voice_model=model.id, run=run_id, state=state_key, quality=quality.score)


def _make(
    ctx: JobContext, container: Container, model: VoiceModel, run_id: str, steps: training.StepLog
) -> tuple[VoiceState, ModelQuality, dict[str, Any]]:
    speaker = container.speaker
    with steps.step("gather_samples", voice_actor_id=model.voice_actor_id) as figures:
        samples = _measured_samples(container, model.voice_actor_id)
        recordings = training.gather(container, samples, figures)
    ctx.check()
    with steps.step("load_engine", engine=container.engine.name, why=container.engine_reason) as figures:
        speaker.load()
        status = container.engine.ping()
        figures |= {"device": status.device, "versions": dict(status.versions)}
    with steps.step("condition", engine=container.engine.name, recordings=len(recordings)) as figures:
        state = container.engine.condition(recordings)
        figures["arrays"] = {name: list(array.shape) for name, array in state.arrays.items()}
    ctx.check()
    with steps.step("speak_test_lines", lines=len(training.TEST_LINES)) as figures:
        spoken = training.speak_test_lines(speaker, state, f"{run_id}.{ctx.attempt}", ctx.cancelled)
        figures["seconds"] = [round(len(clip.audio) / clip.sample_rate, 2) for clip, _ in spoken]
        figures["similarity"] = [similarity for _, similarity in spoken]
    with steps.step("measure_quality") as figures:
        chosen = training.usable(samples)
        reports = [training.report_of(sample) for sample in chosen]
        quality, takes = training.measure(spoken, reports, container.engine.simulated)
        figures |= asdict(quality)
    return state, quality, _report(container, quality, takes, samples)


def _report(
    container: Container, quality: ModelQuality, takes: list[TakeReport], samples: list[Sample]
) -> dict[str, Any]:
    return {
        "quality": asdict(quality),
        "simulated": container.engine.simulated,
        "test_lines": [
            {"text": line, **asdict(take)} for line, take in zip(training.TEST_LINES, takes, strict=True)
        ],
        "samples": [{"id": sample.id, "verdict": sample.verdict} for sample in training.usable(samples)],
        "made_with": {"moksori": version("moksori"), "engine": container.engine.name},
    }


def _measured_samples(container: Container, actor_id: str) -> list[Sample]:
    """The actor's samples, each with a verdict: what was just uploaded is measured here and now."""
    with container.database.reading() as session:
        samples = list(
            session.scalars(select(Sample).where(Sample.voice_actor_id == actor_id).order_by(Sample.id))
        )
    for sample in samples:
        if sample.verdict is None:
            _measure_now(container, sample)
    return samples


def _measure_now(container: Container, sample: Sample) -> None:
    try:
        recording = read_recording(container.store, sample)
    except (StorageError, soundfile.LibsndfileError):
        return  # the diagnosis tells which files are gone or altered
    report = measure_sample(recording.audio, recording.sample_rate, sample.text_content)
    sample.report, sample.verdict = asdict(report), report.verdict
    with container.database.session() as session:
        if fresh := session.get(Sample, sample.id):
            fresh.report, fresh.verdict = sample.report, sample.verdict


def _publish(
    ctx: JobContext, container: Container, model: VoiceModel, run_id: str, state: VoiceState,
    quality: ModelQuality, report: dict[str, Any], steps: training.StepLog,
) -> str:  # fmt: skip
    # A key of this attempt's own: a crash before the commit leaves files that no row knows, to be swept.
    state_key = f"{model.id}/{new_id()}"
    with steps.step("store_voice", key=state_key):
        put_state(container.store, state_key, state)
    with ctx.publishing() as session:
        fresh = session.get(VoiceModel, model.id)
        run = session.get(TrainingRun, run_id)
        if fresh is None or run is None or fresh.training_run_id != run_id or run.outcome is not None:
            return state_key  # reset or deleted meanwhile: what was made is swept
        fresh.state_key, fresh.engine = state_key, container.engine.name
        fresh.quality_score, fresh.report = quality.score, report
        fresh.version += 1
        fresh.trained_at, fresh.training_run_id, fresh.failure = now(), None, None
        run.outcome, run.ended_at = "ready", now()
    return state_key


def _fail(ctx: JobContext, run_id: str, code: str, message: str, fix: str) -> None:
    with ctx.publishing() as session:
        run = session.get(TrainingRun, run_id)
        if run is None or run.outcome is not None:
            return
        run.outcome, run.ended_at = "failed", now()
        model = session.get(VoiceModel, run.voice_model_id)
        if model and model.training_run_id == run_id:
            model.training_run_id = None
            model.failure = {
                "code": code, "message": message,
                "fix": fix or "`debug-train` shows every step; the diagnosis shows what is missing.",
            }  # fmt: skip
