"""The one way to the database: SQLite or PostgreSQL by the URL, nothing else asks which it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, Engine, MetaData, String, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

try:  # a newer SQLite than most Pythons are built with: one on which WAL is safe
    import pysqlite3 as sqlite3
except ImportError:  # no wheel for this machine: Python's own does, with the rollback journal
    import sqlite3

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

WRITING_SECONDS = 120  # how long a thread waits for the others of its process to have written to SQLite
# To PostgreSQL, of a process: a server has a hundred, and a worker on a GPU seven processes.
CONNECTIONS, CONNECTIONS_MORE = 5, 5
ALONE = int.from_bytes(b"moksori")  # names the lock of PostgreSQL's that is ours

SQLITE_FULL = 13  # https://www.sqlite.org/rescode.html#full
# The database does not do what it could another time. InternalError is PostgreSQL's word for one that only reads.
UNAVAILABLE = (OperationalError, InternalError)


def is_full(error: DBAPIError) -> bool:
    """Whether SQLite or PostgreSQL (53100 is its disk_full) had no room left."""
    full = getattr(error.orig, "sqlite_errorcode", None) == SQLITE_FULL
    return full or getattr(error.orig, "sqlstate", None) == "53100"


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, kept as ISO text in UTC so that both databases sort and return it alike."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs an offset")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


def in_lots(ids: Sequence[str], most: int = 500) -> Iterator[Sequence[str]]:
    """Ids for one query each: every database has its limit on parameters."""
    for start in range(0, len(ids), most):
        yield ids[start : start + most]


def wal_is_safe(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite has the WAL-reset fix (3.51.3; backported to 3.50.7 and 3.44.6)."""
    return (
        version >= (3, 51, 3)
        or (version[:2] == (3, 50) and version[2] >= 7)
        or (version[:2] == (3, 44) and version[2] >= 6)
    )


def journal_mode() -> str:
    return "WAL" if wal_is_safe() else "DELETE"


def make_engine(url: str, **options: Any) -> Engine:
    """An engine with our settings: on SQLite a safe journal, full sync, foreign keys and patient locks.

    Its errors, which are logged, tell a statement without its values: they may be a transcript.
    """
    options["hide_parameters"] = True
    if not url.startswith("sqlite"):
        pool = {"pool_size": CONNECTIONS, "max_overflow": CONNECTIONS_MORE}
        return create_engine(url, pool_pre_ping=True, **pool | options)
    engine = create_engine(
        url, module=sqlite3, connect_args={"timeout": 30, "check_same_thread": False}, **options
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # We begin transactions ourselves: the driver would start them late and upgrade read locks.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "busy_timeout=30000",
            f"journal_mode={journal_mode()}",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        # Taking the write lock at the start waits in line; upgrading later fails at once with "locked".
        readonly = connection.get_execution_options().get("readonly", False)
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


class Database:
    """Sessions on one database. `session()` commits at its end; an error rolls everything back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url)
        self._writing = self.engine
        if url.startswith("sqlite:///"):
            # Threads wait in turn for the one connection that writes, where SQLite's file lock would have them poll,
            # at ever longer intervals.
            self._writing = make_engine(url, pool_size=1, max_overflow=0, pool_timeout=WRITING_SECONDS)
        self._sessions = sessionmaker(self._writing, expire_on_commit=False)
        # What is read together belongs together: a row and its job are seen at one moment. SQLite does so anyhow.
        snapshot = {} if url.startswith("sqlite") else {"isolation_level": "REPEATABLE READ"}
        self._readers = sessionmaker(
            self.engine.execution_options(readonly=True, **snapshot), expire_on_commit=False, autoflush=False
        )

    @contextmanager
    def session(self) -> Iterator[Session]:
        with _in_turn(), self._sessions() as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads, all as of one moment: on SQLite it takes no write lock."""
        with _in_turn(), self._readers() as session:
            yield session

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Meanwhile nobody else is in here, in any process: for changes of the tables.

        On SQLite, where each of them waits for its turn to write, nothing has to be done for that.
        """
        if self.url.startswith("sqlite"):
            yield
            return
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Asked for again and again: a query that waits for the lock would hold up, and be held up by, an index
            # that its owner makes concurrently.
            while not connection.scalar(select(func.pg_try_advisory_lock(ALONE))):
                time.sleep(0.1)
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(ALONE)))

    def close(self) -> None:
        self._writing.dispose()
        self.engine.dispose()


@contextmanager
def _in_turn() -> Iterator[None]:
    """A wait that was too long is to whoever asks as if the database had said that it is locked."""
    try:
        yield
    except PoolTimeout as error:
        raise OperationalError("BEGIN", {}, error) from error
