"""`moksori`, the shell's way in. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys

import typer

from app.cli import announcements, processes
from app.cli.accounts import token_app, user_app
from app.cli.sheets import sheet_app
from app.cli.shell import Sentences
from app.cli.voices import actors_app, models_app, samples_app

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Sentences,
    name="moksori",
    help="From a voice actor's recordings to finished announcements in that voice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    processes.serve,
    processes.worker,
    processes.wyoming,
    processes.doctor,
    processes.normalize,
    announcements.say,
    announcements.batch,
):
    app.command()(command)
for name, group in {
    "token": token_app,
    "user": user_app,
    "actors": actors_app,
    "samples": samples_app,
    "models": models_app,
    "sheet": sheet_app,
}.items():
    app.add_typer(group, name=name)


def main() -> None:
    if sys.argv[1:2] in (["weights"], ["--help"], []):  # the one group whose imports cost the others time
        from app.cli.weights import weights_app

        app.add_typer(weights_app, name="weights")
    app()
