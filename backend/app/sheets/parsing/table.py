"""What every kind of file becomes: rows of text cells, with what a spreadsheet says about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_BYTES = 20 * 2**20
MAX_ROWS = 10_000
MAX_LINES = 10_000  # announcements, once variables are filled in
MAX_COLUMNS = 64
MAX_CELL_CHARS = 10_000
MAX_WIDTH = 1024  # columns with formatting or delimiters, but nothing in them

# A spreadsheet takes such a cell for a formula, whoever wrote it. The full-width forms count in some of them.
_ACTIVE = re.compile(r"'*[=+\-@\t\r＝＋－＠]")

# Signs that neither XML nor a database can hold; none of them can be heard. NUL is refused, not dropped.
_UNWRITABLE = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class SheetError(ValueError):
    """This file cannot be read as a sheet: a stable code and a sentence that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in one place of a sheet. `row` counts as spreadsheets do, from 1."""

    row: int
    column: str  # its heading, or empty for the whole row
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Row:
    number: int  # as spreadsheets count, from 1
    cells: tuple[str, ...]
    formulas: frozenset[int] = frozenset()  # places in `cells` that hold a formula; it is never worked out


@dataclass(frozen=True, slots=True)
class Table:
    """One worksheet, or a whole CSV file. `values` is the second sheet, with the variables' values."""

    rows: tuple[Row, ...]
    encoding: str | None = None  # None for XLSX, which has but one
    delimiter: str | None = None
    worksheet: str | None = None
    merged: tuple[tuple[int, int, str], ...] = ()  # first row, last row, range as A1:B2
    ignored: tuple[str, ...] = ()  # other worksheets
    values: Table | None = field(default=None)


def plain(cell: str) -> str:
    """A cell as it was meant: line ends as one sign, nothing that cannot be written, and the mark taken off
    that `neutral` puts on."""
    cell = _UNWRITABLE.sub("", cell.replace("\r\n", "\n").replace("\r", "\n"))
    return cell[1:] if cell.startswith("'") and _ACTIVE.match(cell) else cell


def neutral(cell: str) -> str:
    """A cell that no spreadsheet runs: what begins like a formula is marked as text. `plain` undoes it."""
    return "'" + cell if _ACTIVE.match(cell) else cell


def is_formula(raw: str) -> bool:
    """Whether a cell of a text file would be run by a spreadsheet that opens the file."""
    return raw.startswith(("=", "＝"))


def check_width(number: int, width: int) -> None:
    """Raises SheetError for a row so wide that taking it apart is not worth the time."""
    if width > MAX_WIDTH:
        raise SheetError(
            "too_many_columns",
            f"Row {number} reaches to column {width:,}. Delete the columns without use, with their format.",
        )


def make_rows(
    cells: Iterable[tuple[int, list[str], frozenset[int]]], most: int = MAX_ROWS
) -> tuple[Row, ...]:
    """Rows within the limits, without empty ones and the empty cells at their ends. Raises SheetError."""
    rows: list[Row] = []
    for number, texts, formulas in cells:
        while texts and not texts[-1].strip() and len(texts) - 1 not in formulas:
            texts.pop()
        if not texts:
            continue
        if len(texts) > MAX_COLUMNS:
            raise SheetError(
                "too_many_columns",
                f"Row {number} has {len(texts)} columns; {MAX_COLUMNS} is the most. "
                "Delete those without use.",
            )
        longest = max(map(len, texts))
        if longest > MAX_CELL_CHARS:
            raise SheetError(
                "cell_too_long",
                f"A cell of row {number} has {longest:,} characters; {MAX_CELL_CHARS:,} is the most. "
                "Put one announcement in a row.",
            )
        if any("\0" in text for text in texts):
            raise SheetError(
                "not_a_sheet", f"Row {number} holds characters that no text has. Is this a sheet?"
            )
        if len(rows) > most + 20:  # room for the heading and what stands above it
            raise SheetError(
                "too_many_rows", f"The sheet has more than {most:,} rows. Divide it into several sheets."
            )
        rows.append(Row(number, tuple(texts), formulas))
    return tuple(rows)
