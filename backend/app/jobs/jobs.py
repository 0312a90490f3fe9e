"""What services use: enqueue in their own transaction, ask, cancel, count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from app.jobs import engine, liveness, rows
from app.jobs.interface import BATCH, INTERACTIVE, JobCounts, JobState, WorkerInfo
from app.kit.database import Database


class Jobs:
    """The jobs of one database, from any process. `silent_seconds`: when a worker is taken for dead."""

    def __init__(self, database: Database, *, silent_seconds: float = 30.0) -> None:
        self._database = database
        self._silent_seconds = silent_seconds
        self._client = engine.make_client(database.engine)

    def migrate(self) -> None:
        """Make or upgrade the engine's tables; ours (job_workers, job_strikes) come with the others."""
        engine.migrate(self._database)

    def enqueue(
        self,
        session: Session,
        name: str,
        args: Mapping[str, Any],
        *,
        job_id: str,
        queue: str = "speech",
        priority: int = BATCH,
    ) -> None:
        """Add a job in the caller's transaction: it exists if and when that commits.

        `args` are JSON. The same `job_id` again changes nothing, even when that job is over: a new
        attempt at the same work needs an id of its own.
        """
        self.enqueue_all(session, name, {job_id: args}, queue=queue, priority=priority)

    def enqueue_all(
        self,
        session: Session,
        name: str,
        args: Mapping[str, Mapping[str, Any]],
        *,
        queue: str = "speech",
        priority: int = BATCH,
    ) -> None:
        """As `enqueue`, of many jobs at once: the args of each by its id."""
        if args:
            lane = queue + rows.FIRST if priority <= INTERACTIVE else queue
            rows.add(session, args, name=name, queue=lane, priority=priority)

    def states(self, job_ids: Sequence[str], session: Session | None = None) -> dict[str, JobState]:
        """One query for all; jobs that never were, or were swept since, are left out."""
        with self._reading(session) as reader:
            return rows.states(reader, list(job_ids))

    def cancel(self, job_ids: Sequence[str], session: Session) -> int:
        """Stop jobs that are not over, in the caller's transaction; how many there were.

        A running one may go on for a moment but can no longer publish.
        """
        return rows.cancel(session, list(job_ids))

    def counts(self, session: Session | None = None) -> JobCounts:
        with self._reading(session) as reader:
            queues = rows.queue_counts(reader)
            workers = liveness.workers(reader, self._silent_seconds)
        return JobCounts(
            queued=sum(queued for queued, _ in queues.values()),
            running=sum(running for _, running in queues.values()),
            alive_workers=sum(worker.alive for worker in workers),
            dead_workers=sum(not worker.alive and worker.end is None for worker in workers),
            queues=queues,
        )

    def workers(self, session: Session | None = None) -> list[WorkerInfo]:
        """Workers at work or ended within a day, newest first."""
        with self._reading(session) as reader:
            return liveness.workers(reader, self._silent_seconds)

    def sweep(self, older_than_seconds: float, limit: int = 1000) -> int:
        """Forget jobs that have been over for so long, with all that is recorded of them; how many."""
        with self._database.reading() as reader:
            ids = rows.over_since(reader, older_than_seconds, limit)
        if ids:
            self._client.delete_workflows(ids)
            with self._database.session() as session:
                liveness.forget(session, ids)
        return len(ids)

    @contextmanager
    def _reading(self, session: Session | None) -> Iterator[Session]:
        if session is not None:
            yield session
        else:
            with self._database.reading() as reader:
                yield reader
