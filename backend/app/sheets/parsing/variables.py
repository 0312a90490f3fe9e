"""Variables in announcements: `{고객명}` stands for each of its values, and each combination is a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import product
from math import prod

from app.sheets.parsing.columns import VARIABLE, Column, Layout, find_place, variable_of
from app.sheets.parsing.table import MAX_LINES, SheetError, Table

Values = dict[str, str]
Wrong = Callable[[str, str, str], None]  # column, code, message
_SEPARATORS = re.compile(r"[|\n]")


def fill(template: str, values: Values) -> str:
    """`{고객명}` replaced by its value; what is no variable stays."""
    return VARIABLE.sub(lambda match: values.get(match[1].strip(), match[0]), template)


def names_in(text: str) -> list[str]:
    """A text's variables in their order, each once."""
    return list(dict.fromkeys(match[1].strip() for match in VARIABLE.finditer(text)))


def value_records(table: Table) -> dict[str, list[Values]]:
    """The second sheet: under each code, its combinations of values, a row each. Raises SheetError."""
    if not table.rows:
        raise SheetError("empty_sheet", "The sheet of values has no rows.")
    head, *rows = table.rows
    code = find_place(head.cells, "code")
    if code is None:
        raise SheetError(
            "no_code_column", f"The sheet of values has no column for the code (row {head.number})."
        )
    records: dict[str, list[Values]] = {}
    for row in rows:
        cells = row.cells + ("",) * (len(head.cells) - len(row.cells))
        if row.formulas:
            raise SheetError(
                "formula", f"Row {row.number} of the sheet of values holds a formula; paste its value."
            )
        values = {
            name: cells[place].strip()
            for place, heading in enumerate(head.cells)
            if place != code and (name := variable_of(heading))
        }
        records.setdefault(cells[code].strip(), []).append(values)
    return records


def combinations(
    code: str, text: str, cells: Sequence[str], layout: Layout, records: dict[str, list[Values]], wrong: Wrong
) -> list[Values]:
    """Every set of values that a row's text is spoken with; one empty set for a text without variables."""
    names = names_in(text)
    if not names:
        return [{}]
    own = {
        column.variable: _split(cells[place])
        for place, column in enumerate(layout.columns)
        if column.variable in names
    }
    sets: list[Values] = []
    for record in records.get(code, [{}]):
        lists = [_split(record.get(name, "")) or own.get(name, []) for name in names]
        for name, listed in zip(names, lists, strict=True):
            if not listed:
                wrong(
                    name, "no_value",
                    f"The variable {{{name}}} has no value: fill a column headed `{name}`, or a second sheet "
                    "with code and value.",
                )  # fmt: skip
                return []
        if len(sets) + prod(map(len, lists)) > MAX_LINES:
            raise SheetError(
                "too_many_lines",
                f"The values of {code} make over {MAX_LINES:,} announcements. Divide the sheet.",
            )
        sets += [dict(zip(names, choice, strict=True)) for choice in product(*lists)]
    return sets


def _split(cell: str) -> list[str]:
    """The values that a cell lists, each once."""
    return list(dict.fromkeys(value for each in _SEPARATORS.split(cell) if (value := each.strip())))


def with_columns_of(layout_columns: tuple[Column, ...], values: Table) -> tuple[Column, ...]:
    """A sheet's columns, and those of its second sheet's variables that it lacks."""
    head = values.rows[0].cells
    code = find_place(head, "code")
    there = {column.variable for column in layout_columns}
    names = dict.fromkeys(variable_of(heading) for place, heading in enumerate(head) if place != code)
    return layout_columns + tuple(Column(name, None, name) for name in names if name and name not in there)


def spelled_out(cells: tuple[str, ...], layout: Layout, values: Values) -> tuple[str, ...]:
    """A row's cells with one value in each variable's place, as it would stand without a second sheet."""
    return tuple(
        values.get(column.variable, cell) if column.variable else cell
        for column, cell in zip(layout.columns, cells, strict=True)
    )
