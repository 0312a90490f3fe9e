"""A user's own readings."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text import Entry, Lexicon, LexiconError, UnclearText, normalize
from app.text.lexicon import PLS

settings.register_profile("text", deadline=None, max_examples=100)
settings.load_profile("text")

FORM = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
LEXICONS = st.dictionaries(FORM, FORM, max_size=8).map(lambda table: Lexicon.of(table.items()))


def test_entries_go_before_every_rule_and_the_longest_wins() -> None:
    lexicon = Lexicon.of([("GX", "단체 운동"), ("GX룸", "지엑스 룸"), ("3번", "셋째"), ("모카", "모오카")])
    assert normalize("GX룸과 GX를 3번 모카에서", lexicon).text == "지엑스 룸과 단체 운동을 셋째 모오카에서"


def test_entries_are_not_seen_in_longer_words_and_numbers() -> None:
    lexicon = Lexicon.of([("AI", "인공 지능"), ("10", "열")])
    assert normalize("AIR 100명, AI 10", lexicon).text == "에어 백 명, 인공 지능 열"


def test_an_entry_makes_an_unclear_word_clear() -> None:
    with pytest.raises(UnclearText) as failed:
        normalize("Zorblaxian 창구입니다.").require_clear()
    (item,) = failed.value.unclear
    assert (item.start, item.end, item.written) == (0, 10, "Zorblaxian")
    assert item.suggestion
    lexicon = Lexicon.of([(item.written, "조블랙시안")])
    assert normalize("Zorblaxian 창구입니다.", lexicon).require_clear().text == "조블랙시안 창구입니다."
    assert normalize("Zorblaxian 창구입니다.", best_effort=True).require_clear().unclear == ()


def test_entries_may_be_spoken_with_digits() -> None:
    assert normalize("본관으로", Lexicon.of([("본관", "1동 본관")])).text == "일 동 본관으로"


def test_merging_lets_the_later_one_win() -> None:
    first, second = Lexicon.of([("가", "나"), ("다", "라")]), Lexicon.of([("가", "하")])
    assert first.merged(second) == Lexicon.of([("가", "하"), ("다", "라")])


@given(LEXICONS)
def test_csv_and_pls_bring_back_what_they_were_given(lexicon: Lexicon) -> None:
    assert Lexicon.from_pls(lexicon.to_pls()) == lexicon
    if all(entry.written.lower() != "written" for entry in lexicon.entries):
        assert Lexicon.from_csv(lexicon.to_csv()) == lexicon


def test_csv_from_a_spreadsheet() -> None:
    assert Lexicon.from_csv('\ufeffwritten,spoken\r\n"가,나",다\r\n\r\nB, 비 \r\n').entries == (
        Entry("가,나", "다"),
        Entry("B", "비"),
    )


@pytest.mark.parametrize("text", ["가\n", '"가,나\n', "가,나\n가,다\n", ",나\n", "가" * 201 + ",나\n"])
def test_broken_csv_is_refused(text: str) -> None:
    with pytest.raises(LexiconError):
        Lexicon.from_csv(text)


@pytest.mark.parametrize(
    "text",
    [
        "<lexicon/>",
        "<lexicon",
        f'<lexicon version="1.0" xmlns="{PLS}"><lexeme><grapheme>가</grapheme></lexeme></lexicon>',
        f'<lexicon version="1.0" xmlns="{PLS}"><lexeme><grapheme>가</grapheme><phoneme>ka</phoneme></lexeme></lexicon>',
        f'<!DOCTYPE l [<!ENTITY a "가">]><lexicon version="1.0" xmlns="{PLS}"/>',
        f'<!DOCTYPE l SYSTEM "file:///etc/passwd"><lexicon version="1.0" xmlns="{PLS}"/>',
    ],
)
def test_broken_and_hostile_pls_is_refused(text: str) -> None:
    with pytest.raises(LexiconError):
        Lexicon.from_pls(text)
