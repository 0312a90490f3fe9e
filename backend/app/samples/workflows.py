"""Measuring a sample, in a worker."""

from __future__ import annotations

from dataclasses import asdict

import soundfile
import structlog

from app.audio.measure import measure_sample
from app.deps import Container
from app.jobs import JobContext, JobFailed, job
from app.models import Sample
from app.samples.recordings import read_recording
from app.storage.interface import NotThere

log = structlog.get_logger()


@job("samples.measure")
def measure(ctx: JobContext, sample_id: str) -> None:
    """Measure one sample and keep its report; a deleted one needs none."""
    container: Container = ctx.container
    with container.database.reading() as session:
        sample = session.get(Sample, sample_id)
    if sample is None:
        return
    try:
        recording = read_recording(container.store, sample)
    except NotThere:
        raise JobFailed("sample_file_missing", "The sample's file is gone; upload it again.") from None
    except soundfile.LibsndfileError:
        raise JobFailed("sample_file_altered", "The sample's file is broken; upload it again.") from None
    report = measure_sample(recording.audio, recording.sample_rate, sample.text_content)
    with ctx.publishing() as session:
        fresh = session.get(Sample, sample_id)
        if fresh is not None and fresh.wav_key == sample.wav_key:
            fresh.report, fresh.verdict = asdict(report), report.verdict
    log.info("voice_sample.measured", sample=sample_id, verdict=report.verdict)
