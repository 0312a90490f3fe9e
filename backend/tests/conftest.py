"""What tests of every folder may ask for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.audio import decode
from app.config import Settings
from app.kit.database import Database
from tests.databases import POSTGRESQL, SQLITE, Databases, PostgresServer, kinds


def _on_path(program: str) -> bool:
    return shutil.which(program) is not None


# Programs and recordings that some tests need and no Python package brings; tools/test installs them where
# it may, and says at its end what was left out where it may not.
NEEDS: dict[str, Callable[[], bool]] = {
    **{name: partial(_on_path, name) for name in ("curl", "jq", "sox", "ffprobe")},
    "asterisk-prompts": lambda: Path("/usr/share/asterisk/sounds/fr_CA_f_June").is_dir(),
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"needs(*names): left out where one of {', '.join(NEEDS)} is missing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run here: never in CI, where everything has to be."""
    there = {name: found() for name, found in NEEDS.items()}
    lacking = [
        item
        for item in items
        if any(not there[name] for mark in item.iter_markers("needs") for name in mark.args)
    ]
    if lacking and os.environ.get("CI") == "true":
        raise pytest.UsageError(
            f"CI lacks: {', '.join(name for name, is_there in there.items() if not is_there)}"
        )
    if lacking:
        config.hook.pytest_deselected(items=lacking)
        items[:] = [item for item in items if item not in lacking]


# What only PostgreSQL can show is in files of that name.
collect_ignore_glob = [] if POSTGRESQL in kinds() else ["*_postgres.py"]


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


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    return Databases(SQLITE, tmp_path_factory.mktemp("sqlite-only"), None)


@pytest.fixture
def sqlite_url(sqlite_databases: Databases) -> Iterator[str]:
    """A SQLite database with all tables: for what is the same on both."""
    yield from sqlite_databases.laid_out()


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The service's application, made once; each test gives it parts of its own."""
    from app.main import create_app

    return create_app(_settings(tmp_path_factory.mktemp("application"), "sqlite://"))


def _settings(folder: Path, url: str, **changed: Any) -> Settings:
    defaults: dict[str, Any] = {"engine": "mock", "workers": 0, "data_dir": folder, "database_url": url}
    return Settings(_env_file=None, **defaults | changed)  # type: ignore[call-arg]


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Settings:
    """Settings over a temporary data folder: the mock engine, no worker, SQLite."""
    return _settings(tmp_path / "data folder", sqlite_url)


@pytest.fixture
def service(application: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A service in this process, on SQLite; see tests/service.py."""
    from tests.service import decode_here, serving

    monkeypatch.setattr(decode, "_run_child", decode_here)
    with serving(application, settings) as made:
        yield made


@pytest.fixture
def any_service(
    application: FastAPI, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The same on SQLite and on PostgreSQL: for rules that the database keeps."""
    from tests.service import decode_here, serving

    monkeypatch.setattr(decode, "_run_child", decode_here)
    with serving(application, _settings(tmp_path / "data folder", database_url)) as made:
        yield made
