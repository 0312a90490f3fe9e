"""Voice actors, their recordings, and the models made of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.audio.decode import SUFFIXES
from app.cli.shell import VOICE_HELP, Token, Url, fail, service, table, text_of, unfinished

actors_app = typer.Typer(help="Voice actors.", no_args_is_help=True)
samples_app = typer.Typer(help="An actor's recordings.", no_args_is_help=True)
models_app = typer.Typer(help="Voice models.", no_args_is_help=True)


@actors_app.command("list")
def actors_list(url: Url = None, token: Token = None, search: str = "") -> None:
    """The voice actors there are."""
    with service(url, token) as remote:
        found = remote.pages("/voice-actors", search=search)
        table(
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
        [folder] if folder.is_file() else sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    )
    if not files:
        raise fail(f"There are no recordings in {folder} ({', '.join(SUFFIXES)}).", 2)
    if folder.is_dir():
        known = {*files, *(file.with_suffix(".txt") for file in files)}
        for file in sorted(f for f in folder.iterdir() if f.is_file() and f not in known):
            typer.secho(
                f"{file.name}: left out; taken are {', '.join(SUFFIXES)}",
                err=True,
                fg=typer.colors.YELLOW,
            )
    refused = 0
    with service(url, token) as remote:
        for file in track(files, description="Uploading", disable=not sys.stderr.isatty()):
            transcript = file.with_suffix(".txt")
            text = text_of(transcript).strip() if transcript.exists() else ""
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
        table(["id", "name", "status", "engine", "quality"], rows)


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
        raise unfinished(model)
    typer.echo(model["id"])


@models_app.command("cancel")
def models_cancel(
    voice: Annotated[str, typer.Argument(metavar="MODEL", help=VOICE_HELP)],
    url: Url = None,
    token: Token = None,
) -> None:
    """Stop a training under way; the last good state, if there is one, stays in service."""
    with service(url, token) as remote:
        model = remote.call("POST", f"/voice-actors/models/{remote.voice(voice)}/cancel")
    typer.echo(f"{model['id']}: {model['status']}")
