"""How fast jobs drain, on SQLite and on PostgreSQL: `python tools/bench_jobs.py [--jobs 1000]`.

One worker process, one-step jobs, and the same with a fenced publishing commit each. Then 50,000 jobs
are queued and an interactive one is timed from its commit to its start.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "backend"))

from app.jobs import INTERACTIVE, JobContext, Jobs, JobStatus, Registry, Worker
from app.jobs.tables import JobStrike
from app.kit.database import Database
from tests.databases import POSTGRESQL, Databases, PostgresServer, kinds

registry = Registry()


@registry.job("one_step")
def one_step(ctx: JobContext, number: int) -> None:
    ctx.step("double", lambda: number * 2)


@registry.job("publishing")
def publishing(ctx: JobContext, number: int) -> None:
    with ctx.publishing() as session:
        session.add(JobStrike(job_id=f"published-{ctx.job_id}", strikes=number))


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)


def drain(database: Database, jobs: Jobs, name: str, number: int) -> float:
    """Jobs a second, from the commit that queues them to the end of the last."""
    ids = [f"{name}-{index}" for index in range(number)]
    with database.session() as session:
        for index, job_id in enumerate(ids):
            jobs.enqueue(session, name, {"number": index}, job_id=job_id)
    committed = time.monotonic()
    until(lambda: jobs.counts().queues == {})
    return number / (time.monotonic() - committed)


def overtake(database: Database, jobs: Jobs, backlog: int) -> float:
    """Seconds an interactive job waits behind `backlog` queued ones."""
    with database.session() as session:
        for index in range(backlog):
            jobs.enqueue(session, "one_step", {"number": index}, job_id=f"backlog-{index}")
    waits = []
    for index in range(5):
        with database.session() as session:
            jobs.enqueue(session, "one_step", {"number": 1}, job_id=f"now-{index}", priority=INTERACTIVE)
        committed = time.monotonic()
        until(
            lambda index=index: jobs.states([f"now-{index}"])[f"now-{index}"].status is not JobStatus.QUEUED
        )
        waits.append(time.monotonic() - committed)
    return max(waits)


def bench(url: str, number: int, backlog: int) -> dict[str, float]:
    worker = os.fork()
    if worker == 0:
        os._exit(Worker(Database(url), registry, drain_seconds=0).run())
    database = Database(url)
    jobs = Jobs(database)
    try:
        until(lambda: jobs.counts().alive_workers == 1)
        figures = {
            f"{name}_jobs_per_s": round(drain(database, jobs, name, number), 1)
            for name in ("one_step", "publishing")
        }
        if backlog:
            figures["interactive_wait_s"] = round(overtake(database, jobs, backlog), 3)
        return figures
    finally:
        os.kill(worker, 15)
        os.waitpid(worker, 0)
        database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument("--only", choices=kinds())
    options = parser.parse_args()
    for kind in [options.only] if options.only else kinds():
        server = PostgresServer() if kind == POSTGRESQL else None
        try:
            if server:
                server.start()
            with tempfile.TemporaryDirectory() as folder:
                for url in Databases(kind, Path(folder), server).laid_out():
                    print(
                        json.dumps({"database": kind, **bench(url, options.jobs, options.backlog)}),
                        flush=True,
                    )
        finally:
            if server:
                server.close()


if __name__ == "__main__":
    main()
