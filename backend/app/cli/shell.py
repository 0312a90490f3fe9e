"""What every command shares: how trouble is said, the service in place, the service over HTTP, and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from app.deps import Container
    from app.remote import Remote, RemoteError

Url = Annotated[Optional[str], typer.Option("--url", envvar="MOKSORI_URL", help="the service's address")]  # noqa: UP045
Token = Annotated[Optional[str], typer.Option("--token", envvar="MOKSORI_TOKEN", help="an API token")]  # noqa: UP045

VOICE_HELP = "the voice model's id, alias or name, or its actor's name"


class Sentences(TyperGroup):
    """Says in a sentence, and by the exit code, what an operator can put right; other errors are faults."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (OSError, ValueError) as error:
            told = _trouble(error)
        except Exception as error:
            told = _database_trouble(error)
        raise fail(*told)


def _trouble(error: OSError | ValueError) -> tuple[str, int]:
    from pydantic import ValidationError

    from app.config import UnreadableSettings

    if isinstance(error, UnreadableSettings):
        return str(error), 2
    if isinstance(error, ValidationError) and error.title == "Settings":
        return "\n".join(f"MOKSORI_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()), 2
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}", 1
    raise error


def _database_trouble(error: Exception) -> tuple[str, int]:
    from sqlalchemy.exc import SQLAlchemyError

    from app.bootstrap import NewerDatabase

    if isinstance(error, NewerDatabase):
        return str(error), 1
    if not isinstance(error, SQLAlchemyError):
        raise error
    reason = str(getattr(error, "orig", None) or error).splitlines()[0]
    return f"The database cannot be used: {reason}. See MOKSORI_DATABASE_URL and MOKSORI_DATA_DIR.", 1


def fail(message: str, code: int = 1) -> typer.Exit:
    """Say what is wrong; the exit to raise."""
    typer.secho(message, err=True, fg=typer.colors.RED)
    return typer.Exit(code)


def unfinished(ended: dict[str, Any]) -> typer.Exit:
    """Say why a generation or a training made nothing; the exit to raise."""
    failure = ended["failure"]
    if failure is None:  # cancelled, or reset
        return fail(f"Somebody stopped it: it is {ended['status']}. Start it again.")
    return fail(f"{failure['message']} {failure['fix']}")


@contextmanager
def here() -> Iterator[Container]:
    """The parts of the service in place, on its own data folder."""
    from app import bootstrap
    from app.config import load_settings
    from app.kit.logging import set_up_logging

    settings = load_settings()
    set_up_logging(settings.logs_dir, process="shell")
    bootstrap.prepare_folders(settings)
    bootstrap.migrate(settings)
    container = bootstrap.build(settings)
    try:
        yield container
    finally:
        container.database.close()


@contextmanager
def service(
    url: str | None, token: str | None, refused: Callable[[RemoteError], typer.Exit] | None = None
) -> Iterator[Remote]:
    """The running service; what it refuses becomes a sentence and exit code 1, or what `refused` makes of it."""
    from app.remote import Remote, RemoteError

    try:
        with Remote(url, token) as remote:
            yield remote
    except RemoteError as error:
        raise (refused(error) if refused else fail(str(error))) from None


def text_of(file: Path) -> str:
    """A file's text; what is not UTF-8 becomes a sentence and exit code 2."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise fail(f"{file} is not UTF-8 text.", 2) from None


def table(heads: list[str], rows: list[list[str]]) -> None:
    """Print rows below their heads; an id stays in one piece, to be copied, and nothing moves the terminal."""
    from rich.table import Table

    from app.kit.console import plain_console
    from app.kit.schemas import ORDERS

    def shown(cell: object) -> str:
        return ORDERS.sub(lambda order: order[0].encode("unicode_escape").decode(), str(cell))

    made = Table(box=None, pad_edge=False)
    for head in heads:
        made.add_column(head, overflow="fold", no_wrap=head == "id")
    for row in rows:
        made.add_row(*map(shown, row))
    plain_console().print(made)
