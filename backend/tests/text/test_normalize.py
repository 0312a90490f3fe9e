"""The reading as a value: its trace, what is unclear, and what lines of announcements say."""

import pytest

from app.text import UnclearText, normalize


def test_the_trace_says_what_was_read_how_and_why() -> None:
    reading = normalize("예약금은 3,000원이며 20개 한정입니다.")
    money, counter = reading.trace
    assert (money.written, money.spoken, money.kind) == ("3,000원", "삼천 원", "money")
    assert (counter.start, counter.end, counter.kind) == (14, 17, "counter_native")
    assert counter.alternatives == ("이십 개",)
    assert reading.text[counter.spoken_start : counter.spoken_end] == "스무 개"


def test_guesses_are_reported_with_their_place_and_a_proposal() -> None:
    reading = normalize("大人은 Blorvex로")
    assert [(item.start, item.end, item.written) for item in reading.unclear] == [
        (0, 2, "大人"),
        (4, 11, "Blorvex"),
    ]
    assert "Blorvex" not in reading.text
    with pytest.raises(UnclearText, match="'Blorvex' at 4"):
        reading.require_clear()
    assert normalize("大人은 Blorvex로", best_effort=True).unclear == ()


def test_clear_readings_pass() -> None:
    reading = normalize("ARS는 1번입니다.")
    assert reading.require_clear() is reading


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("기간: 2026. 5. 1.(금) 10:00 ~ 5. 31.(일) 18:00",
         "기간, 이천이십육 년 오월 일 일 금요일 열 시부터 오월 삼십일 일 일요일 십팔 시까지"),
        ("보증금 1억원 / 월 80만원", "보증금 일억 원, 월 팔십만 원"),
        ("그림 5점, 100점 만점에 95점", "그림 다섯 점, 백 점 만점에 구십오 점"),
        ("인증번호 [492831]를 입력", "인증번호, 사구이팔삼일을 입력"),
        ("B1~B3층 주차장, B2 주차장", "지하 일 층에서 지하 삼 층 주차장, 지하 이 층 주차장"),
        ("1) 신청서 2) 신분증", "일, 신청서, 이, 신분증"),
        ("≥ 65세, < 18세", "육십오 세 이상, 십팔 세 미만"),
        ("3만원↑ 무료배송", "삼만 원 이상 무료배송"),
        ("A+ 등급, AA-", "에이 플러스 등급, 에이에이 마이너스"),
        ("제1여객터미널 6-1번 버스", "제일 여객터미널 육 다시 일번 버스"),
        ("컵 2, 3개와 2, 3층", "컵 두세 개와 이, 삼 층"),
        ("(주)카카오, 한빛(주)", "주식회사 카카오, 한빛 주식회사"),
        ("서울→부산", "서울에서 부산"),
        ("A → B → C", "에이, 비, 시"),
        ("😀 안녕하세요~ ㅎㅎ", "안녕하세요"),
        ("㉠, ㉮, ⑳", "기역, 가, 이십,"),
    ],
)  # fmt: skip
def test_announcements(written: str, spoken: str) -> None:
    assert normalize(written).text == spoken
