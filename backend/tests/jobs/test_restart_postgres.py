"""The database server goes away and comes back; workers and services outlast it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.jobs import Jobs, JobStatus
from app.kit.database import Database
from tests.databases import PostgresServer, lay_out
from tests.jobs.processes import results, until, workshop


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_database_is_survived(
    postgres_server: PostgresServer, tmp_path: Path, mode: str
) -> None:
    name = postgres_server.create()
    url = postgres_server.url(name)
    lay_out(url)
    database = Database(url)
    jobs = Jobs(database, silent_seconds=2.0)
    gate = tmp_path / "gate"
    with workshop(url) as start:
        with database.session() as session:
            jobs.enqueue(session, "deaf", {"gate": str(gate)}, job_id="under_way")
        worker = start()
        assert worker.hear() == ("deaf", "under_way")
        # Work that the crash of a server with fsync off might lose is not what this is about.
        postgres_server._admin("CHECKPOINT")
        postgres_server.stop(mode)
        postgres_server.start()
        until(lambda: jobs.counts().alive_workers == 1)
        gate.touch()
        with database.session() as session:
            jobs.enqueue(session, "work", {}, job_id="afterwards")
        until(
            lambda: all(state.status.is_over for state in jobs.states(["under_way", "afterwards"]).values())
        )
        states = jobs.states(["under_way", "afterwards"])
        assert {state.status for state in states.values()} == {JobStatus.DONE}
        assert [info.end for info in jobs.workers()] == [None]
        with database.reading() as session:
            assert set(results(session)) == {"under_way", "afterwards"}
    database.close()
    postgres_server.drop(name)
