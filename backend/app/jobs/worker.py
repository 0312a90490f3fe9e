"""The worker: takes jobs, beats, relieves the dead, and stops in good order."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import structlog
from dbos import DBOS
from dbos._context import current_owner_xid
from sqlalchemy.exc import SQLAlchemyError

from app.jobs import engine, liveness, rows
from app.jobs.gate import Gate
from app.jobs.interface import JobLost
from app.jobs.jobs import Jobs
from app.jobs.registry import OUTAGES, Job, JobContext, Outage, Registry, registry
from app.jobs.serializer import as_failure
from app.kit.database import Database
from app.kit.ids import new_id

log = structlog.get_logger()
# "Try again": the worker was given up by the others and must start anew (EX_TEMPFAIL of sysexits.h).
EXIT_GIVEN_UP = 75
# Some C code may hold the interpreter for a while; nothing good takes this long.
HANG_SECONDS = 300.0
# A disk that stays full looks like an outage that never ends: after so many attempts it is a failure.
MOST_INTERRUPTIONS = 10
LONGEST_PAUSE = 10.0
DAY = 86_400.0
HOUR = 3600.0


def watch_for_hang(ended: threading.Event) -> None:
    """Until then, end a process in which no Python runs any more, so that it is seen as the crash that it is."""

    def watch() -> None:
        while not ended.is_set():
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            ended.wait(HANG_SECONDS / 10)
        faulthandler.cancel_dump_traceback_later()

    threading.Thread(target=watch, name="watchdog", daemon=True).start()


class Worker:
    """One worker in this process. `queues` maps a queue to how many of its jobs run side by side.

    Workers whose jobs can crash each other share a `gate`: a suspect then has nothing beside it in any of them.

    Every worker of a database should be given the same numbers: the engine keeps them in the database.
    """

    def __init__(
        self,
        database: Database,
        jobs: Registry = registry,
        *,
        queues: Mapping[str, int] | None = None,
        container: Any = None,
        beat_seconds: float = 5.0,
        silent_seconds: float = 30.0,
        drain_seconds: float = 20.0,
        retention_days: float = 30.0,
        gate: Gate | None = None,
    ) -> None:
        self.id = new_id()
        self.given_up = False
        self._database = database
        self._registry = jobs
        self._queues = dict(queues or {"speech": 32})
        self._container = container
        self._beat_seconds = beat_seconds
        self._silent_seconds = silent_seconds
        self._drain_seconds = drain_seconds
        self._retention_days = retention_days
        self._gate = gate or Gate()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._engine: engine.Engine | None = None
        self._beating: threading.Thread | None = None

    def start(self) -> None:
        engine.migrate(self._database)
        with self._database.session() as session:
            liveness.enter(session, self.id, list(self._queues))
        self._engine = engine.Engine(
            self._database, worker_id=self.id, concurrency=sum(self._queues.values())
        )
        for job in self._registry.jobs.values():
            self._engine.add(job.name, self._workflow(job))
        self._engine.launch(self._queues)
        self._beating = threading.Thread(target=self._keep_beating, name="jobs-beat", daemon=True)
        self._beating.start()
        log.info("worker.started", worker=self.id, queues=self._queues, pid=os.getpid())

    def stop(self, drain: bool = True) -> None:
        """Take no more jobs; with `drain` wait a while for those under way; hand the rest back."""
        if self._engine is None:
            return
        self._engine.stop_taking()
        if drain and not self.given_up:
            began = time.monotonic()
            while self._engine.is_busy() and time.monotonic() - began < self._drain_seconds:
                if self._stopping.wait(0.02):
                    break
        self._stopping.set()
        self._ended.set()
        if self._beating is not None and self._beating is not threading.current_thread():
            self._beating.join(self._beat_seconds + 1)
        handed_back = 0
        try:
            with self._database.session() as session:
                handed_back = liveness.leave(session, self.id)
        except SQLAlchemyError as error:  # others will notice the silence
            log.warning("worker.no_goodbye", worker=self.id, error=type(error).__name__)
        self._engine.destroy()
        self._engine = None
        log.info("worker.stopped", worker=self.id, handed_back=handed_back, given_up=self.given_up)

    def run(self, asked_to_stop: Callable[[], None] = lambda: None) -> int:
        """Work until SIGTERM or SIGINT (a second SIGINT does not wait for jobs); the exit code.

        `asked_to_stop` is called then, before jobs under way are waited for.

        A second SIGTERM says nothing new: what stops a whole group stops a worker twice, the other time by its
        supervisor.

        Jobs still under way afterwards live in threads that cannot be ended: leave with os._exit.
        """
        asked, interrupted, hurry = (threading.Event() for _ in range(3))

        def on_signal(number: int, _frame: Any) -> None:
            if number == signal.SIGINT:
                if interrupted.is_set():
                    hurry.set()
                    self._drain_seconds = 0.0
                interrupted.set()
            asked.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        self.start()
        watch_for_hang(self._ended)
        while not asked.wait(0.2) and not self.given_up:
            pass
        asked_to_stop()
        self.stop(drain=not hurry.is_set())
        return EXIT_GIVEN_UP if self.given_up else 0

    # --- jobs -----------------------------------------------------------------------------------

    def _workflow(self, job: Job) -> Callable[..., Any]:
        def run(**args: Any) -> Any:
            job_id = str(DBOS.workflow_id)
            owner = current_owner_xid(job_id)
            if owner is None:
                raise JobLost(job_id)
            try:
                return self._run(job, job_id, owner, args)
            except (*OUTAGES, Outage) as error:
                self._give_back(job_id, owner, error)

        run.__qualname__ = run.__name__ = job.name
        return run

    def _give_back(self, job_id: str, owner: str, error: BaseException) -> NoReturn:
        """After an outage of the database, put the job back in line as soon as there is one again."""
        cause = error.__cause__ if isinstance(error, Outage) else error
        log.warning("job.interrupted", job_id=job_id, error=type(cause).__name__)
        pause = 0.1
        while not self._stopping.wait(pause):
            try:
                with self._database.session() as session:
                    claim = rows.claim(session, job_id, lock=True)
                    if claim is not None and claim.attempts >= MOST_INTERRUPTIONS:
                        raise as_failure(cause or error)
                    rows.give_back(session, job_id, owner)
                break
            except OUTAGES:
                pause = min(pause * 2, LONGEST_PAUSE)
        raise JobLost(job_id)

    def _run(self, job: Job, job_id: str, owner: str, args: dict[str, Any]) -> Any:
        with self._database.reading() as session:
            claim = rows.claim(session, job_id)
        if claim is None or claim.owner != owner:
            raise JobLost(job_id)
        ctx = JobContext(
            self._database,
            job_id,
            owner=owner,
            attempt=claim.attempts,
            stopping=self._stopping,
            container=self._container,
        )
        with structlog.contextvars.bound_contextvars(job_id=job_id, job=job.name):
            if not claim.queue.endswith(rows.ALONE):
                with self._gate.shared():
                    return self._call(job, ctx, args)
            with self._gate.alone():
                with ctx.publishing() as session:
                    liveness.run_alone(session, job_id, self.id)
                try:
                    return self._call(job, ctx, args)
                finally:
                    with self._database.session() as session:
                        liveness.ran_alone(session, job_id, self.id)

    def _call(self, job: Job, ctx: JobContext, args: dict[str, Any]) -> Any:
        if self._stopping.is_set():
            raise JobLost(ctx.job_id)
        try:
            return job.function(ctx, **args)
        except OUTAGES:
            raise
        except Exception as error:
            failure = as_failure(error)
            unexpected = failure.code == "internal_error"
            log.warning("job.failed", code=failure.code, attempt=ctx.attempt, exc_info=unexpected)
            raise failure from None

    # --- liveness -------------------------------------------------------------------------------

    def _keep_beating(self) -> None:
        """Beat and sweep until stopped. Silence is judged only after having watched as long oneself:

        after an outage of the database, or a sleep of the machine, everybody seems silent at first.
        """
        watching_since = last = time.monotonic()
        next_cleaning = last + min(HOUR, self._beat_seconds * 10)
        while True:
            now = time.monotonic()
            if now - last > self._silent_seconds / 2:
                watching_since = now
            try:
                self._beat(judge_silence=now - watching_since >= self._silent_seconds)
                if self.given_up:
                    return
                last = now
                if now >= next_cleaning:
                    next_cleaning = now + HOUR
                    self._clean()
            except Exception as error:  # whatever it is, a worker that works has to be seen
                ours = None if isinstance(error, SQLAlchemyError) else error
                log.warning("worker.beat_failed", worker=self.id, error=type(error).__name__, exc_info=ours)
            if self._ended.wait(self._beat_seconds):
                return

    def _beat(self, *, judge_silence: bool) -> None:
        with self._database.session() as session:
            if not liveness.beat(session, self.id):
                log.error("worker.given_up", worker=self.id)
                self.given_up = True
                self._stopping.set()
                if self._engine is not None:
                    self._engine.stop_taking()
                return
        with self._database.session() as session:
            liveness.refuse_unknown(session, self.id, self._registry.jobs)
            liveness.sweep(
                session,
                silent_seconds=self._silent_seconds,
                judge_silence=judge_silence,
                max_attempts=self._registry.max_attempts,
            )

    def _clean(self) -> None:
        jobs = Jobs(self._database)
        while jobs.sweep(self._retention_days * DAY) and not self._ended.is_set():
            pass
