"""Whether rows and files agree, and whether all work that rows wait for is alive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.deps import Container
from app.diagnosis.schemas import Finding
from app.models import Generation, Sample, Take, VoiceModel
from app.samples import service as samples
from app.storage.interface import NotThere, StoredFile
from app.voice_models import service as voice_models
from app.voice_models.state import STATE_FILES

SHOWN = 100


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the store holds and what the rows say it should, compared."""

    missing_samples: list[str]
    altered_samples: list[str]
    missing_takes: list[str]  # not yet marked
    marked_takes: list[str]
    returned_takes: list[str]  # marked, but their file is there again
    altered_takes: list[str]
    missing_states: list[str]
    strays: dict[str, list[StoredFile]]  # by bucket: files that no row knows
    uploads: list[Path]  # what a crash left of them


def take_stock(container: Container, session: Session) -> Inventory:
    """One walk over each folder and one query a table; sizes tell what was altered.

    The walk comes first, so that a file whose row is written meanwhile is no stray.
    """
    files = {
        bucket: {file.key: file for file in container.store.keys(bucket)}
        for bucket in ("samples", "takes", "models")
    }

    def find(bucket: str, key: str) -> StoredFile | None:
        if file := files[bucket].get(key):
            return file
        try:
            return container.store.stat(bucket, key)  # it may have been written after the walk
        except (NotThere, OSError):  # or lie in a folder that cannot be read
            return None

    known: dict[str, set[str]] = {bucket: set() for bucket in files}
    missing_samples, altered_samples = [], []
    columns = (Sample.id, Sample.original_key, Sample.wav_key, Sample.bytes, Sample.wav_bytes)
    for sample_id, original, wav, size, wav_size in session.execute(select(*columns)):
        known["samples"] |= {original, wav}
        there = [find("samples", original), find("samples", wav)]
        if None in there:
            missing_samples.append(sample_id)
        elif [file.bytes for file in there if file] != [size, wav_size]:
            altered_samples.append(sample_id)
    missing: list[str] = []
    marked: list[str] = []
    returned: list[str] = []
    altered: list[str] = []
    for take_id, key, size, missing_at in session.execute(
        select(Take.id, Take.audio_key, Take.bytes, Take.missing_at)
    ):
        known["takes"].add(key)
        file = find("takes", key)
        if file is None:
            (marked if missing_at else missing).append(take_id)
        elif file.bytes != size:
            (marked if missing_at else altered).append(take_id)
        elif missing_at:
            returned.append(take_id)
    missing_states = []
    for model_id, state_key in session.execute(
        select(VoiceModel.id, VoiceModel.state_key).where(VoiceModel.state_key.is_not(None))
    ):
        names = {f"{state_key}/{name}" for name in STATE_FILES}
        known["models"] |= names
        if not all(find("models", name) for name in names):
            missing_states.append(model_id)
    strays = {
        bucket: [file for key, file in there.items() if key not in known[bucket]]
        for bucket, there in files.items()
    }
    return Inventory(
        missing_samples, altered_samples, missing, marked, returned, altered, missing_states, strays,
        uploads=samples.abandoned_uploads(container.settings),
    )  # fmt: skip


def lost_generations(container: Container, session: Session) -> list[str]:
    """The ids of generations without an end whose job has one, or is gone."""
    ids = list(session.scalars(select(Generation.id).where(Generation.outcome.is_(None))))
    jobs = container.jobs.states(ids, session)
    return [each for each in ids if (job := jobs.get(each)) is None or job.status.is_over]


def of_other_engines(container: Container, session: Session) -> list[str]:
    """Models whose state was made by another engine than this service's."""
    query = select(VoiceModel.id).where(
        VoiceModel.state_key.is_not(None), VoiceModel.engine != container.engine.name
    )
    return list(session.scalars(query))


def unmeasured(session: Session) -> list[str]:
    return list(session.scalars(select(Sample.id).where(Sample.verdict.is_(None))))


def figures(session: Session, stock: Inventory) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Counts of models, samples and takes."""

    def count(table: Any) -> int:
        return session.scalar(select(func.count()).select_from(table)) or 0

    verdicts = {
        verdict or "unmeasured": number
        for verdict, number in session.execute(select(Sample.verdict, func.count()).group_by(Sample.verdict))
    }
    return (
        {
            "count": count(VoiceModel),
            "missing_files": len(stock.missing_states),
            "stray_files": len(stock.strays["models"]),
        },
        {
            "count": count(Sample),
            "verdicts": verdicts,
            "missing_files": len(stock.missing_samples),
            "altered_files": len(stock.altered_samples),
            "stray_files": len(stock.strays["samples"]) + len(stock.uploads),
        },
        {
            "count": count(Take),
            "missing_files": len(stock.missing_takes) + len(stock.marked_takes),
            "altered_files": len(stock.altered_takes),
            "stray_files": len(stock.strays["takes"]),
        },
    )


def findings(container: Container, session: Session, stock: Inventory) -> list[Finding]:
    """What is wrong between rows, files and jobs; empty when all is well."""
    lost_models = [model.id for model in voice_models.lost(container, session)]
    lost = lost_generations(container, session)
    strays = [f"{bucket}/{file.key}" for bucket, files in stock.strays.items() for file in files]
    strays += [f"inbox/{folder.name}" for folder in stock.uploads]
    old_strays = bool(stock.uploads) or any(
        file.age > container.settings.orphan_seconds for files in stock.strays.values() for file in files
    )
    table: list[tuple[list[str], str, str, str, str, str, bool]] = [
        (lost_models, "training_lost", "error", "{n} models show a training that has no live job.",
         "They would never become ready.", "fix-issues ends those trainings; train the models again.", True),
        (lost, "generation_lost", "error", "{n} generations have no live job.",
         "They would never end.", "fix-issues ends them; generate the scripts again.", True),
        (stock.missing_samples, "sample_file_missing", "error", "Sample file not found: {n} samples.",
         "They cannot be heard or used in a training.", "Upload the same recordings again.", False),
        (stock.altered_samples, "sample_file_altered", "error", "The files of {n} samples were altered.",
         "What is there is not what was uploaded and checked.",
         "Upload the same recordings again.", False),
        (stock.missing_takes, "take_file_missing", "warning", "The files of {n} takes are gone.",
         "They cannot be played or exported.",
         "fix-issues marks them; a batch then makes the current ones again.", True),
        (stock.marked_takes, "take_marked_missing", "info", "{n} takes are marked missing.",
         "The current ones among them are made again by the next batch.",
         "Batch-generate their scripts.", False),
        (stock.returned_takes, "take_file_returned", "info",
         "The files of {n} takes marked missing are back.",
         "They are taken for missing still.", "fix-issues takes the mark away.", True),
        (stock.altered_takes, "take_file_altered", "error", "The files of {n} takes were altered.",
         "What is there is not what was measured.",
         "fix-issues marks them missing; a batch then makes the current ones again.", True),
        (stock.missing_states, "voice_file_missing", "error", "The files of {n} voice models are gone.",
         "Nothing can be spoken in these voices.", "Train these models again.", False),
        (of_other_engines(container, session), "voice_of_other_engine", "warning",
         "{n} voice models were trained with another engine than the one that speaks now.",
         "Generating with them may fail.", "Train them again, or set MOKSORI_ENGINE back.", False),
        (unmeasured_for_long(container, session), "sample_unmeasured", "warning",
         "{n} samples were never measured.", "They are left out of trainings.",
         "fix-issues has them measured.", True),
        (strays, "stray_file", "info", "No row knows {n} files.", "They only take room.",
         "fix-issues, and a regular sweep, delete those that are older than half an hour.", old_strays),
    ]  # fmt: skip
    return [
        Finding(
            code=code, severity=severity, what=what.format(n=len(subjects)), effect=effect, fix=fix,
            fixable=fixable, subjects=subjects[:SHOWN],
        )  # type: ignore[arg-type]
        for subjects, code, severity, what, effect, fix, fixable in table
        if subjects
    ]  # fmt: skip


def unmeasured_for_long(container: Container, session: Session) -> list[str]:
    """Unmeasured samples, unless measurements are under way anyhow."""
    queued, running = container.jobs.counts(session).queues.get("measure", (0, 0))
    return [] if queued or running else unmeasured(session)
