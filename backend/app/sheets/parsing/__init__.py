"""A sheet's bytes in, its announcements out: pure functions, no database and no web.

table = read_table(data)                     # encoding, delimiter, cells as text
layout = find_layout(table)                  # heading row, what each column is
lines, problems = read_lines(table, layout)  # announcements, variables filled in
"""

from app.sheets.parsing.columns import FIELDS, Column, Layout, find_layout
from app.sheets.parsing.lines import Line, read_lines
from app.sheets.parsing.table import (
    MAX_BYTES,
    MAX_LINES,
    MAX_ROWS,
    Problem,
    SheetError,
    Table,
)
from app.sheets.parsing.tables import read_table

__all__ = [
    "FIELDS",
    "MAX_BYTES",
    "MAX_LINES",
    "MAX_ROWS",
    "Column",
    "Layout",
    "Line",
    "Problem",
    "SheetError",
    "Table",
    "find_layout",
    "read_lines",
    "read_table",
]
