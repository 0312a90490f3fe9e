"""A workbook's worksheets and their rows, by openpyxl's own parsers and without the rest that it would read:
names, rules, links, headers, charts, formulas moved to each cell. That takes it far longer than the file is long.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import iterparse
from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.worksheet._reader import ROW_TAG, WorkSheetParser

from app.sheets.parsing.table import SheetError


class _Book(ExcelReader):  # type: ignore[misc]
    def read_chartsheet(self, sheet: Any, rel: Any) -> None:
        """It has no rows."""


class _Rows(WorkSheetParser):  # type: ignore[misc]
    def parse(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for _, element in iterparse(self.source):
            if element.tag == ROW_TAG:
                yield self.parse_row(element)
                element.clear()

    def parse_formula(self, element: Element) -> str:
        return "="


def open_book(data: bytes) -> Any:
    """The workbook, to be closed. Raises SheetError, and what openpyxl raises for broken ones."""
    book = _Book(io.BytesIO(data), read_only=True, keep_links=False)
    book.read_manifest()
    book.read_strings()
    book.read_workbook()
    parts = [relation.target for _, relation in book.parser.find_sheets()]
    if len(set(parts)) < len(parts):
        raise SheetError("hostile_xlsx", "Two worksheets of this file are the same part; it is not read.")
    apply_stylesheet(book.archive, book.wb)  # says which numbers are days
    book.read_worksheets()
    return book.wb


def rows_of(sheet: Any) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Each row's number, and its cells with `column`, `value` and `data_type`; a formula is `=` alone."""
    book = sheet.parent
    with sheet._get_source() as source:
        rows = _Rows(
            source, sheet._shared_strings, epoch=book.epoch, date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )  # fmt: skip
        yield from rows.parse()
