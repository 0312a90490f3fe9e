from __future__ import annotations

from app.kit.errors import AppError, Conflict, Invalid, NotFound


class SheetNotFound(NotFound):
    code, title = "sheet_not_found", "There is no sheet with this id"


class VersionNotFound(NotFound):
    code, title = "sheet_version_not_found", "This sheet has no version with this number"


class LineNotFound(NotFound):
    code, title = "sheet_line_not_found", "This sheet has no line with this id"


class UnreadableSheet(AppError):
    """What the reader found wrong with a file as a whole; the code is the reader's."""

    status, code, title = 422, "unreadable_sheet", "This file cannot be read as a sheet"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]


class SheetHasProblems(Invalid):
    code, title = "sheet_has_problems", "Some rows are wrong; nothing was imported"


class BadColumns(Invalid):
    code, title = "bad_columns", "`columns` is a JSON object from headings to fields"


class DifferenceChanged(Conflict):
    code = "difference_changed"
    title = "This is not the difference that was confirmed; look at it again"


class NothingToApprove(Conflict):
    code, title = (
        "nothing_to_approve",
        "This line has no take that says what the line says; generate it first",
    )


class OtherTakeIsCurrent(Conflict):
    code, title = "other_take_is_current", "Another take is current by now; listen to that one"
