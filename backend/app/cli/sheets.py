"""`moksori sheet`: announcement sheets from the shell, over the service's API.

Exit codes: 0 all is well, 1 something failed or is not ready, 2 the input is wrong, 3 `diff` found differences
(or an import was not confirmed).
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from app.cli.shell import VOICE_HELP, Token, Url, fail, service, table

if TYPE_CHECKING:
    from app.remote import Remote, RemoteError

sheet_app = typer.Typer(help="Sheets of announcements: in, compared, generated, out.", no_args_is_help=True)

FAILED, BAD_INPUT, DIFFERENT = 1, 2, 3
SHOWN = 20
SheetName = Annotated[str, typer.Argument(metavar="SHEET", help="the sheet's id, or its name")]
SheetFile = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="CSV or XLSX")]
Values = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--values", exists=True, dir_okay=False, help="a second file, with the variables' values"),
]
VoiceId = Annotated[Optional[str], typer.Option("--voice", help=f"of lines that name none: {VOICE_HELP}")]  # noqa: UP045


@sheet_app.command("import")
def import_sheet(
    file: SheetFile,
    name: Annotated[Optional[str], typer.Option(help="the sheet's name; the file's by default")] = None,  # noqa: UP045
    voice: VoiceId = None,
    values: Values = None,
    into: Annotated[Optional[str], typer.Option(help="a sheet that is there: import it again")] = None,  # noqa: UP045
    preview: Annotated[bool, typer.Option("--preview", help="only say what is understood")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="apply the difference without asking")] = False,
    requires_approval: Annotated[
        bool, typer.Option(help="exports stop at lines without an approval")
    ] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Import a sheet, a script a line; prints its id. With --into, first shows what changes."""
    with service(url, token, _refused) as remote:
        form = _form(remote, voice)
        if into:
            sheet_id = _sheet(remote, into)
            _import_again(remote, sheet_id, file, values, form, yes=yes)
            typer.echo(sheet_id)
            return
        form |= {"name": name or file.stem, "requires_approval": str(requires_approval).lower()}
        if preview:
            _show_preview(_send(remote, "/sheets", file, values, form, preview="true"))
            return
        typer.echo(_send(remote, "/sheets", file, values, form)["id"])


def _import_again(
    remote: Remote, sheet_id: str, file: Path, values: Path | None, form: dict[str, Any], *, yes: bool
) -> None:
    path = f"/sheets/{sheet_id}/import"
    found = _send(remote, path, file, values, form)
    if not _show_difference(found):
        return
    if not yes and not (sys.stdin.isatty() and typer.confirm("Apply this?", err=True)):
        typer.echo("Nothing was changed; --yes applies it.", err=True)
        raise typer.Exit(DIFFERENT)
    _send(remote, path, file, values, form | {"confirm": found["digest"]})


@sheet_app.command("diff")
def diff(
    sheet: SheetName, file: SheetFile, values: Values = None, voice: VoiceId = None, url: Url = None,
    token: Token = None,
) -> None:  # fmt: skip
    """Compare a file with a sheet, changing nothing; exit code 3 when they differ."""
    with service(url, token, _refused) as remote:
        form = _form(remote, voice)
        if _show_difference(_send(remote, f"/sheets/{_sheet(remote, sheet)}/import", file, values, form)):
            raise typer.Exit(DIFFERENT)


@sheet_app.command("generate")
def generate(
    sheet: SheetName,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="only what failed the last time")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="also what is up to date")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Generate what changed, with a progress bar; exit code 1 when a line failed."""
    from app.batching import watch_batch

    with service(url, token, _refused) as remote:
        sheet_id = _sheet(remote, sheet)
        body = {"only_failed": only_failed, "force_regenerate": force}
        started = remote.call("POST", f"/sheets/{sheet_id}/generate", json=body)
        typer.echo(
            f"{started['accepted']} to generate, {started['unchanged']} up to date"
            + (f", {started['under_way']} under way" if started["under_way"] else ""),
            err=True,
        )
        if started["accepted"]:
            watch_batch(remote, started["batch_id"], started["accepted"])
        failed = list(remote.pages(f"/sheets/{sheet_id}/lines", state="failed"))
    for line in failed[:SHOWN]:
        typer.secho(f"{_called(line)}: {line['failure']['message']}", err=True, fg=typer.colors.YELLOW)
    if failed:
        typer.secho(f"{len(failed)} lines failed.", err=True, fg=typer.colors.RED)
        raise typer.Exit(FAILED)


@sheet_app.command("export")
def export(
    sheet: SheetName,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="a .zip with --for; else a .csv or .xlsx file")
    ],
    system: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--for", help="the telephone system, such as asterisk"),
    ] = None,
    formats: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--format", help="only this of the system's formats; may be repeated"),
    ] = None,
    names: Annotated[Optional[str], typer.Option("--names", help="a template, such as p_{name}")] = None,  # noqa: UP045
    allow_incomplete: Annotated[bool, typer.Option(help="leave out lines that are not ready")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Take out a package for a telephone system, or the sheet itself."""
    form = output.suffix.lower().lstrip(".")
    if system is None and form not in ("csv", "xlsx"):
        raise fail(f"{output}: a .csv or .xlsx file is needed, or --for with a system.", BAD_INPUT)
    with service(url, token, _refused) as remote:
        sheet_id = _sheet(remote, sheet)
        if system is None:
            size = remote.download("GET", f"/sheets/{sheet_id}/export", output, params={"format": form})
        else:
            options = {key: value for key, value in (("formats", formats), ("name", names)) if value}
            body = {
                "sheet_id": sheet_id, "preset": system, "options": options, "allow_incomplete": allow_incomplete,
            }  # fmt: skip
            size = remote.download("POST", "/exports", output, json=body)
    typer.echo(f"{output}: {size:,} bytes")


@sheet_app.command("list")
def list_sheets(url: Url = None, token: Token = None) -> None:
    """The sheets there are."""
    with service(url, token, _refused) as remote:
        rows = [
            [each["id"], each["name"], str(each["line_count"]), str(each["version"])]
            for each in remote.pages("/sheets")
        ]
    table(["id", "name", "lines", "version"], rows)


@sheet_app.command("lines")
def lines(
    sheet: SheetName,
    state: Annotated[Optional[str], typer.Option(help="only lines in this state, such as failed")] = None,  # noqa: UP045
    url: Url = None,
    token: Token = None,
) -> None:
    """A sheet's lines: state, approval, what is unclear or failed."""
    with service(url, token, _refused) as remote:
        params = {"state": state} if state else {}
        rows = [
            [
                _called(each), each["state"], "approved" if each["approved"] else "",
                "; ".join([u["written"] + ": " + u["why"] for u in each["unclear"]])
                or (each["failure"] or {}).get("message", ""),
                each["text"],
            ]
            for each in remote.pages(f"/sheets/{_sheet(remote, sheet)}/lines", **params)
        ]  # fmt: skip
    table(["line", "state", "", "to look at", "announcement"], rows)


@sheet_app.command("approve")
def approve(
    sheet: SheetName,
    codes: Annotated[list[str], typer.Argument(metavar="CODE...", help="the lines that were listened to")],
    url: Url = None,
    token: Token = None,
) -> None:
    """Say that the current takes of some lines are good; it is noted who said so."""
    with service(url, token, _refused) as remote:
        sheet_id = _sheet(remote, sheet)
        found = [each for each in remote.pages(f"/sheets/{sheet_id}/lines") if each["code"] in codes]
        if missing := sorted(set(codes) - {each["code"] for each in found}):
            raise fail(f"The sheet has no line {', '.join(missing)}.", BAD_INPUT)
        for each in found:
            # Of the take that is listed: one that became current meanwhile was not listened to.
            take = {"take_id": each["take"]["id"]} if each["take"] else {}
            remote.call("POST", f"/sheets/{sheet_id}/lines/{each['id']}/approve", params=take)
            typer.echo(f"approved: {_called(each)}")


def _refused(error: RemoteError) -> typer.Exit:
    _say_each(error)
    return fail(str(error), BAD_INPUT if error.status in (400, 404, 413, 422) else FAILED)


def _say_each(error: RemoteError) -> None:
    """What the refusal lists, row by row or name by name."""
    for each in error.problem.get("problems", ())[:SHOWN]:
        place = f"row {each['row']}" + (f", {each['column']}" if each["column"] else "")
        typer.secho(f"{place}: {each['message']}", err=True, fg=typer.colors.YELLOW)
    for each in [*error.problem.get("lines", ()), *error.problem.get("names", ())][:SHOWN]:
        typer.secho(f"{_called(each)}: {each['message']}", err=True, fg=typer.colors.YELLOW)


def _sheet(remote: Remote, name: str) -> str:
    """A sheet's id, by its id or its name."""
    named: list[str] = []
    for each in remote.pages("/sheets"):
        if each["id"] == name:
            return name
        if each["name"] == name:
            named.append(each["id"])
    if len(named) != 1:
        what = (
            f"{len(named)} sheets are called {name}; give the id." if named else f"There is no sheet {name}."
        )
        raise fail(what, BAD_INPUT)
    return named[0]


def _form(remote: Remote, voice: str | None) -> dict[str, Any]:
    return {"voice_model_id": remote.voice(voice)} if voice else {}


def _send(
    remote: Remote, path: str, file: Path, values: Path | None, form: dict[str, Any], **params: str
) -> dict[str, Any]:
    with ExitStack() as stack:
        files = {"file": (file.name, stack.enter_context(file.open("rb")))}
        if values:
            files["values"] = (values.name, stack.enter_context(values.open("rb")))
        answer: dict[str, Any] = remote.call("POST", path, files=files, data=form, params=params)
    return answer


def _show_preview(seen: dict[str, Any]) -> None:
    kind = seen["encoding"] or f"worksheet {seen['worksheet']}"
    typer.echo(
        f"{seen['format']}, {kind}, headings in row {seen['heading_row']}, {seen['line_count']} announcements"
    )
    table(
        ["column", "understood as"],
        [[each["heading"], each["field"] or "kept as it is"] for each in seen["columns"]],
    )
    for each in seen["problems"][:SHOWN]:
        typer.secho(f"row {each['row']} {each['column']}: {each['message']}", fg=typer.colors.YELLOW)
    for each in [line for line in seen["lines"] if line["unclear"]][:SHOWN]:
        signs = ", ".join(unclear["written"] for unclear in each["unclear"])
        typer.secho(f"row {each['row']}: unclear how to read {signs}", fg=typer.colors.YELLOW)
    if seen["problem_count"]:
        raise fail(f"{seen['problem_count']} problems: this would not be imported.", BAD_INPUT)


def _show_difference(found: dict[str, Any]) -> bool:
    """Print what differs; whether anything does."""
    counts = {kind: len(found[kind]) for kind in ("new", "changed", "gone")}
    for kind, sign in (("new", "+"), ("changed", "~"), ("gone", "-")):
        for each in found[kind]:
            typer.echo(f"{sign} {_called(each)}")
            for field in each["fields"]:
                before, after = (_cell(field[side]) for side in ("before", "after"))
                typer.echo(
                    f"    {field['field']}: {before} → {after}"
                    if kind == "changed"
                    else f"    {before}{after}"
                )
    typer.echo(
        ", ".join(f"{number} {kind}" for kind, number in counts.items()) + f", {found['same']} the same"
    )
    return any(counts.values())


def _called(line: dict[str, Any]) -> str:
    return f"{line['code']} ({line['variant']})" if line["variant"] else line["code"]


def _cell(value: object) -> str:
    return "" if value is None else str(value)
