"""Long readings come in parts that fit a breath and lose nothing."""

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text import Pause, Reading, normalize, split
from app.text.split import COMMA, LINE, PARAGRAPH, SENTENCE

settings.register_profile("text", deadline=None, max_examples=100)
settings.load_profile("text")


def test_a_short_line_is_one_part_and_ends_in_silence_of_nobody() -> None:
    (part,) = split(normalize("보험료는 1,000원입니다."))
    assert (part.text, part.pause, part.rate) == ("보험료는 천 원입니다.", 0.0, 1.0)


def test_sentences_are_packed_and_pauses_follow_the_punctuation() -> None:
    sentence = "안내를 끝까지 들으신 다음 번호를 눌러 주십시오."
    parts = split(normalize(" ".join([sentence] * 8)))
    assert [part.text.count(".") for part in parts] == [3, 3, 2]
    assert [part.pause for part in parts] == [SENTENCE, SENTENCE, 0.0]


def test_line_breaks_always_part() -> None:
    parts = split(normalize("하나\n둘\n\n셋"))
    assert [(part.text, part.pause) for part in parts] == [("하나", LINE), ("둘", PARAGRAPH), ("셋", 0.0)]


def test_a_long_sentence_is_parted_at_commas_before_spaces() -> None:
    long = "가" * 30 + " " + "나" * 30 + ", " + "다" * 20 + " " + "라" * 40 + "."
    first, second = split(Reading(long, long))
    assert first.text.endswith("나,") and first.pause == COMMA
    assert second.text.startswith("다")


def test_sentences_without_marks_are_found() -> None:
    text = (
        "고객님의 요청이 정상적으로 접수되었습니다 담당자가 내용을 확인한 뒤 이틀 안에 연락을 드리겠습니다 "
        "급하신 경우에는 홈페이지에서 진행 상황을 바로 확인하실 수 있습니다 이용해 주셔서 감사합니다"
    )
    parts = split(normalize(text))
    assert len(parts) == 2
    assert parts[0].text.endswith("드리겠습니다")


def test_no_part_ends_within_a_number() -> None:
    line = (
        "고객님께서 신청하신 상품의 총 결제 예정 금액은 부가가치세를 포함하여 모두 합해 1,234,567,890원이고 "
        * 3
    )
    reading = normalize(line)
    edges = {part.end for part in split(reading)}
    for span in reading.trace:
        assert not any(span.spoken_start < edge < span.spoken_end for edge in edges)


def test_markup_pauses_and_rates_part() -> None:
    reading = normalize(
        '<speak>첫째<break time="1500ms"/>둘째 <prosody rate="80%">천천히</prosody> 끝<break time="2s"/></speak>'
    )
    assert [(part.text, part.pause, part.rate) for part in split(reading)] == [
        ("첫째", 1.5, 1.0),
        ("둘째", 0.0, 1.0),
        ("천천히", 0.0, 0.8),
        ("끝", 2.0, 1.0),
    ]


def test_signs_alone_are_no_part() -> None:
    text = "안녕하세요" + "?" * 150 + "\n...\n\n반갑습니다.\n---"
    parts = split(Reading(text, text))
    assert [(part.text.rstrip("?."), part.pause) for part in parts] == [
        ("안녕하세요", 0.9),
        ("반갑습니다", 0.0),
    ]
    assert [part.text for part in split(Reading("...", "..."))] == ["..."]


@given(st.text("가나다라 .,?!\n하고 며 니다", max_size=600), st.lists(st.integers(0, 600), max_size=3))
def test_parts_fit_and_lose_nothing(text: str, places: list[int]) -> None:
    plain = normalize(text).text
    pauses = tuple(Pause(place, 1.0) for place in sorted({place for place in places if place <= len(plain)}))
    parts = split(Reading(plain, plain, pauses=pauses))
    position = 0
    for part in parts:
        assert 0 < len(part.text) <= 90
        assert plain[part.start : part.end] == part.text
        assert not any(map(str.isalnum, plain[position : part.start]))
        position = part.end
    assert not any(map(str.isalnum, plain[position:]))
    if any(map(str.isalnum, plain)):
        assert all(any(map(str.isalnum, part.text)) for part in parts)


@pytest.mark.parametrize("text", ["가" * 5_000, "안내 삼 번 " * 2_000, "가, " * 3_000])
def test_long_texts_are_parted_too(text: str) -> None:
    assert all(len(part.text) <= 90 for part in split(Reading(text, text)))


def test_kiwipiepy_is_loaded_only_for_texts_that_need_it() -> None:
    program = (
        "import sys; from app.text import normalize, split; split(normalize('안내는 3번입니다. ' * 50));"
        "print('kiwipiepy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_marks_without_an_end_take_no_longer_than_their_number() -> None:
    reading = Reading("", "!" * 20_000 + "가")
    began = time.process_time()
    assert split(reading)
    assert time.process_time() - began < 2
