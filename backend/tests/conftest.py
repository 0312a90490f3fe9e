"""What tests of every folder may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.kit.database import Database
from tests.databases import POSTGRESQL, Databases, PostgresServer, kinds


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL of the tests' own. Who stops it must start it again."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session", params=kinds())
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Fresh databases on demand: a test that asks for one runs on SQLite and on PostgreSQL."""
    server = request.getfixturevalue("postgres_server") if request.param == POSTGRESQL else None
    return Databases(request.param, tmp_path_factory.mktemp(request.param), server)


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """The address of a database without tables."""
    yield from databases.empty()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """The address of a database with all tables and no rows."""
    yield from databases.laid_out()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with all tables and no rows."""
    database = Database(database_url)
    yield database
    database.close()
