"""The entrance: which kind of file this is, by its first bytes and never by its name."""

from __future__ import annotations

from dataclasses import replace

from app.sheets.parsing.delimited import read_delimited
from app.sheets.parsing.table import MAX_BYTES, SheetError, Table
from app.sheets.parsing.workbook import read_workbook

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # compound files: old Excel, and new Excel under a password
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def read_table(data: bytes, values: bytes | None = None) -> Table:
    """CSV or XLSX as a table; `values` is a second file with variables' values. Raises SheetError."""
    table = _read(data)
    return replace(table, values=_read(values)) if values is not None else table


def _read(data: bytes) -> Table:
    if len(data) > MAX_BYTES:
        raise SheetError(
            "too_large", f"The file is over {MAX_BYTES >> 20} MB; divide it into several sheets."
        )
    if not data.strip():
        raise SheetError("empty_sheet", "The file is empty.")
    if data.startswith(_OLE):
        if _ENCRYPTED in data:
            raise SheetError(
                "password_protected", "The file is locked with a password. Save it without one and try again."
            )
        raise SheetError("old_excel", "This is an old Excel file (.xls). Save it as .xlsx or as CSV UTF-8.")
    if data.startswith(_ZIP):
        return read_workbook(data)
    return read_delimited(data)
