"""Jobs by name, and what a job sees while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from app.jobs import rows
from app.jobs.interface import JobFailed, JobLost, RetryableError
from app.jobs.serializer import as_failure
from app.kit.database import Database

T = TypeVar("T")
JobFunction = Callable[..., Any]
# A worker frozen while it publishes would keep its row locks: PostgreSQL ends such a transaction.
PUBLISH_IDLE_SECONDS = 20


# The database did not do its part: nothing that the job did wrong, and nothing to remember of it.
OUTAGES = (OperationalError, InterfaceError)


class Outage(BaseException):
    """Carries an outage of the database out of a step, past whatever catches errors."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How a step is tried again: after `first` seconds, then `factor` times as long, never over `longest`."""

    attempts: int = 5
    first: float = 0.5
    factor: float = 2.0
    longest: float = 30.0
    errors: tuple[type[Exception], ...] = (RetryableError,)


NO_RETRY = Retry(attempts=1)


class JobContext:
    """One execution of a job. `container` is what the worker was given for its jobs to use."""

    def __init__(
        self,
        database: Database,
        job_id: str,
        *,
        owner: str,
        attempt: int,
        stopping: threading.Event,
        container: Any = None,
    ) -> None:
        self.database = database
        self.job_id = job_id
        self.attempt = attempt
        self.container = container
        self._owner = owner
        self._stopping = stopping

    def step(self, name: str, function: Callable[[], T], *, retry: Retry = Retry()) -> T:
        """Run `function` once: after a crash its recorded answer is given again instead.

        The answer must be JSON. The errors that `retry` names are tried again with growing pauses; any
        other, or the last of them, is recorded and raised as JobFailed. Call it from the job's own
        thread, outside any open session, and in the same order every time. An outage of the database is
        no answer: the job starts again later.
        """

        def run() -> T:
            pause = retry.first
            for attempt in range(1, retry.attempts + 1):
                self.check()
                try:
                    return function()
                except retry.errors as error:
                    if attempt == retry.attempts:
                        raise as_failure(error) from error
                self.wait(min(pause, retry.longest))
                pause *= retry.factor
            raise AssertionError("a step is tried at least once")

        def checked() -> T:
            try:
                return run()
            except OUTAGES as error:
                raise Outage from error  # not an answer to record
            except Exception as error:
                raise as_failure(error) from error

        return DBOS.run_step({"name": name}, checked)

    def fence(self, session: Session) -> None:
        """Raise JobLost unless this execution still owns the job.

        Call it in the transaction that publishes: until that ends, nobody can take the job over.
        """
        if session.get_bind().dialect.name == "postgresql":
            session.execute(
                sa.text(f"SET LOCAL idle_in_transaction_session_timeout = '{PUBLISH_IDLE_SECONDS}s'")
            )
        claim = rows.claim(session, self.job_id, lock=True)
        if claim is None or claim.owner != self._owner:
            raise JobLost(self.job_id)

    @contextmanager
    def publishing(self) -> Iterator[Session]:
        """A session whose commit is refused once the job is lost: fenced first and last."""
        with self.database.session() as session:
            self.fence(session)
            yield session

    def cancelled(self) -> bool:
        """Whether to stop: the job was cancelled, taken over, or is to be handed back now."""
        if self._stopping.is_set():
            return True
        with self.database.reading() as session:
            claim = rows.claim(session, self.job_id)
        return claim is None or claim.owner != self._owner

    def check(self) -> None:
        """Raise JobLost if `cancelled()`."""
        if self.cancelled():
            raise JobLost(self.job_id)

    def wait(self, seconds: float) -> None:
        """Pause; raises JobLost as soon as the worker is told to hand its jobs back, or if cancelled."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._stopping.wait(min(left, 1.0)):
                break
            self.check()
        self.check()


@dataclass(frozen=True, slots=True)
class Job:
    """`max_attempts`: how many crashed worker processes it takes to call the job itself the reason."""

    name: str
    function: JobFunction
    max_attempts: int


class Registry:
    """The jobs a worker can do."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def job(self, name: str, *, max_attempts: int = 4) -> Callable[[JobFunction], JobFunction]:
        """Register `def run(ctx: JobContext, **args)` under a name that stays the same for ever.

        What it returns must be JSON; what it raises ends the job as failed, with the error's `code` if
        it has one. It may be run again from its start after a crash: steps give their recorded answers,
        everything else must bear repetition.
        """
        if max_attempts < 2:
            raise ValueError("a job needs at least two attempts: the first one may fall with its neighbours")

        def register(function: JobFunction) -> JobFunction:
            if name in self.jobs and self.jobs[name].function is not function:
                raise ValueError(f"there is already a job named {name}")
            self.jobs[name] = Job(name, function, max_attempts)
            return function

        return register

    def max_attempts(self, name: str) -> int:
        return self.jobs[name].max_attempts if name in self.jobs else 4


registry = Registry()
job = registry.job

__all__ = ["NO_RETRY", "Job", "JobContext", "JobFailed", "JobLost", "Registry", "Retry", "job", "registry"]
