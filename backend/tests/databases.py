"""Real databases for tests: SQLite files, and a PostgreSQL server of the tests' own.

The server comes from the machine's binaries (Debian: /usr/lib/postgresql/*/bin, or whatever is on the
PATH), runs in a temporary folder as a user that is not root, and listens on a Unix socket alone. A
machine that has no binaries, and may not install any, says MOKSORI_TEST_POSTGRES=absent: then the
PostgreSQL half of the suite is left out (not skipped: it is not collected), and tools/test reports it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import app.jobs.tables
import app.models  # noqa: F401 - makes the tables known
from app.config import BACKEND
from app.jobs import Jobs
from app.kit.database import Base, Database

SQLITE, POSTGRESQL = "sqlite", "postgresql"
USER = "moksori"


def kinds() -> tuple[str, ...]:
    """The databases that the suite runs on."""
    if os.environ.get("MOKSORI_TEST_POSTGRES") == "absent":
        return (SQLITE,)
    return (SQLITE, POSTGRESQL)


def postgres_binaries() -> Path | None:
    """The folder with initdb and postgres, the newest version's if there are several."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]), reverse=True
    )
    on_path = shutil.which("initdb")
    candidates = [*found, *([Path(on_path).resolve()] if on_path else [])]
    return next((file.parent for file in candidates if (file.parent / "postgres").exists()), None)


def _account() -> str | None:
    """PostgreSQL refuses to run as root: whom to be instead."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


class PostgresServer:
    """A server in a temporary folder. Nothing it holds outlives it, so it need not wait for disks."""

    def __init__(self) -> None:
        binaries = postgres_binaries()
        if binaries is None:
            raise RuntimeError(
                "No PostgreSQL server binaries. Install Debian's package `postgresql`, or leave this "
                "half of the tests out with MOKSORI_TEST_POSTGRES=absent."
            )
        self._binaries = binaries
        self._account = _account()
        # The socket's path must be short, and the folder open to the other user.
        self._folder = Path(tempfile.mkdtemp(prefix="moksori-pg-", dir="/tmp"))
        if self._account:
            shutil.chown(self._folder, self._account)
        self._names = count(1)
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self._folder}'\n"
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
                "max_connections = 200\nshared_buffers = 32MB\n"
            )

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            check=True,
            cwd=self._folder,
            user=self._account,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )

    def start(self) -> None:
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        """`mode`: fast ends every connection in good order, immediate is a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def close(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{USER}@/{name}?host={self._folder}"

    def _admin(self, *statements: str) -> None:
        engine = sa.create_engine(
            self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def create(self, template: str = "template0") -> str:
        """A new database's name."""
        name = f"test_{next(self._names)}"
        self._admin(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        self._admin(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def lay_out(url: str) -> None:
    """All tables, ours and the job engine's, in an empty database; a service that starts on it has nothing to do."""
    database = Database(url)
    Base.metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        migrations = ScriptDirectory(str(BACKEND / "migrations"))
        MigrationContext.configure(connection).stamp(migrations, "head")
    Jobs(database).migrate()
    database.close()


@contextmanager
def scanned(database: Database) -> Iterator[set[str]]:
    """The tables of SQLite that statements meanwhile read from end to end."""
    tables: set[str] = set()

    def explain(connection: sa.Connection, _cursor: object, statement: str, values: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            cursor = connection.connection.cursor()
            plan = [row[3].split() for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            tables.update(words[1] for words in plan if words[0] == "SCAN" and "INDEX" not in words)

    sa.event.listen(database._writing, "before_cursor_execute", explain)
    try:
        yield tables
    finally:
        sa.event.remove(database._writing, "before_cursor_execute", explain)


class Databases:
    """Fresh databases of one kind: empty ones, and ones with every table, copied from a template."""

    def __init__(self, kind: str, folder: Path, server: PostgresServer | None) -> None:
        self.kind = kind
        self._folder = folder
        self._server = server
        self._template: str | None = None
        self._names = count(1)

    def empty(self) -> Iterator[str]:
        """The address of an empty database, gone afterwards."""
        yield from self._new(None)

    def laid_out(self) -> Iterator[str]:
        """The address of a database with every table and no rows, gone afterwards."""
        if self._template is None:
            self._template = self._name(None)
            lay_out(self._url(self._template))
        yield from self._new(self._template)

    def _new(self, template: str | None) -> Iterator[str]:
        name = self._name(template)
        yield self._url(name)
        if self._server is not None:
            self._server.drop(name)
        else:
            for file in self._folder.glob(f"{Path(name).name}*"):
                file.unlink()

    def _name(self, template: str | None) -> str:
        if self._server is not None:
            return self._server.create(*([template] if template else []))
        name = str(self._folder / f"{next(self._names)}.sqlite3")
        if template:
            shutil.copy(template, name)
        return name

    def _url(self, name: str) -> str:
        return self._server.url(name) if self._server is not None else f"sqlite:///{name}"
