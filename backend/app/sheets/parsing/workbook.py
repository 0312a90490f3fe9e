"""XLSX: looked at as a zip before anything is unpacked, then read cell by cell. No formula is worked out."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import ParseError

from app.sheets.parsing.columns import count_known, has_text_heading
from app.sheets.parsing.table import SheetError, Table, check_width, is_formula, make_rows, plain

MAX_PARTS = 500
MAX_UNPACKED = 64 * 2**20  # with pictures, which are never unpacked
MAX_PART = 32 * 2**20  # of worksheets and their texts
MAX_OTHER_PART = 4 * 2**20  # of styles and the like, which are held in memory as a whole
MAX_RATIO = 100
MAX_CELLS = 300_000  # of a worksheet, empty ones with a format among them
MAX_EXTRAS = 20_000  # links, rules and merged cells of a worksheet: openpyxl keeps them all
_LAST_ROW = 1_048_576  # of any spreadsheet
_SMALL = 2**20  # what unpacks to less than this is harmless at any ratio
_BULK = ("xl/worksheets/", "xl/sharedStrings", "xl/media/")
_CELL_TAGS = frozenset(
    b"row c v f is si t r rPr rFont sz color family charset scheme rPh phoneticPr b i u".split()
)
_TAG = re.compile(rb"<(?:\w+:)?(\w+)")
_RANGE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})(?::\$?([A-Z]{1,3})\$?(\d{1,7}))?")
# No attempt goes on past the next tag: a part's length in tags does not count twice.
_MERGE_TAG = re.compile(rb"<(?:\w+:)?mergeCell\s[^<>]*?ref=[\"']([A-Z0-9$:]+)[\"']")
_LONG_FORMAT = re.compile(rb"formatCode\s*=\s*(?:\"[^\"<]{256}|'[^'<]{256})")  # 255 characters are the most


def read_workbook(data: bytes) -> Table:
    """The worksheet with announcements, and the one with variables' values. Raises SheetError."""
    merged = check_package(data)
    from defusedxml.common import DefusedXmlException  # here: a service that reads no sheet starts faster
    from openpyxl.utils.exceptions import InvalidFileException

    from app.sheets.parsing.worksheets import open_book

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that only its makers know
            book = open_book(data)
            try:
                return _choose(book, merged)
            finally:
                book.close()
    except SheetError:
        raise
    except (
        InvalidFileException, zipfile.BadZipFile, zlib.error, ParseError, KeyError, ValueError, TypeError,
        AttributeError, IndexError, EOFError, OverflowError, UnicodeError, NotImplementedError, RuntimeError,
        AssertionError,
    ) as error:  # fmt: skip
        # openpyxl has no error of its own for XML that is well-formed and no workbook: it trips over it.
        if isinstance(error, DefusedXmlException) or isinstance(error.__cause__, DefusedXmlException):
            raise SheetError(
                "hostile_xlsx", "This file holds XML that no spreadsheet writes; it is not read."
            ) from None
        raise SheetError(
            "broken_xlsx", "This XLSX file is damaged. Open it in a spreadsheet and save it again."
        ) from None


Merged = tuple[tuple[int, int, str], ...]  # first row, last row, range


def check_package(data: bytes) -> dict[str, Merged]:
    """Refuse a zip bomb by what its directory says, zipfile reads no more of a part than that; then look
    through each part, in blocks, for more than openpyxl should be made to take apart.

    The merged cells of each part by its name. Raises SheetError.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            parts = package.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError):
        raise SheetError("broken_xlsx", "This is no complete XLSX file; was it cut off on its way?") from None
    if any(part.flag_bits & 0x1 for part in parts):
        raise SheetError(
            "password_protected", "The file is locked with a password. Save it without one and try again."
        )
    names = [part.filename for part in parts]
    if len(names) > MAX_PARTS or len(set(names)) != len(names):
        raise SheetError("hostile_xlsx", "This file is made of more parts than a sheet has; it is not read.")
    unpacked, packed = sum(part.file_size for part in parts), sum(part.compress_size for part in parts)
    worst = any(
        part.file_size > _SMALL and part.file_size > MAX_RATIO * max(part.compress_size, 1) for part in parts
    )
    heavy = any(
        part.file_size > (MAX_PART if part.filename.startswith(_BULK) else MAX_OTHER_PART) for part in parts
    )
    if unpacked > MAX_UNPACKED or worst or heavy or packed > len(data):
        raise SheetError(
            "zip_bomb",
            f"Unpacked, this file is {unpacked >> 20:,} MB large; {MAX_UNPACKED >> 20} MB is the most, "
            f"{MAX_PART >> 20} MB of one worksheet, and {MAX_RATIO} times the packed size. Delete "
            "pictures and unused formatting, or save it as CSV.",
        )
    if "[Content_Types].xml" not in names or not any(name.startswith("xl/") for name in names):
        raise SheetError("not_a_sheet", "This zip file is not an XLSX file. Save the sheet as .xlsx or CSV.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            return {name: _looked_through(package, name) for name in names}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise SheetError("broken_xlsx", "This XLSX file is damaged. Was it cut off on its way?") from None


def _looked_through(package: zipfile.ZipFile, name: str) -> Merged:
    found: list[tuple[int, int, str]] = []
    extras = cells = 0
    with package.open(name) as part:
        rest = b""
        block = part.read(1 << 20)
        if not _may_be_xml(block):
            return ()
        while block:
            whole, tag_open, rest = (rest + block).rpartition(b"<")  # a tag may lie across two blocks
            rest = tag_open + rest
            tags = Counter(_TAG.findall(whole))
            cells += tags[b"c"] + tags[b"si"]
            extras += sum(count for tag, count in tags.items() if tag not in _CELL_TAGS)
            if cells > MAX_CELLS:
                raise SheetError(
                    "too_many_cells",
                    f"A worksheet has over {MAX_CELLS:,} cells. Delete the columns and rows without use, with "
                    "their format.",
                )
            if extras > MAX_EXTRAS or len(rest) > 1 << 20:
                raise SheetError(
                    "hostile_xlsx", "This file holds more rules, links and merged cells than a sheet has."
                )
            if b"\0" in whole or _LONG_FORMAT.search(whole):  # UTF-16 would pass by every pattern here
                raise SheetError(
                    "hostile_xlsx", "This file holds XML that no spreadsheet writes; it is not read."
                )
            found += _ranges(whole)
            block = part.read(1 << 20)
    return tuple(found + _ranges(rest))


def _may_be_xml(start: bytes) -> bool:
    """Whether an XML parser could take a part; its name says nothing: any part may be called a worksheet."""
    text = start.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xfe\xff \t\r\n")
    return not text or text.startswith(b"<")


def _choose(book: Any, merged: dict[str, Merged]) -> Table:
    tables = [_table(sheet, merged) for sheet in book.worksheets if sheet.sheet_state == "visible"]
    filled = [table for table in tables if table.rows]
    if not filled:
        raise SheetError("empty_sheet", "No worksheet of this file has anything in it.")
    main = max(filled, key=_headings)  # the first of equals
    values = next((each for each in filled if each is not main and _is_values(each)), None)
    ignored = tuple(str(each.worksheet) for each in filled if each is not main and each is not values)
    return Table(main.rows, worksheet=main.worksheet, merged=main.merged, ignored=ignored, values=values)


def _headings(table: Table) -> tuple[bool, int]:
    first = table.rows[:12]
    return any(has_text_heading(row.cells) for row in first), max(count_known(row.cells) for row in first)


def _is_values(table: Table) -> bool:
    """A sheet of values has codes and other columns, but no announcements."""
    head = table.rows[0].cells
    return len(table.rows) > 1 and count_known(head) >= 1 and not has_text_heading(head)


def _table(sheet: Any, merged: dict[str, Merged]) -> Table:
    path = str(sheet._worksheet_path).lstrip("/")
    return Table(make_rows(_cells(sheet)), worksheet=sheet.title, merged=merged.get(path, ()))


def _cells(sheet: Any) -> Iterator[tuple[int, list[str], frozenset[int]]]:
    from app.sheets.parsing.worksheets import rows_of  # with openpyxl, as above

    last = 0
    for number, row in rows_of(sheet):
        if not last < number <= _LAST_ROW:
            raise SheetError(
                "broken_xlsx", "A row has a number that no spreadsheet gives. Save the file again."
            )
        last = number
        width = max((cell["column"] for cell in row), default=0)
        check_width(number, width)
        texts = [""] * width
        formulas = set()
        for cell in row:
            place, value = cell["column"] - 1, cell["value"]
            if value is None:
                continue
            # A text that begins with "=" and is marked as text was kept from being a formula on purpose.
            if cell["data_type"] == "f" or (
                isinstance(value, str) and is_formula(value) and cell["data_type"] != "s"
            ):
                formulas.add(place)
            texts[place] = _text(value)
        yield number, texts, frozenset(formulas)


def _text(value: object) -> str:
    """A value as the sheet's reader would write it: 1 and not 1.0, a day without its midnight."""
    match value:
        case str():
            return plain(value)
        case bool():
            return "TRUE" if value else "FALSE"
        case int() | Decimal():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case datetime():
            return value.isoformat(" ").removesuffix(" 00:00:00")
        case date() | time():
            return value.isoformat()
    return str(value)


def _ranges(xml: bytes) -> list[tuple[int, int, str]]:
    matches = (_RANGE.fullmatch(match[1].decode("ascii")) for match in _MERGE_TAG.finditer(xml))
    return [
        (int(cells[2]), int(cells[4] or cells[2]), cells[0].replace("$", "")) for cells in matches if cells
    ]
