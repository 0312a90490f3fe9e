"""Puts right what can be put right safely, and says what it did and what it left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress

import structlog
from sqlalchemy import select, update

from app.deps import Container, forget_files
from app.diagnosis import data, machine
from app.diagnosis.schemas import FixOut, Repair
from app.diagnosis.service import diagnose
from app.generation import service as generation
from app.kit.clock import now
from app.kit.database import in_lots
from app.models import Generation, Take
from app.samples import service as samples
from app.voice_models import service as voice_models
from app.voice_models.errors import VoiceModelNotFound

log = structlog.get_logger()


def fix(container: Container, *, dry_run: bool = False) -> FixOut:
    """Do every safe repair, or with `dry_run` only say which."""
    before = diagnose(container).diagnosis.findings
    fixable = {finding.code: finding for finding in before if finding.fixable}
    fixed = []
    for code, finding in fixable.items():
        repair = REPAIRS.get(code)
        if repair is None:
            continue
        done = 0 if dry_run else repair(container)
        what = finding.what if dry_run else f"{finding.what} Put right: {done}."
        fixed.append(Repair(code=code, what=what, done=not dry_run, subjects=finding.subjects))
        if not dry_run:
            log.info(
                "voice_model.repaired" if code == "training_lost" else "diagnosis.repaired",
                code=code,
                count=done,
            )
    after = before if dry_run else diagnose(container).diagnosis.findings
    left = [each for each in after if not (dry_run and each.code in fixable) and each.severity != "info"]
    return FixOut(dry_run=dry_run, fixed=fixed, left=left)


def settle_work(container: Container) -> int:
    """End trainings and generations whose job ended without saying so."""
    return _settle_trainings(container) + _settle_generations(container)


def _settle_trainings(container: Container) -> int:
    with container.database.reading() as session:
        lost = list(voice_models.lost(container, session))
    settled = 0
    for model in lost:
        with suppress(VoiceModelNotFound), container.database.session() as session:  # deleted meanwhile
            settled += voice_models.settle(container, session, model, now())
    return settled


def _settle_generations(container: Container) -> int:
    with container.database.reading() as session:
        lost = data.lost_generations(container, session)
    settled = 0
    for ids in in_lots(lost):
        with container.database.session() as session:
            jobs = container.jobs.states(ids, session)
            # A job publishes before it is over: what its row says now, after that was seen, is how it ended.
            rows = session.scalars(
                select(Generation)
                .where(Generation.id.in_(ids), Generation.outcome.is_(None))
                .order_by(Generation.id)
                .with_for_update()
            ).all()
            for row in rows:
                status, failure = generation.status_of(row, jobs.get(row.id))
                row.outcome, row.ended_at = status, now()
                row.failure = failure.model_dump() if failure else None
            settled += len(rows)
    return settled


def _mark_takes(container: Container) -> int:
    with container.database.reading() as session:
        stock = data.take_stock(container, session)
    return _set_missing(container, stock.missing_takes + stock.altered_takes, gone=True)


def _unmark_takes(container: Container) -> int:
    with container.database.reading() as session:
        stock = data.take_stock(container, session)
    return _set_missing(container, stock.returned_takes, gone=False)


def _set_missing(container: Container, take_ids: list[str], *, gone: bool) -> int:
    with container.database.session() as session:
        for ids in in_lots(take_ids):
            session.execute(update(Take).where(Take.id.in_(ids)).values(missing_at=now() if gone else None))
    return len(take_ids)


def sweep_strays(container: Container) -> int:
    """Delete files that no row knows, once they are too old to belong to a write under way."""
    with container.database.reading() as session:
        stock = data.take_stock(container, session)
    for folder in stock.uploads:
        shutil.rmtree(folder, ignore_errors=True)
    swept = len(stock.uploads)
    for bucket, files in stock.strays.items():
        old = [file.key for file in files if file.age > container.settings.orphan_seconds]
        forget_files(container.store, bucket, old)
        swept += len(old)
    return swept


def _measure(container: Container) -> int:
    with container.database.session() as session:
        ids = data.unmeasured(session)
        for sample_id in ids:
            samples.request_measurement(container, session, sample_id)
    return len(ids)


def _make_folders(container: Container) -> int:
    made = 0
    for facts in machine.folders(container)[0].values():
        if not facts["exists"]:
            from pathlib import Path

            Path(facts["path"]).mkdir(parents=True, exist_ok=True)
            made += 1
    return made


REPAIRS: dict[str, Callable[[Container], int]] = {
    "training_lost": _settle_trainings,
    "generation_lost": _settle_generations,
    "take_file_missing": _mark_takes,
    "take_file_altered": _mark_takes,
    "take_file_returned": _unmark_takes,
    "stray_file": sweep_strays,
    "sample_unmeasured": _measure,
    "folder_missing": _make_folders,
}
