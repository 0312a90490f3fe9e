from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sheets.parsing import SheetError, find_layout, read_lines, read_table

TEXT = '멘트코드,멘트,비고\nA1,"안녕하세요, 고객님.",첫 줄\nA2,감사합니다.,\n'


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (codecs.BOM_UTF8 + TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("cp949"), "cp949"),
        (TEXT.encode("euc-kr"), "cp949"),
    ],
)  # fmt: skip
def test_the_encoding_is_detected(data: bytes, encoding: str) -> None:
    table = read_table(data)
    assert table.encoding == encoding
    lines, problems, _ = read_lines(table, find_layout(table))
    assert not problems
    assert [line.code for line in lines] == ["A1", "A2"]
    assert lines[0].text == "안녕하세요, 고객님." and lines[0].note == "첫 줄"


def test_syllables_that_only_cp949_has_are_read() -> None:
    table = read_table("코드,멘트\n1,똠방각하 펲시콜라\n".encode("cp949"))
    assert read_lines(table, find_layout(table))[0][0].text == "똠방각하 펲시콜라"


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_the_one_under_which_headings_appear(delimiter: str) -> None:
    rows = [["코드", "멘트", "비고"], ["1", "하나; 둘, 셋", "a"], ["2", "넷", "b"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    table = read_table(text.encode())
    assert table.delimiter == delimiter
    assert [line.text for line in read_lines(table, find_layout(table))[0]] == ["하나; 둘, 셋", "넷"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('코드,멘트\n1,"열린 따옴표\n2,둘\n', "broken_csv"),
        ('코드,멘트\n1,"따옴표" 뒤\n', "broken_csv"),
        ("코드,멘트\n1," + "가" * 10_001, "cell_too_long"),
        ("코드,멘트\n" + "a," * 65, "too_many_columns"),
        ("코드,멘트\n" + "," * 1025, "too_many_columns"),
        ("코드,멘트\n" + ",".join(['"a\n"'] * 300_000), "not_a_sheet"),
        ("코드,멘트\n1," + "a" * (1 << 20), "not_a_sheet"),
        ("코드,멘트\n" + "\n".join(f"{n},안녕" for n in range(100_000)), "too_many_rows"),
        ("가,나\n1,2\n", "no_headings"),
        ("코드,비고\n1,2\n", "no_headings"),
        ("멘트,비고\n안녕,2\n", "no_code_column"),
        ("코드,멘트\n", "empty_sheet"),
        ("코드,멘트,멘트\n1,2,3\n", "heading_twice"),
        ("코드,멘트\ncode,text\n1,안녕\n", "two_headings"),
        ("코드,멘트\n1,안녕\n코드,멘트\n2,안녕\n", "two_headings"),
    ],
)
def test_a_broken_sheet_gets_a_clear_answer(text: str, code: str) -> None:
    with pytest.raises(SheetError) as caught:
        read_lines(table := read_table(text.encode()), find_layout(table))
    assert caught.value.code == code
    assert len(str(caught.value)) > 20


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_sheet"),
        (b"  \n \n", "empty_sheet"),
        (b"\xff\xfe\xff\xdb", "unknown_encoding"),
        (b"a,b\n\x80\x81\xfe\xff,\xff\xff\n", "unknown_encoding"),
        (codecs.BOM_UTF8 + "멘트".encode("cp949"), "unknown_encoding"),
        (codecs.BOM_UTF32_LE + "멘트".encode("utf-32-le"), "unknown_encoding"),
        (b"\0" * 1000, "unknown_encoding"),
        (b"a" * (20 * 2**20 + 1), "too_large"),
    ],
)
def test_what_is_no_text_gets_a_clear_answer(data: bytes, code: str) -> None:
    with pytest.raises(SheetError) as caught:
        read_table(data)
    assert caught.value.code == code


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        table = read_table(data)
        read_lines(table, find_layout(table))
    except SheetError as error:
        assert error.code and str(error)
