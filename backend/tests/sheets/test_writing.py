from __future__ import annotations

import io
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sheets.parsing import Layout, Line, find_layout, read_lines, read_table
from app.sheets.parsing.table import neutral, plain
from app.sheets.writing import as_csv, as_xlsx, rows_of

RUN = ("=1+1", "+82-2-123", "-5", "@SUM(A1)", "\t=1", "＝1", "'=1", "''@x")


def understood(data: bytes) -> tuple[list[Line], Layout]:
    table = read_table(data)
    lines, problems, layout = read_lines(table, find_layout(table))
    assert not problems
    return lines, layout


def written(lines: list[Line], layout: Layout, form: str) -> bytes:
    rows = rows_of(
        layout.above, [column.heading for column in layout.columns], [line.cells for line in lines]
    )
    return as_csv(rows) if form == "csv" else as_xlsx(rows, "시트: [1]")


@pytest.mark.parametrize("cell", RUN)
def test_no_cell_begins_as_a_formula_does(cell: str) -> None:
    assert neutral(cell).startswith("'")
    assert plain(neutral(cell)) == cell
    sheet = openpyxl.load_workbook(io.BytesIO(as_xlsx([[cell]], "x"))).active
    assert sheet["A1"].data_type == "s"
    assert as_csv([[cell]]).removeprefix(b"\xef\xbb\xbf").lstrip(b'"')[:1] == b"'"


def test_what_is_harmless_stays_as_it_is() -> None:
    for cell in ("", "안녕", "1-2", "'인용'", "a=b", " =1"):
        assert neutral(cell) == cell


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_sheet_comes_back_as_it_went(form: str) -> None:
    text = (
        '2026 안내,,\n멘트코드,멘트,고객명,담당,비고\n001,"{고객명}님,\n안녕하세요.",김|이,영업,\'=메모\n'
        '2," 띄어 쓴 ""말"" ",,,-5\n'
    )
    lines, layout = understood(text.encode("cp949"))
    again, layout_again = understood(written(lines, layout, form))
    assert again == [replace_row(line, other.row) for line, other in zip(lines, again, strict=True)]
    assert (layout.columns, layout.above) == (layout_again.columns, layout_again.above)
    assert again[2].note == "-5" and again[0].note == "=메모" and again[0].code == "001"


def replace_row(line: Line, row: int) -> Line:
    from dataclasses import replace

    return replace(line, row=row)


def test_values_of_a_second_sheet_come_back_in_the_first() -> None:
    table = read_table("코드,멘트\n1,{이름}님\n2,둘\n".encode(), "코드,이름\n1,김\n1,이\n".encode())
    lines, _, layout = read_lines(table, find_layout(table))
    again, _ = understood(written(lines, layout, "csv"))
    assert (
        [line.key for line in again] == [line.key for line in lines] == [("1", "김"), ("1", "이"), ("2", "")]
    )
    assert [line.text for line in again] == [line.text for line in lines]


texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\ufffe\uffff{}"),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=5), st.sampled_from(["csv", "xlsx"]))
def test_any_cells_come_back(cells: list[Any], form: str) -> None:
    rows = [[f"c{number}", f"말 {text}", note, other] for number, (text, note, other) in enumerate(cells)]
    first = as_csv([["코드", "멘트", "비고", "기타"], *rows])
    lines, layout = understood(first)
    again, _ = understood(written(lines, layout, form))
    assert [line.cells for line in again] == [line.cells for line in lines]
    assert [line.cells for line in lines] == [tuple(plain(neutral(cell)) for cell in row) for row in rows]
