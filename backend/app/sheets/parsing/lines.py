"""Rows as announcements: values checked field by field, variables filled in, codes unique."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from app.sheets.parsing.columns import Layout
from app.sheets.parsing.table import MAX_LINES, Problem, Row, SheetError, Table
from app.sheets.parsing.variables import (
    Values,
    Wrong,
    combinations,
    fill,
    spelled_out,
    value_records,
    with_columns_of,
)

MAX_CODE = 200
MAX_NAME = 300
MAX_VARIANT = 300
MAX_TEXT = 5000
MAX_PAUSE = 60.0
MAX_PROBLEMS = 1000
SPEEDS = (0.5, 2.0)
_NUMBER = re.compile(r"([0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)\s*(%|배속|배|x|초|s|sec|ms|밀리초)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """One announcement. `variant` tells apart what one code says with different values; empty without."""

    row: int
    code: str
    variant: str
    values: Values
    text: str  # variables filled in
    voice: str
    speed: float | None
    pause: float | None  # seconds of silence after the announcement
    file_name: str
    path: str
    note: str
    cells: tuple[str, ...]  # the row as it came, for the way back

    @property
    def key(self) -> tuple[str, str]:
        return self.code, self.variant


def read_lines(table: Table, layout: Layout) -> tuple[list[Line], list[Problem], Layout]:
    """Every announcement of a sheet, what is wrong with which row, and the columns with those of its values.

    Raises SheetError when there are too many announcements.
    """
    problems: list[Problem] = []
    lines: list[Line] = []
    seen: dict[tuple[str, str], int] = {}
    records: dict[str, list[Values]] = {}
    if table.values:
        records = value_records(table.values)
        layout = replace(layout, columns=with_columns_of(layout.columns, table.values))
    for row in layout.rows:
        for line in _row_lines(row, layout, records, problems):
            if line.key in seen:
                what = f"{line.code} ({line.variant})" if line.variant else line.code
                problems.append(
                    Problem(line.row, "", "code_twice", f"Row {seen[line.key]} has the code {what} already.")
                )
                continue
            seen[line.key] = line.row
            lines.append(line)
            if len(lines) > MAX_LINES:
                raise SheetError(
                    "too_many_lines",
                    f"With all values of its variables the sheet makes over {MAX_LINES:,} announcements. "
                    "Divide it.",
                )
        if len(problems) >= MAX_PROBLEMS:
            break
    return lines, problems, layout


def _row_lines(
    row: Row, layout: Layout, records: dict[str, list[Values]], problems: list[Problem]
) -> Iterator[Line]:
    cells = row.cells + ("",) * (len(layout.columns) - len(row.cells))
    found: list[Problem] = []

    def wrong(column: str, code: str, message: str) -> None:
        found.append(Problem(row.number, column, code, message))

    def cell(field: str) -> str:
        place = layout.place(field)
        return "" if place is None else cells[place].strip()

    for place in sorted(row.formulas):
        name = layout.columns[place].heading if place < len(layout.columns) else ""
        wrong(
            name,
            "formula",
            "A formula is never worked out here. Paste its value (붙여넣기 → 값) in its place.",
        )
    code = cell("code") or (cell("file_name") if layout.place("code") is None else "")
    text = cell("text")
    if not code:
        wrong(layout.heading("code") or layout.heading("file_name"), "no_code", "This row has no code.")
    if len(code) > MAX_CODE:
        wrong(
            layout.heading("code"),
            "too_long",
            f"The code has {len(code)} characters; {MAX_CODE} is the most.",
        )
    if not text:
        wrong(layout.heading("text"), "no_text", "This row has no announcement.")
    for field in ("file_name", "path"):
        if len(cell(field)) > MAX_NAME:
            wrong(
                layout.heading(field), "too_long", f"{len(cell(field))} characters; {MAX_NAME} is the most."
            )
    speed = _number(cell("speed"), read_speed, layout.heading("speed"), "bad_speed", wrong)
    pause = _number(cell("pause"), read_pause, layout.heading("pause"), "bad_pause", wrong)
    sets = [] if found else combinations(code, text, cells, layout, records, wrong)
    for values in sets:
        spoken = fill(text, values)
        if len(spoken) > MAX_TEXT:
            wrong(
                layout.heading("text"),
                "too_long",
                f"The text has {len(spoken):,} characters; {MAX_TEXT:,} is the most.",
            )
            break
        if len(variant_of(values)) > MAX_VARIANT:
            wrong("", "too_long", f"The variables' values are over {MAX_VARIANT} characters long together.")
            break
    if found:
        problems += found
        return
    for values in sets:
        yield Line(
            row.number, code, variant_of(values), values, fill(text, values), cell("voice"), speed, pause,
            fill(cell("file_name"), values), fill(cell("path"), values), cell("note"),
            spelled_out(cells, layout, values) if code in records else cells,
        )  # fmt: skip


def variant_of(values: Values) -> str:
    """What tells one combination of a row from another, in words."""
    return " / ".join(values.values())


def _number(cell: str, reader: Callable[[str], float], heading: str, code: str, wrong: Wrong) -> float | None:
    if not cell:
        return None
    try:
        return reader(cell)
    except ValueError as error:
        wrong(heading, code, str(error))
        return None


def read_speed(cell: str) -> float:
    """`1.2`, `1.2배`, `x1.2`, `120%` → 1.2. Raises ValueError with a sentence."""
    match = _NUMBER.fullmatch(cell.removeprefix("x").removeprefix("X").strip())
    unit = (match[2] or "").lower() if match else "?"
    if match is None or unit not in ("", "%", "배", "배속", "x"):
        raise ValueError(f"`{cell[:40]}` is no speed; write a number such as 1.0.")
    speed = float(match[1].replace(",", ".")) / (100 if unit == "%" else 1)
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise ValueError(f"The speed {cell[:40]} lies outside {SPEEDS[0]}–{SPEEDS[1]}.")
    return speed


def read_pause(cell: str) -> float:
    """`0.5`, `0.5초`, `500ms` → 0.5 seconds. Raises ValueError with a sentence."""
    match = _NUMBER.fullmatch(cell)
    unit = (match[2] or "").lower() if match else "?"
    if match is None or unit not in ("", "초", "s", "sec", "ms", "밀리초"):
        raise ValueError(f"`{cell[:40]}` is no pause; write seconds such as 0.5.")
    pause = float(match[1].replace(",", ".")) / (1000 if unit in ("ms", "밀리초") else 1)
    if pause > MAX_PAUSE:
        raise ValueError(f"A pause of {cell[:40]} is longer than {MAX_PAUSE:.0f} s.")
    return pause
