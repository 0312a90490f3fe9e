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
    ("text", "written"),
    [
        ("{고객명}님, #{고객명}님, ${name}님", ["{고객명}", "#{고객명}", "${name}"]),
        ("{{name}}님 {}님 {0}님", ["{{name}}", "{}", "{0}"]),
        ("[고객명]님 <고객명> 고객님 [[날짜]]에 (이름)님", ["[고객명]", "<고객명>", "[[날짜]]", "(이름)"]),
        ("%s님 %1$s님 %d건 %고객명%님", ["%s", "%1$s", "%d", "%고객명%"]),
        ("OOO님 ○○○님 ㅇㅇㅇ님 xxx님 ○○은행", ["OOO", "○○○", "ㅇㅇㅇ", "xxx", "○○"]),
        ("O월 X일, 00월 00일, 000 고객님", ["O", "X", "00", "00", "000"]),
        ("제○○회, (주)OO, 제00조", ["○○", "OO", "00"]),
        ("010-XXXX-XXXX, ____님, ***님", ["010-XXXX-XXXX", "____", "***"]),
    ],
)  # fmt: skip
def test_unfilled_placeholders_are_reported(text: str, written: list[str]) -> None:
    unclear = normalize(text).unclear
    assert [item.written for item in unclear] == written
    assert all("unfilled placeholder" in item.why for item in unclear)


@pytest.mark.parametrize(
    "text",
    [
        "홍○○님, 김OO 고객님, 홍*동님", "[이름]과 [연락처]를 남기", "설정 → 버튼, ↑↓ 버튼", "[안내] <주의> (평일) [속보]", "[주문번호]를 입력", "5%~10%, 10%할인 20%적립",
        "00:00~24:00, 00시 00분", "000-0000-0000", "OX 퀴즈 XL", "○ 안내 ● 공지", "1,2번 3, 4번 1,2층 5,10만원 10,20대",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_slip_is_clear(text: str) -> None:
    assert normalize(text).unclear == ()


@pytest.mark.parametrize(
    ("text", "written", "suggestion"),
    [
        ("1,2000원", "1,2000", "만 이천"),
        ("125,00원", "125,00", "만 이천오백"),
        ("12,34원", "12,34", "천이백삼십사"),
        ("1 ,000원", "1 ,000", "천"),
        ("1, 000원", "1, 000", "천"),
        ("1,00,000원", "1,00,000", "십만"),
        ("1,2000명", "1,2000", "만 이천"),
        ("10.000원", "10.000", "만"),
        ("환율↑", "↑", ""),
        ("▼3.2% 마감", "▼", ""),
        ("합계 △1,234원", "△", ""),
        ("10^2", "^", ""),
    ],
)
def test_mistyped_amounts_and_lone_arrows_are_reported(text: str, written: str, suggestion: str) -> None:
    (item,) = normalize(text).unclear
    assert (item.written, item.suggestion) == (written, suggestion)


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
        ("예약은 ①번, 취소는 ❷번", "예약은 일 번, 취소는 이 번"),
        ("① 신분증 ② 통장 ㉑ 도장", "일, 신분증, 이, 통장, 이십일, 도장"),
        ("①~③번, ①과 ②를 비교", "일에서 삼 번, 일과 이를 비교"),
        ("제 3자, 제 1항, 법제2조제3항", "제삼 자, 제일 항, 법제이 조 제삼 항"),
        ("결제 3건, 어제 3명", "결제 세 건, 어제 세 명"),
        ("가격 10%↓, 3%▲, ↓ 아래층", "가격 십 퍼센트 하락, 삼 퍼센트 상승, 아래층"),
    ],
)  # fmt: skip
def test_announcements(written: str, spoken: str) -> None:
    assert normalize(written).text == spoken
