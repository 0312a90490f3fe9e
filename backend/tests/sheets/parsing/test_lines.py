from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from app.sheets.parsing import Line, Problem, SheetError, find_layout, read_lines, read_table
from app.sheets.parsing.lines import read_pause, read_speed


def read(text: str, values: str | None = None) -> tuple[list[Line], list[Problem]]:
    table = read_table(text.encode(), values.encode() if values else None)
    lines, problems, _ = read_lines(table, find_layout(table))
    return lines, problems


def test_every_field_of_a_line() -> None:
    (line,), problems = read(
        "멘트코드,멘트,성우,속도,쉼,파일명,경로,비고,부서\nA1, 안녕하세요. ,김하늘,1.2배,0.5초,hello.wav,ivr/main,메모,영업\n"
    )
    assert not problems
    assert (line.row, line.code, line.variant, line.text, line.voice) == (
        2,
        "A1",
        "",
        "안녕하세요.",
        "김하늘",
    )
    assert (line.speed, line.pause, line.file_name, line.path, line.note) == (
        1.2, 0.5, "hello.wav", "ivr/main", "메모",
    )  # fmt: skip
    assert line.cells[1] == " 안녕하세요. " and line.cells[8] == "영업"


@pytest.mark.parametrize(
    ("cell", "speed"), [("1", 1), ("1.25", 1.25), ("0,9", 0.9), ("1.2배", 1.2), ("x1.5", 1.5), ("120%", 1.2)]
)
def test_speeds(cell: str, speed: float) -> None:
    assert read_speed(cell) == pytest.approx(speed)


@pytest.mark.parametrize("cell", ["빠르게", "0.4", "2.1", "300%", "-1", "1초", "nan", "1e9", "٣"])
def test_what_is_no_speed(cell: str) -> None:
    with pytest.raises(ValueError, match="speed"):
        read_speed(cell)


@pytest.mark.parametrize(("cell", "pause"), [("0", 0), ("0.5", 0.5), ("1초", 1), ("2 s", 2), ("300ms", 0.3)])
def test_pauses(cell: str, pause: float) -> None:
    assert read_pause(cell) == pytest.approx(pause)


@pytest.mark.parametrize("cell", ["길게", "61", "-1", "1배", "inf"])
def test_what_is_no_pause(cell: str) -> None:
    with pytest.raises(ValueError, match="pause"):
        read_pause(cell)


def test_each_problem_is_named_by_row_and_column() -> None:
    text = (
        "코드,멘트,속도,쉼\n,글,,\nB,,,\nC,글,빠름,\nD,글,,길게\nE,글,,\nE,다른 글,,\nF,=1+1,,\nG,"
        + "가" * 5001
        + ",,\n"
    )
    lines, problems = read(text)
    assert [line.code for line in lines] == ["E"]
    assert [(each.row, each.column, each.code) for each in problems] == [
        (2, "코드", "no_code"), (3, "멘트", "no_text"), (4, "속도", "bad_speed"), (5, "쉼", "bad_pause"),
        (7, "", "code_twice"), (8, "멘트", "formula"), (9, "멘트", "too_long"),
    ]  # fmt: skip
    assert "Row 6" in problems[4].message


def test_a_file_name_stands_in_for_a_code() -> None:
    lines, _ = read("파일명,멘트\nhello,안녕\n")
    assert lines[0].code == "hello"


def test_variables_make_a_line_a_combination() -> None:
    lines, problems = read(
        "코드,멘트,{고객명},요일,파일명\n1,{고객명}님 {요일}에 뵙겠습니다.,김철수|이영희,월요일|화요일,\n2,없음,,,\n"
    )
    assert not problems
    assert [(line.code, line.variant) for line in lines] == [
        ("1", "김철수 / 월요일"), ("1", "김철수 / 화요일"), ("1", "이영희 / 월요일"), ("1", "이영희 / 화요일"), ("2", ""),
    ]  # fmt: skip
    assert lines[3].text == "이영희님 화요일에 뵙겠습니다."
    assert lines[3].values == {"고객명": "이영희", "요일": "화요일"}


def test_a_variable_is_filled_into_names_too_and_only_once() -> None:
    (line,), _ = read("코드,멘트,이름,파일명,경로\n1,{이름} {이름},{이름},a_{이름},p/{이름}\n")
    assert (line.text, line.file_name, line.path) == ("{이름} {이름}", "a_{이름}", "p/{이름}")


def test_variables_may_be_written_as_in_message_templates() -> None:
    (line,), problems = read("코드,멘트,#{이름},날짜\n1,#{이름}님 {날짜} #1,김철수,월요일\n")
    assert not problems
    assert line.text == "김철수님 월요일 #1"


def test_the_same_code_in_rows_with_different_values() -> None:
    lines, problems = read("코드,멘트,이름\n1,{이름}님,김\n1,{이름}님,이\n")
    assert not problems and [line.variant for line in lines] == ["김", "이"]


def test_a_variable_without_a_value_is_a_problem() -> None:
    lines, problems = read("코드,멘트,이름\n1,{이름}님,\n2,{없음}님,\n")
    assert not lines
    assert [(each.row, each.column, each.code) for each in problems] == [
        (2, "이름", "no_value"), (3, "없음", "no_value")
    ]  # fmt: skip


def test_values_may_come_in_a_second_file() -> None:
    lines, problems = read("코드,멘트,요일\n1,{이름}님 {요일},월|화\n", "code,이름\n1,김\n1,이|박\n")
    assert not problems
    assert [line.text for line in lines] == ["김님 월", "김님 화", "이님 월", "이님 화", "박님 월", "박님 화"]


@pytest.mark.parametrize(
    ("values", "code"),
    [("이름\n김\n", "no_code_column"), ("코드,이름\n1,=1\n", "formula"), ("\n", "empty_sheet")],
)
def test_a_broken_second_file(values: str, code: str) -> None:
    with pytest.raises(SheetError) as caught:
        read("코드,멘트\n1,{이름}님\n", values)
    assert caught.value.code == code


def test_combinations_have_a_limit() -> None:
    many = "|".join(map(str, range(200)))
    with pytest.raises(SheetError) as caught:
        read(f"코드,멘트,가,나,다\n1,{{가}}{{나}}{{다}},{many},{many},{many}\n")
    assert caught.value.code == "too_many_lines"
    rows = "\n".join(f"{number},{{가}},{many}" for number in range(60))
    with pytest.raises(SheetError) as caught:
        read(f"코드,멘트,가\n{rows}\n")
    assert caught.value.code == "too_many_lines"


@pytest.mark.parametrize("read", [read_speed, read_pause])
def test_no_number_takes_longer_than_its_length(read: Callable[[str], float]) -> None:
    began = time.process_time()
    for cell in ("1" * 10_000 + "!", "1," * 5000, "1" + " " * 10_000 + "!"):
        with pytest.raises(ValueError, match="is no"):
            read(cell)
    assert time.process_time() - began < 2
