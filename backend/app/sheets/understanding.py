"""What an upload says: read, its voices found, its problems named. Nothing is kept here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.deps import Container
from app.generation import service as generation
from app.lexicons.service import readings
from app.scripts.errors import BadMarkup
from app.scripts.service import UnknownVoiceModel, check_markup
from app.sheets.differences import Said, others
from app.sheets.errors import SheetHasProblems, UnreadableSheet
from app.sheets.parsing import (
    Layout,
    Line,
    Problem,
    SheetError,
    Table,
    find_layout,
    read_lines,
    read_table,
)
from app.sheets.schemas import ColumnOut, PreviewLine, PreviewOut, ProblemOut
from app.voice_models.names import Voices

SHOWN_PROBLEMS, SHOWN_LINES = 200, 100


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of an import and what was said of them. `columns` corrects what headings mean."""

    data: bytes
    label: str
    values: bytes | None = None
    columns: Mapping[str, str] | None = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data + (self.values or b"")).hexdigest()


@dataclass(frozen=True, slots=True)
class Understood:
    """A file's announcements, each with its voice model's id, and what is wrong with which row."""

    table: Table
    layout: Layout
    lines: list[Line]
    voice_ids: list[str | None]
    problems: list[Problem]
    voices: Voices

    def said(self) -> dict[tuple[str, str], Said]:
        columns = [(column.heading, column.field) for column in self.layout.columns]
        return {
            line.key: Said(
                line.text, voice or "", line.speed or 1.0, line.pause, line.file_name, line.path, line.note,
                others(columns, line.cells),
            )
            for line, voice in zip(self.lines, self.voice_ids, strict=True)
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parsed:
    table: Table
    layout: Layout
    lines: list[Line]
    problems: list[Problem]


def parse(upload: Upload) -> Parsed:
    """Read a file to its end; before the database is asked, so that nobody waits. Raises UnreadableSheet."""
    try:
        table = read_table(upload.data, upload.values)
        lines, problems, layout = read_lines(table, find_layout(table, upload.columns))
    except SheetError as error:
        raise UnreadableSheet(error.code, str(error)) from None
    return Parsed(table, layout, lines, problems)


def understand(
    container: Container, session: Session, parsed: Parsed, voice_model_id: str | None
) -> Understood:
    """Find the voice of each line. One that is missing or unclear, and broken markup, are problems.

    Raises UnknownVoiceModel.
    """
    voices = Voices(session, container.settings.voice_aliases)
    if voice_model_id is not None and voices.name_of(voice_model_id) is None:
        raise UnknownVoiceModel(field="voice_model_id")
    problems = [*parsed.problems, *_markup_problems(parsed)]
    heading = parsed.layout.heading("voice")
    voice_ids: list[str | None] = []
    for line in parsed.lines:
        found = voices.find(line.voice) if line.voice else {voice_model_id} - {None}
        voice_ids.append(next(iter(found)) if len(found) == 1 else None)
        if len(found) != 1:
            problems.append(_voice_problem(line, heading, len(found)))
    problems.sort(key=lambda each: each.row)
    return Understood(parsed.table, parsed.layout, parsed.lines, voice_ids, problems, voices)


def _markup_problems(parsed: Parsed) -> Iterator[Problem]:
    for line in parsed.lines:
        try:
            check_markup(line.text)
        except BadMarkup as error:
            yield Problem(line.row, parsed.layout.heading("text"), error.code, error.detail)


def _voice_problem(line: Line, heading: str, found: int) -> Problem:
    if not line.voice:
        return Problem(
            line.row, heading, "no_voice", "The row names no voice, and the sheet has none of its own."
        )
    if found:
        return Problem(
            line.row, heading, "voice_unclear",
            f"{found} voice models go by the name `{line.voice[:60]}`. Write the model's own name or its id.",
        )  # fmt: skip
    return Problem(
        line.row, heading, "unknown_voice",
        f"No voice model is called `{line.voice[:60]}`. Write a model's name or id, or its actor's name.",
    )  # fmt: skip


def preview(container: Container, upload: Upload, voice_model_id: str | None) -> PreviewOut:
    """What a file was understood as; nothing is kept."""
    parsed = parse(upload)
    with container.database.reading() as session:
        found = understand(container, session, parsed, voice_model_id)
        read = readings(session, best_effort=container.settings.best_effort)
    spoken = [read.read(line.text, listed=True) for line in found.lines]
    table = found.table
    return PreviewOut(
        format="csv" if table.encoding else "xlsx",
        encoding=table.encoding,
        delimiter=table.delimiter,
        worksheet=table.worksheet,
        ignored_worksheets=list(table.ignored),
        heading_row=found.layout.heading_row,
        columns=[ColumnOut.model_validate(column) for column in found.layout.columns],
        rows=len(found.layout.rows),
        line_count=len(found.lines),
        unclear_count=sum(bool(reading.unclear) for reading in spoken),
        problem_count=len(found.problems),
        problems=_problem_outs(found.problems),
        lines=[
            PreviewLine(
                row=line.row, code=line.code, variant=line.variant, text=line.text, spoken_text=reading.text,
                unclear=generation.unclear_outs(reading), voice_model_id=voice,
                voice_name=found.voices.name_of(voice), speed=line.speed or 1.0, pause=line.pause,
                file_name=line.file_name, path=line.path, note=line.note,
            )
            for line, voice, reading in list(zip(found.lines, found.voice_ids, spoken, strict=True))[
                :SHOWN_LINES
            ]
        ],
    )  # fmt: skip


def _problem_outs(problems: Sequence[Problem]) -> list[ProblemOut]:
    return [ProblemOut.model_validate(each) for each in problems[:SHOWN_PROBLEMS]]


def without_problems(found: Understood) -> Understood:
    """The same, when every row is right. Raises SheetHasProblems."""
    if found.problems:
        raise SheetHasProblems(
            f"{len(found.problems)} problems, the first in row {found.problems[0].row}: "
            f"{found.problems[0].message} Nothing was imported.",
            problem_count=len(found.problems),
            problems=[each.model_dump() for each in _problem_outs(found.problems)],
        )
    return found
