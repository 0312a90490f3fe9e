"""The only place that picks implementations."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text

from app import jobs
from app.auth import secrets
from app.auth import service as auth
from app.config import BACKEND, Settings
from app.deps import Container
from app.kit import limits
from app.kit.database import Database
from app.speech.interface import EngineUnavailable, SpeechEngine
from app.speech.speaker import Speaker
from app.storage.local import FOLDERS, LocalStore
from app.voice_models.state import States

# Of one worker. Six finish more than the fastest GPU speaks.
MOST_PROCESSES = 6


class NewerDatabase(Exception):
    """The database has tables that this version does not know."""

    def __init__(self) -> None:
        super().__init__(
            "The database was made by a newer Moksori. Install that version again, or bring back a copy of the "
            "database from before."
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, not loaded, and why it was chosen."""

    engine: SpeechEngine
    reason: str


def choose_engine(settings: Settings) -> Choice:
    """The engine of MOKSORI_ENGINE; `auto` takes xtts when its weights and PyTorch are there."""
    name = settings.engine
    if name != "auto":
        return Choice(make_engine(name, settings), f"MOKSORI_ENGINE is {name}")
    missing = xtts_lacks(settings)
    if missing:
        return Choice(make_engine("builtin", settings), f"auto: {missing}, so builtin speaks")
    return Choice(make_engine("xtts", settings), "auto: the XTTS v2 weights are there")


def xtts_lacks(settings: Settings) -> str | None:
    """What is missing for the xtts engine, in words; None when it can run."""
    from app.speech.weights import list_installed, look_all

    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    if list_installed(settings.weights):
        return None
    if look_all(settings.weights):
        return "the XTTS v2 weights cannot be used"
    return "the XTTS v2 weights are not there"


def make_engine(name: str, settings: Settings) -> SpeechEngine:
    match name:
        case "mock":
            from app.speech.mock import MockEngine

            return MockEngine()
        case "builtin":
            from app.speech.builtin import BuiltinEngine

            return BuiltinEngine()
        case "xtts":
            from app.speech.xtts import XttsEngine

            return XttsEngine(weights_folder(settings), settings.xtts_precision)
        case "coqui":
            from app.speech.coqui import CoquiEngine

            return CoquiEngine(weights_folder(settings))
    raise ValueError(f"no such engine: {name}")


def _on_gpu(engine: SpeechEngine) -> bool:
    if engine.name != "xtts":
        return False
    from app.speech.xtts import has_gpu

    return has_gpu()


def weights_folder(settings: Settings) -> Path:
    return settings.weights / "xtts-v2"


def examine_weights(folder: Path) -> None:
    """Raise EngineUnavailable if the xtts engine cannot take the weights in `folder`.

    Reads names, shapes and settings, no numbers; without PyTorch it has to be left to a later start.
    """
    if importlib.util.find_spec("torch") is None:
        return
    from app.speech.xtts.checkpoint import open_checkpoint

    open_checkpoint(folder)


def convert_weights(settings: Settings, precision: Literal["fp16", "fp32"]) -> Path:
    """The installed XTTS v2 weights in our own form beside the official one.

    Raises EngineUnavailable, and OSError where the folder cannot be written.
    """
    if importlib.util.find_spec("torch") is None:
        raise EngineUnavailable("PyTorch is not installed.", "Run `uv sync --extra xtts` in backend/.")
    from app.speech.xtts.checkpoint import convert

    folder = weights_folder(settings)
    return convert(folder, folder, precision)


def make_store(settings: Settings) -> LocalStore:
    return LocalStore(settings.data_dir)


def worker_processes(settings: Settings, engine: SpeechEngine) -> int:
    """How many processes a worker's jobs are spread over; with more than one, the engine has one of its own.

    A GPU speaks more scripts a second than one process of Python can finish, and waits for none of them.
    """
    if settings.worker_processes:
        return settings.worker_processes
    if _on_gpu(engine):
        return min(MOST_PROCESSES, max(2, limits.cores() // 2))
    return 1


def build(
    settings: Settings, instead: Callable[[SpeechEngine], SpeechEngine] = lambda chosen: chosen
) -> Container:
    """The parts of a process. Nothing is loaded, written or connected yet.

    `instead` of the engine that was chosen, the process has what this makes of it.
    """
    database = Database(settings.database)
    choice = choose_engine(settings)
    engine = instead(choice.engine)
    store = make_store(settings)
    return Container(
        settings=settings,
        database=database,
        jobs=jobs.Jobs(database, silent_seconds=settings.silent_seconds),
        store=store,
        engine=engine,
        engine_reason=choice.reason,
        speaker=Speaker(engine),
        states=States(store),
        engines=tuple(make_engine(name, settings) for name in ("xtts", "coqui", "builtin", "mock")),
    )


def prepare(settings: Settings) -> str | None:
    """Make folders, tables and the signing key, and at the first start an administrator; returns their password."""
    prepare_folders(settings)
    with suppress(OSError):  # a folder that is read-only, which the diagnosis tells
        secrets.signing_key(settings.state_dir)
    with _alone(settings) as database:
        _migrate(database)
        with database.session() as session:
            return auth.ensure_administrator(session)


def prepare_folders(settings: Settings) -> None:
    """Make the data folder's own. The database, the log and what is being uploaded are the service's alone."""
    ours = {settings.data_dir / folder: 0o777 for folder in FOLDERS.values()}
    ours |= dict.fromkeys((settings.logs_dir, settings.state_dir, settings.inbox_dir), 0o700)
    for folder, mode in ours.items():
        with suppress(OSError):  # the diagnosis says which folder is missing or read-only, and what to do
            folder.mkdir(mode, parents=True, exist_ok=True)


def check_database(settings: Settings) -> None:
    """Raise SQLAlchemyError unless the database can be reached and read, NewerDatabase if it is none of ours."""
    database = Database(settings.database)
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1"))
            found = MigrationContext.configure(session.connection()).get_current_heads()
        ScriptDirectory.from_config(_migrations(settings.database)).get_revisions(found)
    except CommandError:
        raise NewerDatabase from None
    finally:
        database.close()


def migrate(settings: Settings) -> None:
    """Bring the database to the present tables, ours and the job engine's. Raises NewerDatabase."""
    with _alone(settings) as database:
        _migrate(database)


@contextmanager
def _alone(settings: Settings) -> Iterator[Database]:
    """The database, which no other process that starts changes meanwhile."""
    database = Database(settings.database)
    try:
        with database.alone():
            yield database
    finally:
        database.close()


def _migrate(database: Database) -> None:
    try:
        command.upgrade(_migrations(database.url), "head")
    except CommandError:
        raise NewerDatabase from None
    jobs.Jobs(database).migrate()


def _migrations(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(BACKEND / "migrations"))
    config.attributes["url"] = url
    return config
