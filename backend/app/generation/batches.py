"""Batches: many scripts at once, only what is out of date, and how it goes."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime
from typing import TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.deps import Container
from app.generation import service
from app.generation.errors import BatchNotFound, VoiceNotReady
from app.generation.schemas import BatchIn, BatchItem, BatchOut, BatchStarted, FailureCount, FailureOut
from app.kit.clock import now
from app.kit.database import in_lots
from app.kit.ids import is_id, new_id
from app.lexicons.service import readings
from app.models import Batch, Generation, Script, Take, VoiceModel
from app.text import Reading

log = structlog.get_logger()
Row = TypeVar("Row", Script, VoiceModel, Take)
NAMED_SCRIPTS = 100


def start(container: Container, session: Session, body: BatchIn) -> BatchStarted:
    """Accept what is out of date (or all, when forced), in one transaction."""
    wanted = list(dict.fromkeys(body.script_ids))
    scripts = _by_id(session, Script, [each for each in wanted if is_id(each)])
    models = _by_id(session, VoiceModel, [script.voice_model_id for script in scripts.values()])
    takes = _by_id(session, Take, [each.current_take_id for each in scripts.values() if each.current_take_id])
    not_ready = {id for id, model in models.items() if model.state_key is None}
    if not_ready:
        raise VoiceNotReady(
            "Train these voice models first: " + ", ".join(sorted(not_ready)[:10]),
            voice_model_ids=sorted(not_ready),
        )
    batch = Batch(id=new_id(), force_regenerate=body.force_regenerate, items=[])
    session.add(batch)
    session.flush()
    items: list[BatchItem] = []
    generations: list[Generation] = []
    read = readings(session, best_effort=container.settings.best_effort)
    for script_id in wanted:
        script = scripts.get(script_id)
        if script is None:
            items.append(BatchItem(script_id=script_id, status="unknown"))
            continue
        model, take = models[script.voice_model_id], takes.get(script.current_take_id or "")
        reading = read.of(script, listed=True)
        if not body.force_regenerate and _still_good(container, script, model, reading, take):
            items.append(BatchItem(script_id=script_id, status="unchanged", take_id=script.current_take_id))
            continue
        generation = service.asked(container, script, model, reading, batch_id=batch.id)
        generations.append(generation)
        unclear = [] if container.settings.best_effort else service.unclear_outs(reading)
        items.append(
            BatchItem(script_id=script_id, status="accepted", generation_id=generation.id, unclear=unclear)
        )
    service.request(container, session, generations)
    batch.items = [[item.script_id, item.status] for item in items]
    counts = _count(items)
    log.info("tts.batch_started", batch=batch.id, **counts)
    return BatchStarted(batch_id=batch.id, scripts=items, **counts)


def _by_id(session: Session, table: type[Row], ids: list[str]) -> dict[str, Row]:
    unique = list(dict.fromkeys(ids))
    rows: dict[str, Row] = {}
    for lot in in_lots(unique):
        query = select(table).where(table.id.in_(lot))
        rows |= {row.id: row for row in session.scalars(query)}
    return rows


def _still_good(
    container: Container, script: Script, model: VoiceModel, reading: Reading, take: Take | None
) -> bool:
    return service.up_to_date(container, take, service.fingerprint_of(container, script, model, reading))


def _count(items: list[BatchItem]) -> dict[str, int]:
    return {
        status: sum(item.status == status for item in items)
        for status in ("accepted", "unchanged", "unknown")
    }


def get(session: Session, batch_id: str) -> Batch:
    batch = session.get(Batch, batch_id) if is_id(batch_id) else None
    if batch is None:
        raise BatchNotFound
    return batch


def view(container: Container, session: Session, batch_id: str) -> BatchOut:
    """Counts, rate, time left, and failures by reason."""
    batch = get(session, batch_id)
    rows = session.execute(
        select(
            Generation.id, Generation.script_id, Generation.outcome, Generation.failure, Generation.ended_at
        ).where(Generation.batch_id == batch_id)
    ).all()
    jobs = container.jobs.states([row.id for row in rows if row.outcome is None], session)
    counts: dict[str, int] = defaultdict(int)
    failures: dict[str, list[tuple[str, FailureOut]]] = defaultdict(list)
    ended: list[datetime] = []
    for row in rows:
        status, failure = service.status_of(row, jobs.get(row.id))  # type: ignore[arg-type]
        counts[status] += 1
        if failure:
            failures[failure.code].append((row.script_id, failure))
        if row.ended_at:
            ended.append(row.ended_at)
    over = counts["done"] + counts["failed"] + counts["cancelled"]
    left = len(rows) - over
    rate = _per_second(batch.created_at, counts["done"] + counts["failed"], left, ended)
    return BatchOut(
        id=batch.id,
        status="running" if left else ("cancelled" if batch.cancelled_at else "done"),
        total=len(rows),
        **{name: counts[name] for name in ("queued", "running", "done", "failed", "cancelled")},
        unchanged=sum(status == "unchanged" for _, status in batch.items),
        unknown=sum(status == "unknown" for _, status in batch.items),
        per_minute=round(rate * 60, 1) if rate else None,
        seconds_left=(_seconds_left(left, rate) if rate else None) if left else 0.0,
        failures=[
            FailureCount(
                code=code,
                message=each[0][1].message,
                count=len(each),
                script_ids=[script_id for script_id, _ in each[:NAMED_SCRIPTS]],
            )
            for code, each in sorted(failures.items())
        ],
        created_at=batch.created_at,
        ended_at=None if left else max(ended, default=batch.created_at),
    )


def _per_second(start: datetime, finished: int, left: int, ended: list[datetime]) -> float | None:
    if not finished:
        return None
    until = now() if left else max(ended, default=now())
    return finished / max((until - start).total_seconds(), 0.001)


def _seconds_left(left: int, rate: float) -> float:
    # Up, not to the nearest tenth: 0 says that nothing is left.
    return math.ceil(10 * left / rate) / 10


def cancel(container: Container, session: Session, batch_id: str) -> Batch:
    """Stop what has not ended. What is done stays; a job under way can publish nothing any more."""
    batch = get(session, batch_id)
    open_rows = list(
        session.scalars(
            select(Generation.id).where(Generation.batch_id == batch_id, Generation.outcome.is_(None))
        )
    )
    if open_rows:
        service.cancel(container, session, open_rows)
        batch.cancelled_at = now()
    log.info("tts.batch_cancelled", batch=batch_id, stopped=len(open_rows))
    return batch
