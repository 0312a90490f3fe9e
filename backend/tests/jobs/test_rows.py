"""The engine's rows, on both databases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.jobs import engine, rows
from app.kit.database import Database


def row(session: Session, table: str, job_id: str) -> dict[str, Any]:
    """All columns of it, as the database has them; JSON's null is SQL's."""
    schema = "" if session.get_bind().dialect.name == "sqlite" else "dbos."
    query = sa.text(f"SELECT * FROM {schema}{table} WHERE workflow_uuid = :id")
    found = session.execute(query, {"id": job_id}).mappings().one()
    return {name: None if value == "null" else value for name, value in found.items()}


def test_a_job_of_many_is_written_as_dbos_writes_one(database: Database) -> None:
    args = {"a": {"text": "가", "number": 1}, "b": {}}
    client = engine.make_client(database.engine)
    with database.session() as session:
        options: Any = {
            "workflow_name": "work",
            "queue_name": "speech",
            "workflow_id": "alone",
            "priority": 100,
            "app_version": rows.VERSION,
        }
        client.enqueue_in_transaction(session.connection(), options, **args["a"])
        rows.add(session, args, name="work", queue="speech", priority=100)
    with database.reading() as session:
        for table in ("workflow_status", "workflow_input"):
            alone, of_many, other = (row(session, table, each) for each in ("alone", "a", "b"))
            own = {"workflow_uuid", "creator_xid"}  # DBOS's of many have no token of their inserting either
            times = {name for name in alone if name.endswith("_at") or name == "retention_timestamp"}
            for name in times:
                assert (alone[name] is None) == (of_many[name] is None), name
                assert alone[name] is None or abs(alone[name] - of_many[name]) < 60_000
            same = alone.keys() - own - times
            assert {name: of_many[name] for name in same} == {name: alone[name] for name in same}
            same -= {"inputs"}
            assert {name: other[name] for name in same} == {name: alone[name] for name in same}


def test_jobs_that_are_there_stay_as_they_are(database: Database) -> None:
    with database.session() as session:
        rows.add(session, {"a": {"number": 1}}, name="work", queue="speech", priority=1)
    with database.session() as session:
        rows.add(session, {"a": {"number": 2}, "b": {}}, name="other", queue="measure", priority=2)
    with database.reading() as session:
        assert row(session, "workflow_status", "a")["name"] == "work"
        assert row(session, "workflow_input", "a")["inputs"] == '{"args":[],"kwargs":{"number":1}}'
        assert row(session, "workflow_status", "b")["name"] == "other"
