"""Which row holds the headings, and what each column is: in Korean or English, in any order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.sheets.parsing.table import Row, SheetError, Table

# A field's headings, the surest first: where two columns could be one field, the earlier word decides.
# Compared without case, spaces and signs.
FIELDS: dict[str, tuple[str, ...]] = {
    "code": (
        "멘트코드", "코드", "멘트id", "멘트번호", "시나리오코드", "관리코드", "관리번호", "프롬프트id",
        "code", "scriptcode", "promptcode", "promptid", "scriptid", "key", "id", "번호", "no", "number",
    ),
    "text": (
        "멘트", "멘트내용", "안내멘트", "문구", "멘트문구", "안내문구", "안내문", "내용", "스크립트", "대본",
        "원고", "텍스트", "문장", "text", "script", "announcement", "prompttext", "prompt", "sentence",
        "content", "message",
    ),
    "voice": (
        "성우", "음성", "목소리", "음성모델", "보이스", "화자",
        "voice", "voicemodel", "voiceactor", "speaker",
    ),
    "speed": ("속도", "말속도", "배속", "빠르기", "speed", "rate", "tempo"),
    "pause": ("쉼", "휴지", "쉬기", "뒤쉼", "무음", "묵음", "포즈", "pause", "silence"),
    "file_name": (
        "파일명", "파일이름", "음원파일명", "음원명", "파일", "filename", "audiofile", "wavfile", "file",
    ),
    "path": ("경로", "폴더", "디렉터리", "디렉토리", "저장경로", "path", "folder", "directory", "dir"),
    "note": (
        "비고", "메모", "참고", "설명", "note", "notes", "comment", "comments", "memo", "remark", "remarks",
    ),
}  # fmt: skip
IGNORE = "ignore"
VARIABLE = re.compile(r"#?\{([^{}\n]{1,50})\}")  # {고객명}, and #{고객명} as message templates write it
_BY_WORD = {word: (name, rank) for name, words in FIELDS.items() for rank, word in enumerate(words)}
_LOOKED_AT = 20  # rows: titles and remarks above the headings
_UNITS = re.compile(r"[(\[（【][^(\[（【)\]）】]*[)\]）】]")
_LONGEST_HEADING = 200  # characters; a longer cell is none, and every cell is asked


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `field` is None for what is kept and given back, and not understood."""

    heading: str
    field: str | None
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a sheet's parts are. `above` are the rows before the headings, kept for the way back."""

    heading_row: int
    columns: tuple[Column, ...]
    above: tuple[tuple[str, ...], ...]
    rows: tuple[Row, ...]

    def place(self, field: str) -> int | None:
        return next((place for place, column in enumerate(self.columns) if column.field == field), None)

    def heading(self, field: str) -> str:
        """Its column's heading; empty where it has none."""
        place = self.place(field)
        return "" if place is None else self.columns[place].heading


def word_of(heading: str) -> str:
    """A heading as it is compared: no case, no spaces, no signs, no unit in brackets."""
    if len(heading) > _LONGEST_HEADING:
        return ""
    folded = unicodedata.normalize("NFKC", heading).casefold()
    return "".join(char for char in _UNITS.sub("", folded) if char.isalnum())


def count_known(cells: Sequence[str]) -> int:
    """How many different fields a row's cells are headings of."""
    return len({_BY_WORD[word][0] for cell in cells if (word := word_of(cell)) in _BY_WORD})


def has_text_heading(cells: Sequence[str]) -> bool:
    return count_known(cells) >= 2 and any(_BY_WORD.get(word_of(cell), ("",))[0] == "text" for cell in cells)


def find_layout(table: Table, chosen: Mapping[str, str] | None = None) -> Layout:
    """The heading row and what each column is. `chosen` (heading to field, or `ignore`) corrects the guess.

    Raises SheetError.
    """
    if not table.rows:
        raise SheetError("empty_sheet", "The file has no rows.")
    chosen = dict(chosen or {})
    place = _heading_place(table, chosen)
    row = table.rows[place]
    _refuse_second_heading(table, place)
    _refuse_merged(table, row.number)
    width = max(len(each.cells) for each in table.rows[place:])
    headings = [cell.strip() for cell in row.cells] + [""] * (width - len(row.cells))
    _refuse_repeated(headings)
    fields = _fields(headings, chosen)
    columns = tuple(
        Column(heading, fields.get(number), variable_of(heading) if number not in fields else None)
        for number, heading in enumerate(headings)
    )
    layout = Layout(
        row.number, columns, tuple(each.cells for each in table.rows[:place]), table.rows[place + 1 :]
    )
    if layout.place("text") is None:
        raise SheetError("no_text_column", f"No column holds the announcements. {_what_was_seen(headings)}")
    if layout.place("code") is None and layout.place("file_name") is None:
        raise SheetError(
            "no_code_column",
            "No column holds a code (멘트코드) or file name, by which a line is known when it comes again. "
            + _what_was_seen(headings),
        )
    if not layout.rows:
        raise SheetError("empty_sheet", "Below the headings, the sheet has no rows.")
    return layout


def _heading_place(table: Table, chosen: Mapping[str, str]) -> int:
    scores = [
        (len(set(chosen) & {cell.strip() for cell in row.cells}) * 10 + count_known(row.cells), -place)
        for place, row in enumerate(table.rows[:_LOOKED_AT])
        if chosen or has_text_heading(row.cells)
    ]
    best = max(scores, default=(0, 0))
    if best[0] == 0:
        raise SheetError(
            "no_headings",
            "No row holds headings. The sheet needs at least a code and an announcement column, such as "
            "`멘트코드` and `멘트`, or `code` and `text`.",
        )
    return -best[1]


def _refuse_second_heading(table: Table, place: int) -> None:
    """Two heading rows (Korean above English, or pages pasted together) would make an announcement of one."""
    for row in table.rows[place + 1 :]:
        filled = [cell for cell in row.cells if cell.strip()]
        if has_text_heading(filled) and count_known(filled) >= max(2, 0.6 * len(filled)):
            raise SheetError(
                "two_headings",
                f"Row {row.number} holds headings too, after those of row {table.rows[place].number}. "
                "Leave one heading row.",
            )


def _refuse_merged(table: Table, heading_row: int) -> None:
    touched = [cells for first, last, cells in table.merged if last >= heading_row]
    if touched:
        more = f" and {len(touched) - 5} more" if len(touched) > 5 else ""
        raise SheetError(
            "merged_cells",
            f"Cells are merged: {', '.join(touched[:5])}{more}. Unmerge them and fill every cell, so that "
            "each row says all of itself.",
        )


def _refuse_repeated(headings: Sequence[str]) -> None:
    seen = [word_of(heading) for heading in headings if word_of(heading)]
    twice = next((word for word in seen if seen.count(word) > 1), None)
    if twice:
        raise SheetError(
            "heading_twice", f"Two columns are headed `{twice}`. Give each a heading of its own."
        )


def _fields(headings: Sequence[str], chosen: Mapping[str, str]) -> dict[int, str]:
    """The field of each column that has one: as chosen, then by the surest word."""
    unknown = sorted(set(chosen) - set(headings))
    if unknown:
        raise SheetError("unknown_heading", f"There is no column headed {', '.join(unknown)}.")
    wrong = sorted(set(chosen.values()) - set(FIELDS) - {IGNORE})
    if wrong:
        raise SheetError(
            "unknown_field", f"{', '.join(wrong)}: a field is one of {', '.join(FIELDS)}, {IGNORE}."
        )
    fields = {place: chosen[heading] for place, heading in enumerate(headings) if heading in chosen}
    named = [field for field in fields.values() if field != IGNORE]
    if len(named) != len(set(named)):
        raise SheetError("unknown_field", "A field was chosen for two columns.")
    candidates = sorted(
        (rank, place, field)
        for place, heading in enumerate(headings)
        if place not in fields and (found := _BY_WORD.get(word_of(heading)))
        for field, rank in [found]
    )
    for _, place, field in candidates:
        if field not in fields.values():
            fields[place] = field
    return {place: field for place, field in fields.items() if field != IGNORE}


def find_place(headings: Sequence[str], field: str) -> int | None:
    """Which of these headings is the field's, by the surest word."""
    ranked = [
        (found[1], place)
        for place, heading in enumerate(headings)
        if (found := _BY_WORD.get(word_of(heading))) and found[0] == field
    ]
    return min(ranked)[1] if ranked else None


def variable_of(heading: str) -> str | None:
    """`{고객명}` and `고객명` both head the values of the variable 고객명."""
    match = VARIABLE.fullmatch(heading.strip())
    return (match[1] if match else heading).strip() or None


def _what_was_seen(headings: Sequence[str]) -> str:
    return "The headings are: " + ", ".join(f"`{heading}`" for heading in headings if heading) + "."
