"""Who is at work, who fell silent, and what becomes of a dead worker's jobs.

Each worker beats on the database's clock. A worker that is silent too long, or whose process is gone,
is declared ended by another one in a single transaction that also gives its jobs to others.

Which of its jobs killed it? Nobody knows while many ran side by side, so all of them are suspects: each
gets a strike and runs again alone in its process. A crash then names the culprit, and only a job
that crashed a worker alone is ever failed for it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app.jobs import rows
from app.jobs.interface import JobFailed, WorkerInfo
from app.jobs.tables import JobStrike, JobWorker

log = structlog.get_logger()
REMEMBERED_SECONDS = 86_400.0


def _start_time(pid: int) -> str | None:
    """When a live process of this machine started (clock ticks since boot); None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # a name may be cut within a character
    except OSError:
        return None
    state, *fields = stat[stat.rindex(")") + 2 :].split()
    return None if state in "ZX" else fields[18]


def _neighbourhood() -> str | None:
    """Names the boot and the process namespace within which process numbers can be compared."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def own_process() -> str:
    pid = os.getpid()
    return f"{_neighbourhood() or ''}|{pid}|{_start_time(pid) or ''}"


def is_gone(process: str) -> bool:
    """Whether a process is known to be gone. False where this machine cannot tell."""
    neighbourhood, pid, started = process.split("|")
    if not neighbourhood or not started or neighbourhood != _neighbourhood():
        return False
    return _start_time(int(pid)) != started


def enter(session: Session, worker_id: str, queues: Sequence[str]) -> None:
    now = session.execute(sa.select(rows.clock(session))).scalar_one()
    session.add(
        JobWorker(
            id=worker_id,
            host=socket.gethostname(),
            process=own_process(),
            queues=",".join(queues),
            started_at=now,
            beat_at=now,
        )
    )


def beat(session: Session, worker_id: str) -> bool:
    """Say that this worker is alive. False: others have given it up, and its jobs away."""
    result = session.execute(
        sa.update(JobWorker)
        .where(JobWorker.id == worker_id, JobWorker.ended_at.is_(None))
        .values(beat_at=rows.clock(session))
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]


def _end(session: Session, worker_id: str, end: str) -> None:
    session.execute(
        sa.update(JobWorker)
        .where(JobWorker.id == worker_id, JobWorker.ended_at.is_(None))
        .values(ended_at=rows.clock(session), end=end)
    )


def hand_back(session: Session, worker_id: str) -> int:
    """Put what a worker still has under way back in line, without suspicion; how many jobs."""
    jobs = rows.held_by(session, worker_id)
    rows.requeue(session, [job.id for job in jobs])
    return len(jobs)


def refuse_unknown(session: Session, worker_id: str, known: Collection[str]) -> None:
    """Fail the jobs that this worker took and has no function for: they would be under way for ever."""
    for job in rows.held_by(session, worker_id):
        if job.name not in known:
            log.error("job.unknown", job=job.name, job_id=job.id)
            message = f"The worker knows no job named {job.name}. Bring service and workers to one version."
            rows.fail(session, job.id, JobFailed("unknown_job", message))


def leave(session: Session, worker_id: str) -> int:
    """The goodbye of a worker that stops in good order."""
    handed_back = hand_back(session, worker_id)
    _end(session, worker_id, "stopped")
    return handed_back


def _strike(session: Session, job: rows.Held) -> int:
    strike = session.get(JobStrike, job.id) or JobStrike(job_id=job.id, strikes=0)
    strike.strikes += 1
    strike.alone_in = None
    session.add(strike)
    return strike.strikes


def relieve(session: Session, worker_id: str, end: str, max_attempts: Callable[[str], int]) -> None:
    """End a dead worker and give its jobs to others, in this transaction."""
    worker = session.scalars(
        sa.select(JobWorker)
        .where(JobWorker.id == worker_id, JobWorker.ended_at.is_(None))
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if worker is None:
        return  # another worker was faster
    _end(session, worker_id, end)
    held = rows.held_by(session, worker_id)
    culprits = [job for job in held if job.alone_in == worker_id]
    # Those already waiting to run alone had not begun.
    suspects = culprits or [job for job in held if not job.queue.endswith(rows.ALONE)]
    for job in suspects:
        strikes = _strike(session, job)
        if culprits and strikes >= max_attempts(job.name):
            rows.fail(
                session,
                job.id,
                JobFailed(
                    "worker_crashed",
                    f"The worker process died {strikes} times while this job ran. "
                    "Look for worker.relieved in the log, and at the input of this job.",
                ),
            )
        else:
            rows.requeue(session, [job.id], queue=rows.base_queue(job.queue) + rows.ALONE)
    blamed = {job.id for job in suspects}
    rows.requeue(session, [job.id for job in held if job.id not in blamed])
    log.warning("worker.relieved", worker=worker_id, end=end, jobs=len(held), suspects=len(suspects))


def sweep(
    session: Session, *, silent_seconds: float, judge_silence: bool, max_attempts: Callable[[str], int]
) -> None:
    """Relieve the dead. `judge_silence` is False for one that has not watched the others long enough."""
    now = session.execute(sa.select(rows.clock(session))).scalar_one()
    for worker in session.scalars(sa.select(JobWorker).where(JobWorker.ended_at.is_(None))).all():
        if is_gone(worker.process):
            relieve(session, worker.id, "crashed", max_attempts)
        elif judge_silence and now - worker.beat_at >= silent_seconds:
            relieve(session, worker.id, "silent", max_attempts)
    for holder in rows.holders_not_at_work(session):
        hand_back(session, holder)


def run_alone(session: Session, job_id: str, worker_id: str) -> None:
    """Note that a suspect has its process to itself now."""
    session.execute(sa.update(JobStrike).where(JobStrike.job_id == job_id).values(alone_in=worker_id))


def ran_alone(session: Session, job_id: str, worker_id: str) -> None:
    """And that it has so no longer, unless it is another worker's by now."""
    session.execute(
        sa.update(JobStrike)
        .where(JobStrike.job_id == job_id, JobStrike.alone_in == worker_id)
        .values(alone_in=None)
    )


def forget(session: Session, job_ids: Sequence[str]) -> None:
    """Drop the traces of jobs that are forgotten, and of workers that ended long ago."""
    session.execute(sa.delete(JobStrike).where(JobStrike.job_id.in_(job_ids)))
    session.execute(sa.delete(JobWorker).where(JobWorker.ended_at < rows.clock(session) - REMEMBERED_SECONDS))


def workers(session: Session, silent_seconds: float) -> list[WorkerInfo]:
    now = session.execute(sa.select(rows.clock(session))).scalar_one()
    found = session.scalars(
        sa.select(JobWorker)
        .where(sa.or_(JobWorker.ended_at.is_(None), JobWorker.ended_at > now - REMEMBERED_SECONDS))
        .order_by(JobWorker.started_at.desc())
    )
    return [
        WorkerInfo(
            id=worker.id,
            host=worker.host,
            queues=tuple(worker.queues.split(",")),
            alive=worker.end is None and now - worker.beat_at < silent_seconds,
            started_at=datetime.fromtimestamp(worker.started_at, UTC),
            beat_at=datetime.fromtimestamp(worker.beat_at, UTC),
            ended_at=None if worker.ended_at is None else datetime.fromtimestamp(worker.ended_at, UTC),
            end=worker.end,
        )
        for worker in found
    ]
