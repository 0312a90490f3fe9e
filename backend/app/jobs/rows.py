"""The one module that reads and writes the engine's own rows.

DBOS Transact keeps a job (its "workflow") in `workflow_status`. What its public interface cannot do in
a transaction of ours is done here: enqueueing many, reading states, fencing, cancelling, and giving a dead worker's jobs
to others. A job belongs to the execution whose token is in `owner_xid`; whoever clears or replaces
that token makes every later write of the former owner fail. Checked against DBOS 3.4 by
tests/contracts/test_jobs.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.jobs.interface import JobFailed, JobState, JobStatus
from app.jobs.serializer import JsonSerializer
from app.jobs.tables import JobStrike, JobWorker
from app.kit.database import in_lots

SCHEMA = "dbos"
APPLICATION = "moksori"
# Pinned: work queued before an upgrade is done after it. Change it only when old jobs cannot be run.
VERSION = "1"
ENQUEUED, DELAYED, PENDING, SUCCESS, ERROR = "ENQUEUED", "DELAYED", "PENDING", "SUCCESS", "ERROR"
CANCELLED, DEAD_LETTER = "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
UNDER_WAY = (ENQUEUED, DELAYED, PENDING)
STATUS = {
    ENQUEUED: JobStatus.QUEUED,
    DELAYED: JobStatus.QUEUED,
    PENDING: JobStatus.RUNNING,
    SUCCESS: JobStatus.DONE,
    ERROR: JobStatus.FAILED,
    DEAD_LETTER: JobStatus.FAILED,
    CANCELLED: JobStatus.CANCELLED,
}
# Two lanes beside each queue: `first` has slots that no batch can fill; a job in `alone` runs with
# nothing beside it in its process, so that a crash names the culprit.
FIRST, ALONE = ".first", ".alone"


def base_queue(name: str | None) -> str:
    return (name or "").removesuffix(FIRST).removesuffix(ALONE)


@cache
def _tables(schema: str | None) -> tuple[sa.Table, sa.Table, sa.Table]:
    metadata = sa.MetaData(schema=schema)
    jobs = sa.Table(
        "workflow_status",
        metadata,
        sa.Column("workflow_uuid", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.Text)
            for name in (
                "status",
                "name",
                "queue_name",
                "executor_id",
                "owner_xid",
                "application_name",
                "application_version",
                "serialization",
            )
        ),
        *(
            sa.Column(name, sa.BigInteger)
            for name in (
                "priority",
                "recovery_attempts",
                "created_at",
                "updated_at",
                "started_at_epoch_ms",
                "completed_at",
            )
        ),
        sa.Column("deduplication_id", sa.Text),
    )
    inputs = sa.Table(
        "workflow_input",
        metadata,
        sa.Column("workflow_uuid", sa.Text, primary_key=True),
        sa.Column("inputs", sa.Text),
    )
    outputs = sa.Table(
        "workflow_output",
        metadata,
        sa.Column("workflow_uuid", sa.Text, primary_key=True),
        sa.Column("output", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("retention_timestamp", sa.BigInteger),
    )
    return jobs, inputs, outputs


def _of(session: Session) -> tuple[sa.Table, sa.Table, sa.Table]:
    return _tables(None if session.get_bind().dialect.name == "sqlite" else SCHEMA)


def clock(session: Session) -> sa.ColumnElement[float]:
    """Seconds since 1970 on the database's clock: the one that all workers share."""
    if session.get_bind().dialect.name == "sqlite":
        return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Double)
    return sa.literal_column("CAST(extract(epoch FROM clock_timestamp()) AS double precision)", sa.Double)


def _now_ms(session: Session) -> sa.ColumnElement[int]:
    return sa.cast(clock(session) * 1000, sa.BigInteger)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _state(row: Any) -> JobState:
    code = message = None
    if STATUS[row.status] is JobStatus.FAILED:
        failure = JsonSerializer.deserialize(row.error) if row.error else None
        if isinstance(failure, JobFailed):
            code, message = failure.code, failure.message
        else:
            code, message = "internal_error", "The job failed without a recorded reason."
    return JobState(
        id=row.workflow_uuid,
        name=row.name,
        status=STATUS[row.status],
        attempts=row.recovery_attempts or 0,
        created_at=datetime.fromtimestamp(row.created_at / 1000, UTC),
        started_at=_moment(row.started_at_epoch_ms),
        ended_at=_moment(row.completed_at),
        error_code=code,
        error_message=message,
    )


def add(
    session: Session, args: Mapping[str, Mapping[str, Any]], *, name: str, queue: str, priority: int
) -> None:
    """Put jobs, by their ids, at the end of a queue's line; those that are there already stay as they are.

    The rows are those that DBOS writes for one, in a tenth of the time.
    """
    jobs, inputs, _ = _of(session)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    serializer = JsonSerializer()
    row = {
        "status": ENQUEUED,
        "name": name,
        "queue_name": queue,
        "priority": priority,
        "recovery_attempts": 0,
        "application_name": APPLICATION,
        "application_version": VERSION,
        "serialization": serializer.name(),
    }
    session.execute(
        insert(jobs).on_conflict_do_nothing(), [row | {"workflow_uuid": job_id} for job_id in args]
    )
    session.execute(
        insert(inputs).on_conflict_do_nothing(),
        [
            {"workflow_uuid": job_id, "inputs": serializer.serialize({"args": [], "kwargs": dict(each)})}
            for job_id, each in args.items()
        ],
    )


def states(session: Session, job_ids: Sequence[str]) -> dict[str, JobState]:
    """The states of those that exist."""
    jobs, _, outputs = _of(session)
    query = sa.select(
        jobs.c.workflow_uuid,
        jobs.c.name,
        jobs.c.status,
        jobs.c.recovery_attempts,
        jobs.c.created_at,
        jobs.c.started_at_epoch_ms,
        jobs.c.completed_at,
        outputs.c.error,
    ).select_from(jobs.outerjoin(outputs, outputs.c.workflow_uuid == jobs.c.workflow_uuid))
    return {
        row.workflow_uuid: _state(row)
        for chunk in in_lots(job_ids)
        for row in session.execute(query.where(jobs.c.workflow_uuid.in_(chunk)))
    }


def look(lanes: Sequence[str], dialect: str) -> sa.CompoundSelect[Any]:
    """A query for the lanes that have a job in line; an index answers it, however long the line is."""
    jobs, _, _ = _tables(None if dialect == "sqlite" else SCHEMA)
    # As literals: SQLite takes the index of what is under way only where it can see that it covers this.
    in_line = sa.and_(
        jobs.c.status == sa.literal_column(f"'{ENQUEUED}'"),
        jobs.c.status.in_([sa.literal_column(f"'{ENQUEUED}'"), sa.literal_column(f"'{PENDING}'")]),
    )
    return sa.union_all(
        *(
            sa.select(sa.literal(lane)).where(
                sa.select(jobs.c.workflow_uuid).where(jobs.c.queue_name == lane, in_line).exists()
            )
            for lane in lanes
        )
    )


def queue_counts(session: Session) -> dict[str, tuple[int, int]]:
    """(queued, running) a queue, its lanes included."""
    jobs, _, _ = _of(session)
    counts: dict[str, tuple[int, int]] = {}
    for queue, status, number in session.execute(
        sa.select(jobs.c.queue_name, jobs.c.status, sa.func.count())
        .where(jobs.c.status.in_(UNDER_WAY))
        .group_by(jobs.c.queue_name, jobs.c.status)
    ):
        queued, running = counts.get(base_queue(queue), (0, 0))
        if status == PENDING:
            running += number
        else:
            queued += number
        counts[base_queue(queue)] = (queued, running)
    return counts


def cancel(session: Session, job_ids: Sequence[str]) -> int:
    """Take jobs that are not over out of their queue and from whoever runs them; how many there were."""
    jobs, _, _ = _of(session)
    cancelled = 0
    for chunk in in_lots(job_ids):
        result = session.execute(
            sa.update(jobs)
            .where(jobs.c.workflow_uuid.in_(chunk), jobs.c.status.in_(UNDER_WAY))
            .values(
                status=CANCELLED,
                owner_xid=None,
                queue_name=None,
                deduplication_id=None,
                started_at_epoch_ms=None,
                updated_at=_now_ms(session),
                completed_at=_now_ms(session),
            )
        )
        cancelled += result.rowcount  # type: ignore[attr-defined]
    return cancelled


@dataclass(frozen=True, slots=True)
class Claim:
    """What a job's row says about the execution that has it."""

    owner: str | None
    queue: str
    attempts: int
    cancelled: bool


def claim(session: Session, job_id: str, *, lock: bool = False) -> Claim | None:
    """The present claim on a job. With `lock` it cannot change before this transaction ends."""
    jobs, _, _ = _of(session)
    query = sa.select(jobs.c.owner_xid, jobs.c.queue_name, jobs.c.recovery_attempts, jobs.c.status).where(
        jobs.c.workflow_uuid == job_id
    )
    if lock:
        # On SQLite the transaction already has the only write lock.
        query = query.with_for_update(key_share=True)
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    return Claim(row.owner_xid, row.queue_name or "", row.recovery_attempts or 0, row.status == CANCELLED)


def give_back(session: Session, job_id: str, owner: str) -> bool:
    """Put one's own job back in line. False when it was one's own no longer."""
    jobs, _, _ = _of(session)
    result = session.execute(
        sa.update(jobs)
        .where(jobs.c.workflow_uuid == job_id, jobs.c.status == PENDING, jobs.c.owner_xid == owner)
        .values(status=ENQUEUED, owner_xid=None, started_at_epoch_ms=None, updated_at=_now_ms(session))
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Held:
    """A job that a worker has under way."""

    id: str
    name: str
    queue: str
    strikes: int
    alone_in: str | None


def held_by(session: Session, worker_id: str) -> list[Held]:
    """The jobs a worker has under way, locked; those another transaction has locked are left out."""
    jobs, _, _ = _of(session)
    rows = session.execute(
        sa.select(jobs.c.workflow_uuid, jobs.c.name, jobs.c.queue_name)
        .where(jobs.c.executor_id == worker_id, jobs.c.status == PENDING)
        .with_for_update(skip_locked=True)
    ).all()
    strikes: dict[str, JobStrike] = {}
    for chunk in in_lots([row.workflow_uuid for row in rows]):
        for strike in session.scalars(sa.select(JobStrike).where(JobStrike.job_id.in_(chunk))):
            strikes[strike.job_id] = strike
    return [
        Held(
            row.workflow_uuid,
            row.name,
            row.queue_name or "",
            strikes[row.workflow_uuid].strikes if row.workflow_uuid in strikes else 0,
            strikes[row.workflow_uuid].alone_in if row.workflow_uuid in strikes else None,
        )
        for row in rows
    ]


def requeue(session: Session, job_ids: Sequence[str], *, queue: str | None = None) -> None:
    """Put running jobs back in line (in another queue if given): their executions own them no longer."""
    jobs, _, _ = _of(session)
    values: dict[str, Any] = {
        "status": ENQUEUED,
        "owner_xid": None,
        "started_at_epoch_ms": None,
        "updated_at": _now_ms(session),
    }
    if queue is not None:
        values["queue_name"] = queue
    for chunk in in_lots(job_ids):
        session.execute(
            sa.update(jobs).where(jobs.c.workflow_uuid.in_(chunk), jobs.c.status == PENDING).values(values)
        )


def fail(session: Session, job_id: str, failure: JobFailed) -> None:
    """End a running job as failed, as its own execution would have."""
    jobs, _, outputs = _of(session)
    session.execute(
        sa.update(jobs)
        .where(jobs.c.workflow_uuid == job_id, jobs.c.status == PENDING)
        .values(
            status=ERROR,
            owner_xid=None,
            deduplication_id=None,
            updated_at=_now_ms(session),
            completed_at=_now_ms(session),
        )
    )
    session.execute(sa.delete(outputs).where(outputs.c.workflow_uuid == job_id))
    session.execute(
        sa.insert(outputs).values(
            workflow_uuid=job_id,
            error=JsonSerializer().serialize(failure),
            retention_timestamp=_now_ms(session),
        )
    )


def holders_not_at_work(session: Session) -> list[str]:
    """Workers that have jobs under way although they ended: they took them while they were given up."""
    jobs, _, _ = _of(session)
    at_work = sa.select(JobWorker.id).where(JobWorker.ended_at.is_(None))
    return list(
        session.scalars(
            sa.select(jobs.c.executor_id)
            .where(jobs.c.status == PENDING, jobs.c.executor_id.not_in(at_work))
            .distinct()
        )
    )


def over_since(session: Session, seconds: float, limit: int) -> list[str]:
    """Jobs that have been over for so long, oldest first."""
    jobs, _, _ = _of(session)
    return list(
        session.scalars(
            sa.select(jobs.c.workflow_uuid)
            .where(
                jobs.c.completed_at.is_not(None),
                jobs.c.completed_at < sa.cast((clock(session) - seconds) * 1000, sa.BigInteger),
                jobs.c.status.not_in(UNDER_WAY),
            )
            .order_by(jobs.c.completed_at)
            .limit(limit)
        )
    )
