"""The SSML elements, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text import Lexicon, MarkupError, Pace, Pause, normalize, parse_markup
from tests.text.test_laws import rebuilt

settings.register_profile("text", deadline=None, max_examples=150)
settings.load_profile("text")


@pytest.mark.parametrize(
    ("kind", "written", "spoken"),
    [
        ("telephone", "15881234", "일오팔팔 일이삼사"),
        ("telephone", "031) 123-4567", "공삼일 일이삼 사오육칠"),
        ("digits", "1004", "일공공사"),
        ("cardinal", "1,004", "천사"),
        ("cardinal", "-3.5", "마이너스 삼 점 오"),
        ("sino", "20", "이십"),
        ("native", "20", "스물"),
        ("ordinal", "1", "첫 번째"),
        ("ordinal", "21번째", "스물한 번째"),
        ("date", "2026-06-05", "이천이십육 년 유월 오 일"),
        ("date", "6/5", "유월 오 일"),
        ("time", "13:05", "십삼 시 오 분"),
        ("currency", "42,000", "사만 이천 원"),
        ("currency", "$42", "사십이 달러"),
        ("characters", "AB3가", "에이 비 삼 가"),
    ],
)
def test_say_as(kind: str, written: str, spoken: str) -> None:
    assert normalize(f'<speak><say-as interpret-as="{kind}">{written}</say-as></speak>').text == spoken


def test_native_numbers_fit_the_counter_that_follows() -> None:
    assert normalize('<speak><say-as interpret-as="native">3</say-as> 회</speak>').text == "세 회"


def test_what_is_replaced_takes_its_particles() -> None:
    assert (
        normalize('<speak><sub alias="무역 협회">KITA</sub>은 닫습니다.</speak>').text
        == "무역 협회는 닫습니다."
    )


def test_pauses_and_paces_have_their_place_in_what_is_spoken() -> None:
    reading = normalize('<speak>하나<break time="0.5s"/> 둘 <prosody rate="slow">셋</prosody> 넷</speak>')
    assert reading.text == "하나 둘 셋 넷"
    assert reading.pauses == (Pause(2, 0.5),)
    assert reading.paces == (Pace(5, 6, 0.8),)


def test_the_trace_rebuilds_the_text_from_the_document() -> None:
    text = '<speak>3명 &amp; &#44032; <!-- 말 --> <sub alias="이">가</sub><break/>1,000원</speak>'
    reading = normalize(text)
    assert reading.text == "세 명 앤 가 이천 원" or rebuilt(reading) == reading.text
    assert rebuilt(reading) == reading.text


def test_lexicon_and_markup_work_together() -> None:
    assert normalize("<speak>SSW는</speak>", Lexicon.of([("SSW", "에스에스 공방")])).text == "에스에스 공방은"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("<speak>\n  <audio/></speak>", 2, 3),
        ("<speak>가</sub></speak>", 1, 11),
        ("<speak>가", 1, 9),
        ('<speak>가<break time="1h"/></speak>', 1, 9),
        ('<speak><break time="3600s"/></speak>', 1, 8),
        ('<speak><prosody rate="900%">가</prosody></speak>', 1, 8),
        ("<speak><sub>가</sub></speak>", 1, 8),
        ('<speak>\n<say-as interpret-as="date">13/45</say-as></speak>', 2, 1),
        ('<speak><say-as interpret-as="native">100</say-as></speak>', 1, 8),
        ('<speak><say-as interpret-as="date"><break/></say-as></speak>', 1, 36),
        ('<speak onload="x">가</speak>', 1, 1),
        ("<speak>&nbsp;</speak>", 1, 8),
        ("<speak>" + "<prosody rate='slow'>" * 40 + "</speak>", 1, 323),
    ],
)
def test_broken_markup_names_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(MarkupError) as failed:
        normalize(text)
    assert (failed.value.line, failed.value.column) == (line, column)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE speak [<!ENTITY a "가가가"><!ENTITY b "&a;&a;&a;">]><speak>&b;</speak>',
        '<?xml version="1.0"?><!DOCTYPE speak SYSTEM "file:///etc/passwd"><speak/>',
        '<!DOCTYPE speak [<!ENTITY % x SYSTEM "http://127.0.0.1/">%x;]><speak/>',
    ],
)
def test_entities_are_refused(text: str) -> None:
    with pytest.raises(MarkupError, match="entities"):
        parse_markup(text)


@given(st.text("<>/speakbrut'\"= 3명&;#가!?-", max_size=60))
def test_any_document_is_read_or_refused_with_its_place(inside: str) -> None:
    try:
        reading = normalize(f"<speak>{inside}</speak>")
    except MarkupError as error:
        assert error.line >= 1 and error.column >= 1
    else:
        assert rebuilt(reading) == reading.text
