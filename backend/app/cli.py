"""`moksori`, the shell's way in. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer
from typer.core import TyperGroup

from app.sheets_cli import sheet_app

if TYPE_CHECKING:
    from app.deps import Container
    from app.remote import Remote


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

    if isinstance(error, ValidationError) and error.title == "Settings":
        return "\n".join(f"MOKSORI_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()), 2
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}", 1
    raise error


def _database_trouble(error: Exception) -> tuple[str, int]:
    from sqlalchemy.exc import SQLAlchemyError

    if not isinstance(error, SQLAlchemyError):
        raise error
    reason = str(getattr(error, "orig", None) or error).splitlines()[0]
    return f"The database cannot be used: {reason}. See MOKSORI_DATABASE_URL and MOKSORI_DATA_DIR.", 1


app = typer.Typer(
    cls=Sentences,
    name="moksori",
    help="From a voice actor's recordings to finished announcements in that voice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
token_app = typer.Typer(help="API tokens, made here in the data folder.", no_args_is_help=True)
user_app = typer.Typer(help="People who sign in, kept here in the data folder.", no_args_is_help=True)
actors_app = typer.Typer(help="Voice actors.", no_args_is_help=True)
samples_app = typer.Typer(help="An actor's recordings.", no_args_is_help=True)
models_app = typer.Typer(help="Voice models.", no_args_is_help=True)
app.add_typer(token_app, name="token")
app.add_typer(user_app, name="user")
app.add_typer(actors_app, name="actors")
app.add_typer(samples_app, name="samples")
app.add_typer(models_app, name="models")
app.add_typer(sheet_app, name="sheet")

AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga"}
Url = Annotated[Optional[str], typer.Option("--url", envvar="MOKSORI_URL", help="the service's address")]  # noqa: UP045
Token = Annotated[Optional[str], typer.Option("--token", envvar="MOKSORI_TOKEN", help="an API token")]  # noqa: UP045


def fail(message: str, code: int = 1) -> typer.Exit:
    typer.secho(message, err=True, fg=typer.colors.RED)
    return typer.Exit(code)


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
def service(url: str | None, token: str | None) -> Iterator[Remote]:
    """The running service; what it refuses becomes a sentence and exit code 1."""
    from app.remote import Remote, RemoteError

    try:
        with Remote(url, token) as remote:
            yield remote
    except RemoteError as error:
        raise fail(str(error)) from None


@app.command()
def serve(
    host: Annotated[Optional[str], typer.Option(help="MOKSORI_HOST")] = None,  # noqa: UP045
    port: Annotated[Optional[int], typer.Option(help="MOKSORI_PORT")] = None,  # noqa: UP045
) -> None:
    """Start the service, with a worker beside it."""
    import uvicorn

    from app import bootstrap
    from app.config import load_settings
    from app.main import create_app

    settings = load_settings(**{k: v for k, v in {"host": host, "port": port}.items() if v is not None})
    bootstrap.prepare_folders(settings)
    bootstrap.check_database(settings)
    application = create_app(settings)
    typer.echo(
        f"Moksori on http://{settings.host}:{settings.port} (API pages: /docs), data in {settings.data_dir}"
    )
    try:
        uvicorn.run(
            application, host=settings.host, port=settings.port, log_config=None, access_log=False,
            timeout_graceful_shutdown=10, server_header=False,
        )  # fmt: skip
    except SystemExit as ended:
        if ended.code:
            log = settings.logs_dir / "app.log"
            raise fail(
                f"The service did not start. Is port {settings.port} taken? {log} says more."
            ) from None


@app.command()
def worker() -> None:
    """Start one more worker on the service's database."""
    import os

    from app.worker import main as work

    code = work()
    sys.stdout.flush()
    os._exit(code)


@app.command()
def wyoming(
    listen: Annotated[str, typer.Option(help="tcp://HOST:PORT or unix://PATH")] = "tcp://127.0.0.1:10200",
    url: Url = None,
    token: Token = None,
) -> None:
    """Speak Wyoming, the protocol of Home Assistant, for the running service."""
    import asyncio
    from contextlib import suppress

    from app.clients.wyoming import serve as speak_wyoming

    with service(url, token) as remote:
        voices = len(list(remote.pages("/voice-actors/models")))
        typer.echo(f"Wyoming on {listen}, {voices} voice models of {remote.url}")
        with suppress(KeyboardInterrupt):
            asyncio.run(speak_wyoming(listen, remote.url, remote.token))


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="repair what can be repaired safely")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Diagnose this installation in place: the same findings as the API's. Exit code 1 when one is an error."""
    from app.diagnosis.repairs import fix as repair
    from app.diagnosis.report import print_report
    from app.diagnosis.service import diagnose

    with here() as container:
        repaired = repair(container) if fix else None
        found = diagnose(container)
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        print_report(found, repaired)
    raise typer.Exit(
        1
        if any(each.severity == "error" and each.code != "no_worker" for each in found.diagnosis.findings)
        else 0
    )


def weights_convert(
    precision: Annotated[Literal["bf16", "fp32"], typer.Option(help="of the model's matrices")] = "bf16",
) -> None:
    """Write the XTTS v2 weights once more in our own form, in place: the engine starts faster with it."""
    from app import bootstrap
    from app.config import load_settings
    from app.speech.interface import EngineUnavailable

    try:
        folder = bootstrap.convert_weights(load_settings(), precision)
    except EngineUnavailable as error:
        raise fail(f"{error} {error.fix}") from None
    typer.echo(f"{folder}: converted.")


@app.command()
def normalize(
    trace: Annotated[
        bool, typer.Option("--trace", help="JSON lines: reading, trace and what is unclear")
    ] = False,
) -> None:
    """Read lines from standard input and print how each is spoken, a line each."""
    from app.text.cli import normalize_lines

    raise typer.Exit(normalize_lines(sys.stdin, sys.stdout, trace=trace))


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Option(help="what it is for")],
    role: Annotated[str, typer.Option(help="viewer, producer or admin")] = "producer",
    days: Annotated[Optional[int], typer.Option(help="days until it expires")] = None,  # noqa: UP045
    quiet: Annotated[bool, typer.Option("--quiet", help="print the token alone")] = False,
) -> None:
    """Make an API token. It is shown this once."""
    from pydantic import ValidationError

    from app.auth import service as auth
    from app.auth.schemas import TokenIn

    try:
        body = TokenIn(name=name, role=role, expires_in_days=days)  # type: ignore[arg-type]
    except ValidationError as error:
        raise fail("; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors()), 2) from None
    with here() as container, container.database.session() as session:
        _, token = auth.create_token(session, body, None)
    typer.echo(
        token if quiet else f"{token}\n\nSend it as `Authorization: Bearer TOKEN`; it is not shown again."
    )


@token_app.command("list")
def token_list() -> None:
    """The tokens there are, by name."""
    from sqlalchemy import select

    from app.models import ApiToken

    with here() as container, container.database.reading() as session:
        rows = [
            [row.id, row.name, row.role, row.created_at.date().isoformat(), str(row.expires_at or "never")]
            for row in session.scalars(select(ApiToken).order_by(ApiToken.id))
        ]
    _table(["id", "name", "role", "made", "expires"], rows)


@token_app.command("revoke")
def token_revoke(token_id: str) -> None:
    """End a token."""
    from app.auth import service as auth
    from app.auth.errors import TokenNotFound

    try:
        with here() as container, container.database.session() as session:
            auth.revoke_token(session, token_id)
    except TokenNotFound as error:
        raise fail(str(error)) from None


@user_app.command("create")
def user_create(
    username: str, role: Annotated[str, typer.Option(help="viewer, producer or admin")] = "viewer"
) -> None:
    """Make a user; the password is asked for."""
    password = typer.prompt("Password (at least 10 characters)", hide_input=True, confirmation_prompt=True)
    _user(lambda auth, session, bodies: auth.create_user(
        session, bodies.UserIn(username=username, password=password, role=role)))  # fmt: skip


@user_app.command("password")
def user_password(username: str) -> None:
    """Give a user a new password; it is asked for."""
    password = typer.prompt(
        "New password (at least 10 characters)", hide_input=True, confirmation_prompt=True
    )

    def change(auth: Any, session: Any, bodies: Any) -> None:
        from sqlalchemy import select

        from app.auth.errors import UserNotFound
        from app.models import User

        user_id = session.scalar(select(User.id).where(User.username == username))
        if user_id is None:
            raise UserNotFound(f"There is no user {username}.")
        auth.change_user(session, user_id, bodies.UserChange(password=password))

    _user(change)


@user_app.command("list")
def user_list() -> None:
    """Who can sign in."""
    from sqlalchemy import select

    from app.models import User

    with here() as container, container.database.reading() as session:
        rows = [
            [row.username, row.role, "yes" if row.active else "no"]
            for row in session.scalars(select(User).order_by(User.id))
        ]
    _table(["name", "role", "active"], rows)


def _user(action: Any) -> None:
    from pydantic import ValidationError

    from app.auth import schemas
    from app.auth import service as auth
    from app.kit.errors import AppError

    try:
        with here() as container, container.database.session() as session:
            action(auth, session, schemas)
    except ValidationError as error:
        raise fail("; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors()), 2) from None
    except AppError as error:
        raise fail(error.detail) from None


@actors_app.command("list")
def actors_list(url: Url = None, token: Token = None, search: str = "") -> None:
    """The voice actors there are."""
    with service(url, token) as remote:
        found = remote.pages("/voice-actors", search=search)
        _table(
            ["id", "name", "gender", "age"],
            [[a["id"], a["name"], a["gender"], a["age_range"]] for a in found],
        )


@actors_app.command("add")
def actors_add(
    name: str, gender: str = "unspecified", age_range: str = "", description: str = "",
    url: Url = None, token: Token = None,
) -> None:  # fmt: skip
    """Register a voice actor; prints the id."""
    body = {"name": name, "gender": gender, "age_range": age_range, "description": description}
    with service(url, token) as remote:
        typer.echo(remote.call("POST", "/voice-actors", json=body)["id"])


@samples_app.command("add")
def samples_add(
    folder: Annotated[
        Path, typer.Argument(exists=True, help="recordings; name.txt beside name.wav is its transcript")
    ],
    actor: Annotated[str, typer.Option(help="the voice actor's id")],
    url: Url = None,
    token: Token = None,
) -> None:
    """Upload every recording of a folder. Those that are there already are not sent twice."""
    from rich.progress import track

    from app.remote import RemoteError

    files = (
        [folder]
        if folder.is_file()
        else sorted(f for f in folder.iterdir() if f.suffix.lower() in AUDIO_SUFFIXES)
    )
    if not files:
        raise fail(f"There are no recordings in {folder} ({', '.join(sorted(AUDIO_SUFFIXES))}).", 2)
    refused = 0
    with service(url, token) as remote:
        for file in track(files, description="Uploading", disable=not sys.stderr.isatty()):
            transcript = file.with_suffix(".txt")
            text = _text_of(transcript).strip() if transcript.exists() else ""
            try:
                sample = remote.upload_sample(actor, file, text)
            except RemoteError as error:
                if error.status not in (413, 422):
                    raise
                refused += 1
                typer.secho(f"{file.name}: {error}", err=True, fg=typer.colors.YELLOW)
            else:
                typer.echo(f"{sample['id']}  {sample['seconds']:7.2f} s  {file.name}")
    if refused:
        raise fail(f"{refused} of {len(files)} recordings were refused.")


@models_app.command("list")
def models_list(url: Url = None, token: Token = None) -> None:
    """The voice models there are."""
    with service(url, token) as remote:
        rows = [
            [m["id"], m["model_name"], m["status"], m["engine"] or "", str(m["quality_score"] or "")]
            for m in remote.pages("/voice-actors/models")
        ]
        _table(["id", "name", "status", "engine", "quality"], rows)


@models_app.command("train")
def models_train(
    name: str,
    actor: Annotated[str, typer.Option(help="the voice actor's id")],
    url: Url = None,
    token: Token = None,
) -> None:
    """Make a voice model of an actor's samples and train it; prints its id."""
    with service(url, token) as remote:
        body = {"voice_actor_id": actor, "model_name": name}
        model = remote.call("POST", "/voice-actors/models", json=body)
        remote.call("POST", f"/voice-actors/models/{model['id']}/train")
        model = remote.wait_for_model(model["id"])
    if model["status"] != "ready":
        raise fail(f"{model['failure']['message']} {model['failure']['fix']}")
    typer.echo(model["id"])


@app.command()
def say(
    text: str,
    voice: Annotated[str, typer.Option(help="the voice model's id")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="a .wav, .flac, .mp3, .ogg or .ulaw file")
    ] = Path("out.wav"),
    speed: float = 1.0,
    seed: int = 0,
    url: Url = None,
    token: Token = None,
) -> None:
    """Speak a text and leave the audio in a file."""
    form = output.suffix.lower().lstrip(".")
    if form not in ("wav", "flac", "mp3", "ogg", "ulaw", "alaw"):
        raise fail(f"{output}: one of .wav, .flac, .mp3, .ogg, .ulaw, .alaw is needed.", 2)
    with service(url, token) as remote:
        body = {"text": text, "voice_model_id": voice, "title": text[:60], "speed": speed, "seed": seed}
        script = remote.call("POST", "/voice-actors/tts-scripts", json=body)
        started = remote.call("POST", f"/voice-actors/tts-scripts/{script['id']}/generate")
        done = remote.wait_for_generation(started["generation_id"])
        if done["status"] != "done":
            raise fail(f"{done['failure']['message']} {done['failure']['fix']}")
        path = f"/voice-actors/tts-generations/{done['id']}/audio"
        output.write_bytes(remote.call("GET", path, params={"format": form}))
    take = done["take"]
    typer.echo(f"{output}: {take['seconds']:.2f} s, engine {take['engine']}, quality {take['quality_score']}")


@app.command()
def batch(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="an announcement a line")],
    voice: Annotated[str, typer.Option(help="the voice model's id")],
    output: Annotated[Path, typer.Option("-o", "--output", help="a folder for the WAV files")] = Path(),
    url: Url = None,
    token: Token = None,
) -> None:
    """Speak every line of a file; exit code 1 when one failed."""
    from app.batching import speak_lines

    lines = [line.strip() for line in _text_of(file).splitlines() if line.strip()]
    if not lines:
        raise fail(f"{file} has no text.", 2)
    with service(url, token) as remote:
        takes = speak_lines(remote, lines, voice, output)
    _table(["file", "seconds", "engine", "quality", "announcement"], takes)
    if any(not row[0].endswith(".wav") for row in takes):
        raise typer.Exit(1)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise fail(f"{file} is not UTF-8 text.", 2) from None


def _table(heads: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*[str(cell) for cell in row])
    Console().print(table)


def main() -> None:
    if "weights" in sys.argv[1:2]:  # the one group whose imports cost the others time
        from app.speech.weights_cli import weights_app

        weights_app.command("convert")(weights_convert)
        app.add_typer(weights_app, name="weights")
    app()


if __name__ == "__main__":
    main()
