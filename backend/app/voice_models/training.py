"""Training a voice: gather good samples, condition the engine, speak test lines, measure, publish."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import soundfile

from app.audio.measure import ModelQuality, SampleReport, TakeReport, measure_take, score_model
from app.audio.rules import Reason
from app.deps import Container
from app.models import Sample, TrainingRun
from app.samples.recordings import read_recording
from app.speech.interface import Clip, Recording, SpeechError, Utterance, VoiceState
from app.speech.speaker import Speaker, SpeakingCancelled
from app.storage.interface import StorageError
from app.voice_models.errors import TrainingFailed

# Read as an announcer would; together they hold every vowel and most consonants of Korean.
TEST_LINES = (
    "안녕하세요. 고객센터입니다.",
    "상담원과 통화를 원하시면 별표를 눌러 주십시오.",
    "요청하신 내용이 접수되었으며, 처리 결과는 문자 메시지로 보내 드리겠습니다.",
)
# More changes an engine's figures little and costs it much.
MOST_SECONDS = 600.0


@dataclass
class StepLog:
    """The steps of a run as they happen, so that a caller can watch and a failure names its place."""

    container: Container
    run_id: str
    steps: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, **used: Any) -> Iterator[dict[str, Any]]:
        """Time a step; what it puts into the yielded dict are its figures."""
        figures: dict[str, Any] = {}
        entry = {"name": name, "status": "running", "seconds": 0.0, "used": used, "figures": figures}
        self.steps.append(entry)
        self._save()
        start = time.perf_counter()
        try:
            yield figures
        except SpeakingCancelled:
            entry["status"] = "stopped"
            raise
        except BaseException as error:
            known = error if isinstance(error, TrainingFailed | SpeechError | StorageError) else None
            entry |= {
                "status": "failed",
                "error": str(known) if known else type(error).__name__,
                "fix": (known.fix if known else "") or "See the service's log, and run the diagnosis.",
            }
            raise
        else:
            entry["status"] = "ok"
        finally:
            entry["seconds"] = round(time.perf_counter() - start, 3)
            self._save()

    def _save(self) -> None:
        with self.container.database.session() as session:
            if run := session.get(TrainingRun, self.run_id):
                run.steps = [dict(step) for step in self.steps]


def read_recordings(container: Container, samples: Sequence[Sample]) -> tuple[list[Recording], list[str]]:
    """The samples' audio, as much as is of use, and the ids of those whose file is gone or broken."""
    recordings: list[Recording] = []
    missing: list[str] = []
    left = MOST_SECONDS
    for sample in samples:
        if left <= 0:
            break
        try:
            recording = read_recording(container.store, sample, left)
        except (StorageError, soundfile.LibsndfileError):
            missing.append(sample.id)
            continue
        left -= len(recording.audio) / recording.sample_rate
        recordings.append(recording)
    return recordings, missing


def usable(samples: Sequence[Sample]) -> list[Sample]:
    """Good samples first, then usable ones; rejected ones never."""
    rank = {"good": 0, "usable": 1}
    chosen = [sample for sample in samples if sample.verdict in rank]
    return sorted(chosen, key=lambda sample: (rank[sample.verdict or ""], sample.id))


def report_of(sample: Sample) -> SampleReport:
    """A sample's stored measurement; one that was chosen has been measured."""
    stored = dict(sample.report or {})
    return SampleReport(**stored | {"reasons": tuple(Reason(**each) for each in stored["reasons"])})


def gather(container: Container, samples: Sequence[Sample], figures: dict[str, Any]) -> list[Recording]:
    figures["samples"] = len(samples)
    if not samples:
        raise TrainingFailed(
            "no_samples", "The actor has no samples.", "Upload recordings of the actor, then train again."
        )
    chosen = usable(samples)
    figures |= {"chosen": len(chosen), "rejected": len(samples) - len(chosen)}
    if not chosen:
        raise TrainingFailed(
            "no_usable_sample",
            f"None of the {len(samples)} samples can be used.",
            "See each sample's `report` for what is wrong with it, and upload better ones.",
        )
    recordings, missing = read_recordings(container, chosen)
    figures |= {
        "missing_files": missing,
        "seconds": round(sum(len(each.audio) / each.sample_rate for each in recordings), 2),
    }
    if not recordings:
        raise TrainingFailed(
            "sample_file_missing",
            "Sample file not found: the files of all usable samples are gone.",
            "Upload the same recordings again: that brings the samples back.",
        )
    return recordings


def speak_test_lines(
    speaker: Speaker, state: VoiceState, run_id: str, cancelled: Any
) -> list[tuple[Clip, float | None]]:
    """The test lines in the new voice, each with its similarity where the engine can say."""
    utterances = [
        Utterance(id=f"{run_id}:{number}", text=line, voice=state, seed=number, interactive=True)
        for number, line in enumerate(TEST_LINES)
    ]
    clips = speaker.speak(utterances, cancelled)
    return [(clip, speaker.engine.similarity(clip.audio, clip.sample_rate, state)) for clip in clips]


def measure(
    spoken: Sequence[tuple[Clip, float | None]], samples: Sequence[SampleReport], simulated: bool
) -> tuple[ModelQuality, list[TakeReport]]:
    reports = [
        measure_take(clip.audio, clip.sample_rate, line, similarity=similarity, simulated=simulated)
        for line, (clip, similarity) in zip(TEST_LINES, spoken, strict=True)
    ]
    return score_model(samples, reports), reports
