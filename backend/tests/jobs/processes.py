"""Real worker processes for tests, their jobs, and a line to hear them by.

Workers are forked from a server that has imported everything, so that one starts in milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.jobs import JobContext, JobFailed, Registry, Retry, RetryableError, Worker
from app.kit.database import Database, make_engine

PATIENCE = 60.0
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.jobs.processes"])
# What jobs publish: one row a job, and a second one would be an error.
RESULTS = sa.Table(
    "test_results",
    sa.MetaData(),
    sa.Column("job_id", sa.String(100), primary_key=True),
    sa.Column("worker", sa.Integer),
    sa.Column("attempt", sa.Integer),
)


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `condition` answers as soon as that is true; asks again every few milliseconds."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            raise AssertionError("it never came to that")
        time.sleep(0.01)
    return answer


def publish(ctx: JobContext) -> None:
    with ctx.publishing() as session:
        known = session.execute(sa.select(RESULTS).where(RESULTS.c.job_id == ctx.job_id)).first()
        if known is None:
            session.execute(
                sa.insert(RESULTS).values(job_id=ctx.job_id, worker=os.getpid(), attempt=ctx.attempt)
            )


def make_registry(line: Connection) -> Registry:
    registry = Registry()

    @registry.job("work")
    def work(ctx: JobContext) -> None:
        ctx.step("compute", lambda: 1)
        publish(ctx)

    @registry.job("hold")
    def hold(ctx: JobContext, gate: str) -> None:
        """Two steps; the second one waits for a file."""

        def first() -> int:
            line.send(("first", ctx.job_id))
            return 1

        def second() -> int:
            line.send(("second", ctx.job_id))
            while not Path(gate).exists():
                ctx.wait(0.02)
            return 2

        ctx.step("first", first)
        ctx.step("second", second)
        publish(ctx)

    @registry.job("deaf")
    def deaf(ctx: JobContext, gate: str) -> None:
        """Waits for a file, hears nothing, then tries to publish."""
        line.send(("deaf", ctx.job_id))
        while not Path(gate).exists():
            time.sleep(0.02)
        try:
            publish(ctx)
        except BaseException as error:
            line.send((type(error).__name__, ctx.job_id))
            raise
        line.send(("published", ctx.job_id))

    @registry.job("crash")
    def crash(ctx: JobContext) -> None:
        ctx.step("crash", lambda: os.kill(os.getpid(), signal.SIGKILL))

    @registry.job("flaky")
    def flaky(ctx: JobContext, failures: int) -> None:
        tries = []

        def sometimes() -> int:
            tries.append(1)
            if len(tries) <= failures:
                raise RetryableError("busy")
            return len(tries)

        assert ctx.step("flaky", sometimes, retry=Retry(attempts=4, first=0.01)) == failures + 1
        publish(ctx)

    @registry.job("interrupted")
    def interrupted(ctx: JobContext, attempts: int, in_step: bool) -> None:
        """The database is away for some attempts."""

        def touch() -> int:
            if ctx.attempt <= attempts:
                raise OperationalError("SELECT", {}, Exception("server closed the connection"))
            return 1

        if in_step:
            ctx.step("touch", touch)
        else:
            touch()
        publish(ctx)

    @registry.job("refuse")
    def refuse(ctx: JobContext) -> None:
        raise JobFailed("no_voice", "There is no such voice.")

    return registry


def _main(url: str, line: Connection, options: dict[str, Any]) -> None:
    database = Database(url)
    worker = Worker(database, make_registry(line), **options)
    code = worker.run()
    line.send(("stopped", code))
    sys.stdout.flush()
    os._exit(code)


class Child:
    """A worker process. `hear` waits for what its jobs say."""

    def __init__(self, url: str, **options: Any) -> None:
        self._line, theirs = CONTEXT.Pipe(duplex=False)
        settings = {"beat_seconds": 0.2, "silent_seconds": 2.0, "drain_seconds": 20.0, **options}
        self.process = CONTEXT.Process(target=_main, args=(url, theirs, settings), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def hear(self, seconds: float = PATIENCE) -> tuple[str, Any]:
        """The next thing said; ("gone", None) when the process ended without a word."""
        assert self._line.poll(seconds), "the worker said nothing"
        try:
            word: tuple[str, Any] = self._line.recv()
        except EOFError:
            return "gone", None
        return word

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.join(PATIENCE)

    def exit_code(self) -> int | None:
        self.process.join(PATIENCE)
        return self.process.exitcode


@contextmanager
def workshop(url: str) -> Iterator[Callable[..., Child]]:
    """Starts workers on a database, and sees that none is left."""
    engine = make_engine(url)
    RESULTS.create(engine)
    engine.dispose()
    children: list[Child] = []

    def start(**options: Any) -> Child:
        child = Child(url, **options)
        children.append(child)
        return child

    try:
        yield start
    finally:
        for child in children:
            if child.process.is_alive():
                child.kill()


def results(session: Session) -> dict[str, tuple[int, int]]:
    """(worker's process id, attempt) of each published job."""
    return {row.job_id: (row.worker, row.attempt) for row in session.execute(sa.select(RESULTS))}
