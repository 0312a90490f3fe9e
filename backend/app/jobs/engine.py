"""DBOS Transact, set up our way: our database, our journal settings, JSON, silence, no network."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig
from sqlalchemy import event

from app.jobs.rows import ALONE, APPLICATION, FIRST, SCHEMA, VERSION, look
from app.jobs.serializer import JsonSerializer
from app.kit.database import Database, journal_mode

FIRST_SLOTS = 4
POLL_SECONDS = 0.1
POLL_ALONE_SECONDS = 1.0
# How long all lanes go by what one look at the line found: an idle worker should cost next to nothing.
LOOK_SECONDS = 0.1


def quieten() -> None:
    """Let DBOS log through our handlers, warnings and worse, instead of a console handler of its own."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:  # it adds a handler, and stops propagating, only where there is none
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.WARNING)


def worker_engine(database: Database, *, connections: int) -> sa.Engine:
    """The engine's own way to the database, with the same journal as ours.

    On SQLite a commit of ours waits until the disk has it, and with it all that went before; the engine's own commits
    do not wait. What a loss of power takes of them is done again, as after any crash: a job whose end is not known
    begins anew and finds its work done. A rollback journal has no such order, so there they wait too; it is kept and
    overwritten rather than deleted at each commit: as safe, and half as dear.

    Reads take no write lock, and few connections are shared by many threads: threads wait for one in turn, where
    SQLite's file lock would have them poll.
    """
    if not database.url.startswith("sqlite"):
        return sa.create_engine(
            database.url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=120,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    engine = sa.create_engine(
        database.url,
        module=database.engine.dialect.loaded_dbapi,  # the same SQLite as ours
        pool_size=2,
        max_overflow=0,
        pool_timeout=120,
        hide_parameters=True,
        connect_args={"timeout": 30, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in (
            "busy_timeout=30000",
            f"journal_mode={'WAL' if journal_mode() == 'WAL' else 'PERSIST'}",
            f"synchronous={'NORMAL' if journal_mode() == 'WAL' else 'FULL'}",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def make_client(engine: sa.Engine) -> DBOSClient:
    quieten()
    return DBOSClient(
        system_database_engine=engine,
        dbos_system_schema=SCHEMA,
        application_name=APPLICATION,
        serializer=JsonSerializer(),
        lazy=True,
        retry_connection_errors=False,
    )


def migrate(database: Database) -> None:
    """Make or upgrade the engine's tables. Safe to call by several processes at once."""
    quieten()
    engine = worker_engine(database, connections=2)
    try:
        client = make_client(engine)
        # The public `DBOS.migrate` takes an address, not an engine: it would use journal settings of its own,
        # and listen/notify, which costs every commit a lock and which nothing here needs.
        client._sys_db.use_listen_notify = False
        client._sys_db.run_migrations()
    finally:
        engine.dispose()


class Lookout:
    """Looks for jobs in line on behalf of every lane at once.

    DBOS asks the database three things a lane at each poll, which is a seventh of a core for a worker that has
    nothing to do. Here one query a tenth of a second says which lanes have something in line, and a lane's own
    questions are asked only then.
    """

    def __init__(self, engine: sa.Engine, lanes: Sequence[str]) -> None:
        dialect = engine.dialect.name
        # One round trip. SQLite's driver opens no transaction to read, and must keep the mode it was given.
        self._engine = engine.execution_options(
            **{} if dialect == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
        )
        self._query = look(lanes, dialect)
        self._lock = threading.Lock()
        self._waiting: frozenset[str] = frozenset()
        self._looked = -LOOK_SECONDS

    def has_work(self, lane: str) -> bool:
        """Whether the lane had a job in line a moment ago."""
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                with self._engine.connect() as connection:
                    self._waiting = frozenset(connection.scalars(self._query))
                self._looked = time.monotonic()
            return lane in self._waiting


class Engine:
    """The process's one DBOS: launched with jobs and queues, destroyed without a trace."""

    def __init__(self, database: Database, *, worker_id: str, concurrency: int) -> None:
        quieten()
        # Each is asked for moments at a time, and a server has a hundred for all its processes.
        self._sql = worker_engine(database, connections=min(20, max(4, concurrency // 8)))
        sqlite = database.url.startswith("sqlite")
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": "sqlite:///unused" if sqlite else "postgresql://unused/unused",
            "system_database_engine": self._sql,
            "dbos_system_schema": SCHEMA,
            "serializer": JsonSerializer(),
            "executor_id": worker_id,
            "application_version": VERSION,
            "log_level": "WARNING",
            "use_listen_notify": False,
            "run_migrations": False,
            "enable_otlp": False,
            "scheduler_polling_interval_sec": 3600.0,
        }
        self._dbos = DBOS(config=config)

    def add(self, name: str, function: Callable[..., Any]) -> None:
        # No limit of DBOS's own: it counts every dispatch, also of a job that others' crashes interrupted.
        DBOS.workflow(name=name, max_recovery_attempts=None)(function)

    def launch(self, queues: Mapping[str, int]) -> None:
        """Take jobs from these queues, so many of each at a time."""
        client = make_client(self._sql)
        lanes: list[tuple[str, int, float]] = []
        for queue, slots in queues.items():
            lanes.append((queue, slots, POLL_SECONDS))
            lanes.append((queue + FIRST, FIRST_SLOTS, POLL_SECONDS))
            lanes.append((queue + ALONE, 1, POLL_ALONE_SECONDS))
        for lane, slots, seconds in lanes:
            client.register_queue(
                lane, worker_concurrency=slots, polling_interval_sec=seconds, on_conflict="always_update"
            )
        DBOS.listen_queues([lane for lane, _, _ in lanes])
        DBOS.launch()
        self._look_before_asking([lane for lane, _, _ in lanes])

    def _look_before_asking(self, lanes: Sequence[str]) -> None:
        """Have DBOS's queue threads go by the lookout; the contracts notice should they no longer ask it."""
        system, lookout = self._dbos._sys_db, Lookout(self._sql, lanes)
        registered = {lane: system.get_queue(lane) for lane in lanes}
        system.get_queue = lambda name, **_: registered.get(name)  # type: ignore[method-assign]
        system.dequeue_scopes = (  # type: ignore[method-assign]
            lambda queue_name: [None] if queue_name in registered and lookout.has_work(queue_name) else []
        )

    def stop_taking(self) -> None:
        """Claim no more jobs."""
        for stop in self._dbos.background_thread_stop_events:
            stop.set()

    def is_busy(self) -> bool:
        """Whether any execution has not recorded its outcome yet. One that lost its job does not count."""
        return bool(self._dbos._active_workflows_set.activeList())

    def destroy(self) -> None:
        DBOS.destroy(destroy_registry=True)
        self._sql.dispose()
