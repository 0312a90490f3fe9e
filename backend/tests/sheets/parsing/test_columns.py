from __future__ import annotations

import time

import pytest

from app.sheets.parsing import FIELDS, SheetError, find_layout, read_table
from app.sheets.parsing.columns import word_of


def fields(head: str, chosen: dict[str, str] | None = None) -> dict[str, str | None]:
    layout = find_layout(read_table(f"{head}\n{','.join('x' for _ in head.split(','))}\n".encode()), chosen)
    return {column.heading: column.field for column in layout.columns}


@pytest.mark.parametrize(
    "head",
    [
        "멘트코드,멘트,성우,속도,쉼,파일명,경로,비고",
        "코드,문구,음성,배속,휴지,파일이름,폴더,메모",
        "code,text,voice,speed,pause,file name,path,note",
        " Script Code , Prompt_Text,Speaker,RATE,Silence,FileName,Directory,Remarks",
        "멘트 코드*,안내 멘트 (필수),목소리,속도(배),쉼[초],파일명,저장 경로,참고",
    ],
)
def test_headings_are_known_in_both_languages(head: str) -> None:
    assert list(fields(head).values()) == list(FIELDS)


def test_the_surest_heading_of_two_wins_and_the_other_is_kept() -> None:
    assert fields("번호,멘트코드,내용,멘트") == {
        "번호": None, "멘트코드": "code", "내용": None, "멘트": "text",
    }  # fmt: skip
    assert fields("번호,내용") == {"번호": "code", "내용": "text"}


def test_what_is_not_known_is_kept() -> None:
    assert fields("코드,멘트,담당 부서")["담당 부서"] is None


def test_a_choice_corrects_the_guess() -> None:
    assert fields("코드,멘트,말", {"말": "text", "멘트": "ignore"}) == {
        "코드": "code", "멘트": None, "말": "text",
    }  # fmt: skip
    assert fields("이름,말", {"이름": "code", "말": "text"}) == {"이름": "code", "말": "text"}


@pytest.mark.parametrize(
    ("chosen", "code"),
    [
        ({"없음": "text"}, "unknown_heading"),
        ({"멘트": "words"}, "unknown_field"),
        ({"코드": "text", "멘트": "text"}, "unknown_field"),
        ({"멘트": "ignore"}, "no_text_column"),
    ],
)
def test_a_wrong_choice_is_refused(chosen: dict[str, str], code: str) -> None:
    with pytest.raises(SheetError) as caught:
        fields("코드,멘트", chosen)
    assert caught.value.code == code


def test_titles_above_the_headings_are_kept_and_not_taken_for_headings() -> None:
    layout = find_layout(
        read_table("대표번호 안내 멘트 목록\n작성일,2026-01-01\n코드,멘트\n1,하나\n".encode())
    )
    assert layout.heading_row == 3
    assert layout.above == (("대표번호 안내 멘트 목록",), ("작성일", "2026-01-01"))


def test_an_announcement_that_sounds_like_headings_is_none() -> None:
    find_layout(read_table("코드,멘트,비고\n1,코드를 입력해 주세요.,멘트\n2,메모,\n".encode()))


def test_words_are_compared_without_case_signs_and_units() -> None:
    assert {word_of(each) for each in ("파일 명", "파일_명", "〔파일명〕".strip("〔〕"), "파일명(영문)")} == {
        "파일명"
    }


def test_no_cell_takes_longer_than_its_length_to_compare() -> None:
    began = time.process_time()
    for cell in ("(" * 10_000, "(" * 200, "가" * 10_000):
        assert all(word_of(cell) in ("", cell) for _ in range(500))
    assert time.process_time() - began < 2
