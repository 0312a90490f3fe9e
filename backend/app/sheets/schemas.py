from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.generation.schemas import FailureOut
from app.kit.schemas import Answer, Body, Name
from app.lexicons.schemas import UnclearOut

LineState = Literal["not_generated", "queued", "running", "done", "failed", "out_of_date", "missing", "gone"]


class ColumnOut(Answer):
    heading: str
    field: str | None = Field(description="code, text, voice …; null for what is kept and not understood")
    variable: str | None = Field(description="the variable whose values it may hold")


class ProblemOut(Answer):
    row: int = Field(description="as the spreadsheet counts, from 1")
    column: str = Field(description="its heading; empty for the whole row")
    code: str
    message: str


class PreviewLine(Answer):
    row: int
    code: str
    variant: str
    text: str
    spoken_text: str
    unclear: list[UnclearOut]
    voice_model_id: str | None
    voice_name: str | None
    speed: float
    pause: float | None
    file_name: str
    path: str
    note: str


class PreviewOut(Answer):
    """What was understood of a file; nothing is kept of it."""

    format: Literal["csv", "xlsx"]
    encoding: str | None
    delimiter: str | None
    worksheet: str | None
    ignored_worksheets: list[str]
    heading_row: int
    columns: list[ColumnOut]
    rows: int
    line_count: int = Field(description="announcements, once variables are filled in")
    unclear_count: int = Field(description="announcements with characters that cannot be read")
    problem_count: int
    problems: list[ProblemOut] = Field(description="the first 200")
    lines: list[PreviewLine] = Field(description="the first 100")


class SheetChange(Body):
    name: Name | None = None
    requires_approval: bool | None = Field(None, description="an export stops at lines without an approval")


class SheetOut(Answer):
    id: str
    name: str
    voice_model_id: str | None
    requires_approval: bool
    version: int
    line_count: int
    columns: list[ColumnOut]
    created_at: datetime
    updated_at: datetime


class SheetDetail(SheetOut):
    states: dict[LineState, int] = Field(description="lines by state")
    approved: int
    seconds: float = Field(description="of all current takes that say what their lines say")


class VersionOut(Answer):
    number: int
    file_name: str
    sha256: str
    imported_by: str
    new: int
    changed: int
    gone: int
    same: int
    created_at: datetime


class FieldChange(Answer):
    field: str
    before: str | float | None
    after: str | float | None


class LineChange(Answer):
    code: str
    variant: str
    row: int | None
    heard: bool = Field(description="text, voice, speed or pause: the line loses its approval")
    fields: list[FieldChange]


class VersionChange(LineChange):
    kind: Literal["new", "changed", "gone"]


class VersionDetail(VersionOut):
    changes: list[VersionChange]


class DifferenceOut(Answer):
    """What an import changes. To apply it, send the file again with `confirm` set to `digest`."""

    digest: str
    applied: bool
    version: int = Field(description="the sheet's, after this")
    new: list[LineChange]
    changed: list[LineChange]
    gone: list[LineChange]
    same: int


class LineTake(Answer):
    id: str
    generation_id: str
    engine: str
    seconds: float
    quality_score: float | None
    created_at: datetime


class LineOut(Answer):
    id: str
    script_id: str
    row: int
    code: str
    variant: str
    text: str
    voice_model_id: str
    speed: float
    pause: float | None
    file_name: str
    path: str
    note: str
    state: LineState
    unclear: list[UnclearOut]
    failure: FailureOut | None
    take: LineTake | None = Field(description="the current one, up to date or not")
    approved: bool
    approved_by: str | None
    approved_at: datetime | None


class GenerateIn(Body):
    only_failed: bool = False
    force_regenerate: bool = Field(False, description="also what is up to date")


class GenerateOut(Answer):
    batch_id: str | None = Field(description="null when there is nothing to do")
    accepted: int
    unchanged: int
    under_way: int = Field(description="asked for before, and not over")
    watch: str | None
