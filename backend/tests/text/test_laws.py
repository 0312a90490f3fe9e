"""What holds for every text whatever it says."""

import re
import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.text import Reading, normalize
from tests.text.test_cases import CASES, cases

settings.register_profile("text", deadline=None, max_examples=150)
settings.load_profile("text")

SPOKEN = re.compile(r"[가-힣 .,?!\n]*")
ANNOUNCEMENT = st.text(
    st.one_of(
        st.sampled_from(
            "0123456789" * 2 + "년월일시분원개번명대층호호~-/.,:()[]%#*@&+ '\"℃㎡→↑▲·…①❷㉑Ⅱ½$₩{}<>_○"
        ),
        st.sampled_from("가나다을를이은는로까지부터에서"),
        st.sampled_from("abcKTVkgm"),
    ),
    max_size=40,
)
LINES = [written for path in sorted(CASES.glob("*.tsv")) for written, _, _ in cases(path)]


def rebuilt(reading: Reading) -> str:
    """The spoken text, put together from the written one and the trace alone."""
    pieces, position = [], 0
    for span in reading.trace:
        assert span.start >= position and reading.written[span.start : span.end] == span.written
        pieces += [reading.written[position : span.start], span.spoken]
        position = span.end
    return "".join([*pieces, reading.written[position:]])


def check(text: str) -> None:
    reading = normalize(text)
    assert SPOKEN.fullmatch(reading.text), reading.text
    assert rebuilt(reading) == reading.text
    for span in reading.trace:
        assert reading.text[span.spoken_start : span.spoken_end] == span.spoken
    for item in reading.unclear:
        assert text[item.start : item.end] == item.written
    again = normalize(reading.text)
    assert again.text == reading.text


@given(st.text(max_size=60))
@example("\u200b")
@example("\u200b3명")
@example("각")
@example("\ud800")
@example("1²³ ½ ﷺ ㋿ ﬃ ①②")
@example("٣명 ３명 Ⅻ Ⅳ장")
@example("  a  ,  ")
def test_any_text_is_read_and_its_reading_is_final(text: str) -> None:
    check(text)


# Each character that has a meaning; of the ideographs, and of what nobody assigned, the first thousands.
WRITTEN = [
    char
    for char in map(chr, range(sys.maxunicode + 1))
    if char < "\u4000" or (unicodedata.category(char) not in ("Lo", "Co", "Cn", "Cs"))
]


@pytest.mark.parametrize("start", range(0, len(WRITTEN), 2_000))
def test_every_character_is_read_wherever_it_stands(start: int) -> None:
    for char in WRITTEN[start : start + 2_000]:
        check(f"{char} 제{char}번 1{char}2{char}가{char}원")


@given(ANNOUNCEMENT)
@example("8>2제5")
@example("5%↓)")
def test_anything_like_an_announcement_is_read_and_its_reading_is_final(text: str) -> None:
    check(text)


@pytest.mark.parametrize("start", range(0, len(LINES), 100))
def test_every_collected_line_keeps_the_laws(start: int) -> None:
    for line in LINES[start : start + 100]:
        check(line)


@given(st.text("가나다라마바사아자차카타파하각난닫랄맘법옷앙 .,?!", max_size=80))
def test_plain_korean_is_never_changed(text: str) -> None:
    plain = re.sub(r" {2,}", " ", text)
    reading = normalize(plain)
    assert reading.text == plain
    assert reading.trace == ()


@given(st.text(max_size=40), st.sampled_from(["en", "ja", "zh"]))
def test_other_languages_pass_as_they_are(text: str, language: str) -> None:
    assert normalize(text, language=language).text == text


@given(st.text(max_size=40))
def test_reading_is_deterministic(text: str) -> None:
    assert normalize(text) == normalize(text)


HARD = ("1.", "1-", "1,", "1 ", "1~", "1/", "1:", "a.", "a1", "A@", "(", ") ", "~", "- ", "월~", "$1", "→", "= ", "·", "ㅋ", "漢",
        "을(를)", "각", "* ", "\u200b", "#1", "제1조", "2026.1.", "010-", "www.a/", "{", "{{", "○", "0", "00월", "1 ,", "1,000 ,", "①", "5%↑", "▲", "__", "%a", "[[", "@가", "5원~")  # fmt: skip


def steps(text: str) -> int:
    """Python calls and lines that a reading takes: a clock that no busy machine disturbs."""
    count = 0

    def tick(*_: object) -> object:
        nonlocal count
        count += 1
        return tick

    before = sys.gettrace()
    sys.settrace(tick)  # type: ignore[arg-type]
    try:
        normalize(text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("piece", HARD)
def test_work_grows_with_the_length_alone(piece: str) -> None:
    normalize(piece * 4)
    short, long = steps(piece * 100), steps(piece * 400)
    assert long < 4.6 * short + 2000
