"""What of DBOS must not show: its voice, its journal settings, its network."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.jobs import Jobs, Registry, Worker, engine
from app.jobs.engine import migrate, worker_engine
from app.kit.database import Database, journal_mode


def test_a_worker_comes_and_goes_in_silence(
    database: Database, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    registry = Registry()
    registry.job("work")(lambda ctx: None)
    for _ in range(2):  # the second one finds no trace of the first
        worker = Worker(database, registry, beat_seconds=0.1)
        worker.start()
        assert Jobs(database).counts().alive_workers == 1
        worker.stop()
        assert Jobs(database).counts().alive_workers == 0
    assert "dbos" not in capfd.readouterr().err.lower()
    assert [record for record in caplog.records if record.name.startswith("dbos")] == []


def test_migrating_again_changes_nothing(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate(database)
    with database.session() as session:
        Jobs(database).enqueue(session, "work", {}, job_id="a")
    before = _tables(database)
    migrate(database)
    assert _tables(database) == before
    assert Jobs(database).states(["a"])
    database.close()


def _tables(database: Database) -> dict[str, list[str]]:
    inspector = sa.inspect(database.engine)
    schema = None if database.engine.dialect.name == "sqlite" else "dbos"
    return {
        table: [str(column) for column in inspector.get_columns(table, schema)]
        for table in inspector.get_table_names(schema)
    }


def test_the_engines_errors_say_nothing_of_a_jobs_arguments(database: Database) -> None:
    engine = worker_engine(database, connections=2)
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as wrong:
        connection.execute(sa.text("SELECT :value FROM nowhere"), {"value": "비밀 안내입니다."})
    assert "비밀" not in str(wrong.value)
    engine.dispose()


def test_the_engines_own_commits_wait_for_the_disk_only_where_their_order_needs_it(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    engine = worker_engine(database, connections=2)
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "journal_mode", "foreign_keys")
        }
    assert settings["synchronous"] == (1 if journal_mode() == "WAL" else 2)  # NORMAL, FULL
    assert settings["foreign_keys"] == 1
    assert settings["journal_mode"] == ("wal" if journal_mode() == "WAL" else "persist")
    engine.dispose()
    database.close()


def test_an_idle_worker_asks_one_question_for_all_its_lanes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once something is in line, DBOS asks its own: it does go by the lookout."""
    monkeypatch.setattr(engine, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.01)
    asked: list[str] = []
    looked_often, done = threading.Event(), threading.Event()

    def note(_connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)
        if sum("UNION ALL" in each for each in asked) >= 50:
            looked_often.set()

    registry = Registry()
    registry.job("work")(lambda ctx: done.set())
    worker = Worker(database, registry, queues={"speech": 2, "measure": 2}, beat_seconds=60)
    worker.start()
    try:
        assert worker._engine is not None
        sa.event.listen(worker._engine._sql, "before_cursor_execute", note)
        assert looked_often.wait(30)
        others = [statement for statement in asked if "UNION ALL" not in statement]
        assert len(others) < 10, others  # DBOS's own upkeep, about once a second
        with database.session() as session:
            Jobs(database).enqueue(session, "work", {}, job_id="a", queue="measure")
        assert done.wait(30)
    finally:
        worker.stop()
