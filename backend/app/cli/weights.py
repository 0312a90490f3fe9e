"""`moksori weights fetch | import | list | convert`."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from app.config import load_settings
from app.kit.console import plain_console
from app.speech import weights
from app.speech.download import ConnectionCut, DiskFull, HubOffline, HubRefused, WrongHash
from app.speech.download import Progress as Report
from app.speech.interface import SpeechError
from app.speech.releases import RELEASES, Release

EXIT_CODES: dict[type[SpeechError], int] = {
    weights.UnknownWeights: 2,
    weights.LicenseNotAccepted: 3,
    HubOffline: 4,
    HubRefused: 4,
    ConnectionCut: 4,
    WrongHash: 5,
    DiskFull: 6,
    weights.FetchUnderWay: 7,
    weights.UnusableFolder: 8,
    weights.OtherWeights: 8,
}
HELP = """Fetch, take over, list and convert the weights of speech engines.

Exit codes: 0 done, 1 something else, 2 wrong usage, 3 licence not accepted, 4 hub not reached or cut off, 5 wrong hash,
6 disk full, 7 another fetch is under way, 8 the folder cannot be used.
"""

weights_app = typer.Typer(help=HELP, no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Which weights.", metavar="NAME")]
Accept = Annotated[
    list[str] | None, typer.Option("--accept-license", help="Code of a licence that you accept, e.g. cpml.")
]
AcceptedBy = Annotated[str, typer.Option(help="Who accepts it; your user name or number if not given.")]


@weights_app.command()
def fetch(name: Name = "xtts-v2", accept_license: Accept = None, accepted_by: AcceptedBy = "") -> None:
    """Bring published weights here; goes on where an earlier call was cut off."""
    with _shown_errors() as console:
        release = weights.release_of(name)
        settings = load_settings()
        _show_license(console, release)
        with _progress_bar(console) as progress:
            there = weights.fetch(
                release,
                settings.weights,
                accepted=[*settings.accepted_licenses, *(accept_license or [])],
                accepted_by=accepted_by or _user(),
                progress=progress,
            )
        console.print(f"{there.name} is in {there.folder}, accepted by {there.accepted_by}.")


@weights_app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A folder in the official layout of XTTS v2.")],
    accept_license: Accept = None,
    accepted_by: AcceptedBy = "",
    name: Annotated[str, typer.Option(help="Which weights the folder holds.")] = "xtts-v2",
) -> None:
    """Take over weights that are on this machine already; fine-tuned ones too."""
    from app import bootstrap

    with _shown_errors() as console:
        release = weights.release_of(name)
        settings = load_settings()
        _show_license(console, release)
        with _progress_bar(console) as progress:
            there = weights.import_folder(
                release,
                folder.expanduser(),
                settings.weights,
                accepted=[*settings.accepted_licenses, *(accept_license or [])],
                accepted_by=accepted_by or _user(),
                progress=progress,
                examine=bootstrap.examine_weights,
            )
        kind = "the published files" if there.published else "other files than the published ones"
        console.print(f"{there.name} is in {there.folder} ({kind}), accepted by {there.accepted_by}.")


@weights_app.command("list")
def list_() -> None:
    """Show which weights are here, under which licence, and what is wrong with them."""
    with _shown_errors() as console:
        root = load_settings().weights
        folder = Column("folder", overflow="fold")
        table = Table("weights", "GB", "state", "licence accepted by", folder)
        for there in (found := weights.look_all(root)):
            state = "; ".join(there.problems) or (
                "published" if there.published else "not the published files"
            )
            size = f"{there.bytes / 1e9:.2f}"
            table.add_row(there.name, size, state, there.accepted_by or "nobody", str(there.folder))
        if found:
            console.print(table)
        for release in RELEASES.values():
            if release.name not in {there.name for there in found}:
                console.print(f"{release.name} ({release.bytes / 1e9:.2f} GB) is not here.", highlight=False)


@weights_app.command()
def convert(
    precision: Annotated[Literal["fp16", "fp32"], typer.Option(help="Of the model's matrices.")] = "fp16",
) -> None:
    """Write the XTTS v2 weights once more in our own form, in place: the engine starts faster with it."""
    from app import bootstrap

    with _shown_errors() as console:
        settings = load_settings()
        with weights.on_disk(settings.weights):
            folder = bootstrap.convert_weights(settings, precision)
        console.print(f"{folder}: converted.")


@contextmanager
def _shown_errors() -> Iterator[Console]:
    """Tell what went wrong and what to do on standard error, and end with the error's exit code."""
    try:
        yield plain_console()
    except SpeechError as error:
        stderr = plain_console(stderr=True)
        stderr.print(Text("error", "red"), f"{error.code}:", str(error), highlight=False)
        if error.fix:
            stderr.print(error.fix, highlight=False)
        raise typer.Exit(EXIT_CODES.get(type(error), 1)) from error


def _user() -> str:
    """Who runs this; in a container that runs under a bare number, that number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return f"user {os.getuid()}"


def _show_license(console: Console, release: Release) -> None:
    terms = release.license
    console.print(Panel(f"{terms.summary}\n\n{terms.url}", title=f"{release.name}: {terms.name}"))


@contextmanager
def _progress_bar(console: Console) -> Iterator[Report]:
    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=size)
            bars.update(tasks[name], completed=done)

        yield report
