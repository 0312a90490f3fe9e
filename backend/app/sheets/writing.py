"""A sheet on its way back: the rows as they came, in CSV or XLSX, with nothing in them that could run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from app.sheets.parsing.table import neutral

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def as_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """CSV in UTF-8 with a mark, without which Excel takes it for CP949."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([[neutral(cell) for cell in row] for row in rows])
    return file.getvalue().encode("utf-8-sig")


def as_xlsx(rows: Iterable[Sequence[str]], title: str) -> bytes:
    """XLSX whose every cell is text: 001 keeps its zeros, and no cell is a formula."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet(_worksheet_title(title))
    for row in rows:
        cells = []
        for text in row:
            cell = WriteOnlyCell(sheet, value="")
            cell.value, cell.data_type = neutral(text), "s"
            cell.number_format = "@"
            cells.append(cell)
        sheet.append(cells)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def rows_of(
    above: Iterable[Sequence[str]], headings: Sequence[str], lines: Iterable[Sequence[str]]
) -> list[list[str]]:
    """All rows; the lines that one row made, by the values of its variables, are one row again."""
    rows = [list(cells) for cells in above] + [list(headings)]
    for cells in lines:
        if list(cells) != rows[-1]:
            rows.append(list(cells))
    return rows


def _worksheet_title(name: str) -> str:
    return (
        "".join(char for char in name if char.isprintable() and char not in "[]:*?/\\'")[:31].strip()
        or "Sheet"
    )
