"""CSV and its relatives: the encoding is detected, the delimiter is the one under which headings appear."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

from app.sheets.parsing.columns import count_known
from app.sheets.parsing.table import Row, SheetError, Table, check_width, is_formula, make_rows, plain

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
_PROBE_ROWS = 12
_ROW_CHARS = 1 << 20  # a longer row is none of a sheet, and costs much memory to take apart
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, ""),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_delimited(data: bytes) -> Table:
    """A text file as a table. Raises SheetError."""
    text, encoding = decode(data)
    delimiter = find_delimiter(text)
    return Table(make_rows(_rows(text, delimiter)), encoding=encoding, delimiter=delimiter)


def decode(data: bytes) -> tuple[str, str]:
    """The text and the name of its encoding: by its mark, by its zero bytes, as UTF-8, as CP949.

    CP949 is what Korean Excel writes as "CSV"; it holds all of EUC-KR. Both are strict here, and a UTF-8
    text in Korean is practically never valid CP949 and the other way round.
    """
    marked = [name for mark, name in _MARKS if data.startswith(mark)]
    encoding = marked[0] if marked else _without_mark(data)
    if encoding:
        try:
            return data.decode(encoding), encoding.removesuffix("-sig")
        except UnicodeDecodeError as error:
            raise SheetError(
                "unknown_encoding",
                f"The file begins as {encoding} but is damaged at byte {error.start:,}. Save it again as "
                "CSV UTF-8.",
            ) from None
    raise SheetError(
        "unknown_encoding",
        "The file's text is neither UTF-8, UTF-16 nor CP949 (EUC-KR). Save it as CSV UTF-8 or as XLSX.",
    )


def _without_mark(data: bytes) -> str:
    sample = data[:4096]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    # Delimiters and line ends are ASCII, so UTF-16 has zeros, all in one half of its pairs.
    if odd > 2 and even == 0:
        return "utf-16-le"
    if even > 2 and odd == 0:
        return "utf-16-be"
    if even or odd:
        return ""
    for encoding in ("utf-8", "cp949"):
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return ""


def find_delimiter(text: str) -> str:
    """The delimiter under which the first rows hold most known headings; a comma where none does."""

    def score(delimiter: str) -> int:
        rows: list[Row] = []
        try:
            for number, cells, _ in _rows(text, delimiter):
                rows.append(Row(number, tuple(cells)))
                if len(rows) == _PROBE_ROWS:
                    break
        except SheetError:
            pass  # what cannot be read under this one may still have shown its headings
        return max((count_known(row.cells) for row in rows), default=0)

    return max(DELIMITERS, key=score)


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str], frozenset[int]]]:
    used = 0

    def lines() -> Iterator[str]:
        nonlocal used
        for line in io.StringIO(text, newline=""):
            used += len(line)
            if used > _ROW_CHARS:
                raise SheetError(
                    "not_a_sheet",
                    "A row of this file is over a million characters long. Is this a sheet, or is a quotation "
                    "mark missing?",
                )
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    # A row number is that of a spreadsheet, where a cell of several lines is still one row.
    try:
        for number, cells in enumerate(reader, 1):
            used = 0
            check_width(number, len(cells))
            formulas = frozenset(place for place, cell in enumerate(cells) if is_formula(cell.strip()))
            yield number, [plain(cell) for cell in cells], formulas
    except csv.Error as error:
        raise SheetError(
            "broken_csv",
            f"Line {reader.line_num:,} of the file cannot be read ({error}). A quotation mark is missing, or "
            "stands in the middle of a cell; save the file again from a spreadsheet.",
        ) from None
