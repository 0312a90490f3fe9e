"""Ratios, scores, sizes and other numbers with a form of their own."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.rules.measures import MONTHS
from app.text.scan import Cursor, Hit
from app.text.tables import counters

_RATIO = re.compile(
    r"([0-9]{1,4}(?:\.[0-9])?) ?: ?([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,4}(?:\.[0-9])?)(?: ?: ?([0-9]{1,4}(?:\.[0-9])?))?(?![0-9:])"
)
_SCORE = re.compile(
    r"([0-9]{1,2})-([0-9]{1,2})(?=(?:으?로)? ?(?:승리|완승|승(?![강객차])|패배|무승부|이겼|졌|앞서|역전|뒤집|동점))"
)
_SCORED = re.compile(r"(?:스코어|점수|결과)(?:는|은|가|이|로)? ?$")
_GOALS = re.compile(r"([0-9]{1,2})-([0-9]{1,2})(?![0-9-])")
_VERSUS = re.compile(
    r"([0-9]{1,3}) ?대 ?([0-9]{1,3})(?: ?대 ?([0-9]{1,3}))?(?![0-9,])"
    r"(?=$|[^가-힣0-9]|로|의|으로|은|는|이|가|입|을|를|과|와|까지|맞춤|상담|동점|매칭|승|역전|에|인|교환|비율)"
)
_ADDRESSED = re.compile(r"(?:IP|아이피|주소|서버|게이트웨이|DNS)[가-힣 :]{0,8}$")
_EVENT = re.compile(
    r"([0-9]{1,2})·([0-9]{1,2})"
    r"(?= ?(?:운동|사건|혁명|항쟁|전쟁|사태|민주화|군사|만세|의거|참사|테러|선언|합의))"
)
_IP = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])")
_PRIMES = re.compile(r"([0-9]{1,2})'([0-5][0-9])\"")
_MONTHS = re.compile(r"[0-9]{1,2}(?:[·,] ?[0-9]{1,2}){1,5}월(?!드)")
_WEEKS = re.compile(r"[1-5](?:[·,] ?[1-5]){0,3}째 ?(?=주)")
_WEEK_NAMES = ("", "첫째", "둘째", "셋째", "넷째", "다섯째")
_TIMES = re.compile(
    r"([0-9]{1,5}(?:\.[0-9]+)?) ?[xX*×] ?([0-9]{1,5}(?:\.[0-9]+)?)(?: ?[xX*×] ?([0-9]{1,5}(?:\.[0-9]+)?))?(?![0-9])"
)


_MULTIPLIED = re.compile(r"[xX*×] ?(?=[0-9])")
_MEASURED = re.compile(r"[0-9] ?(?:[A-Za-z]{1,3}|[가-힣]{1,3}|[㎖㎏㎝㎜]) ?$")


def ratio(cursor: Cursor) -> Hit | None:
    """1:1, 3:2, 3대 2, 16:9."""
    match = cursor.match(_RATIO) or cursor.match(_VERSUS) or cursor.match(_SCORE)
    if not match and _SCORED.search(cursor.before()):
        match = cursor.match(_GOALS)
    if not match:
        return None
    spoken = " 대 ".join(numbers.spoken(group) for group in match.groups() if group)
    if "대" in match.group() and (
        counters()[0].longest(cursor.text, match.end()) and cursor.text[match.end()] not in "로승이"
    ):
        return None
    if spoken == "일 대 일":
        spoken = "일대일"
    return Hit(match.end(), spoken, "number_expr", "ratio")


def multiplied(cursor: Cursor) -> Hit | None:
    """The x of 500ml x 20개 and 10만원*12개월."""
    match = cursor.match(_MULTIPLIED)
    if not match or not _MEASURED.search(cursor.before(10)):
        return None
    return Hit(match.end(), " 곱하기 ", "number_expr", "times")


def special_number(cursor: Cursor) -> Hit | None:
    """Internet addresses by number, sizes with ×, months and weeks in a row, days that name an event (12·12)."""
    match = cursor.match(_IP)
    if match and _ADDRESSED.search(cursor.before()):
        spoken = " 점 ".join(map(numbers.digits, match.group().split(".")))
        return Hit(match.end(), spoken, "electronic", "ip")
    match = cursor.match(_TIMES)
    if match and re.search(r"[xX×]", match.group()):  # the last number has a unit, and is read with it
        groups = [group for group in match.groups() if group]
        spoken = "".join(f"{numbers.spoken(group)} 곱하기 " for group in groups[:-1])
        return Hit(match.end() - len(groups[-1]), spoken, "number_expr", "times")
    match = cursor.match(_PRIMES)
    if match:
        spoken = f"{numbers.sino(match[1])} 분 {numbers.sino(match[2])} 초"
        return Hit(match.end(), spoken, "time", "minutes and seconds")
    match = cursor.match(_MONTHS)
    months = [int(month) for month in re.findall("[0-9]+", match.group())] if match else []
    if match and all(1 <= month <= 12 for month in months):
        return Hit(match.end(), ", ".join(MONTHS[month] for month in months), "date", "months")
    match = cursor.match(_WEEKS)
    if match:
        weeks = ", ".join(_WEEK_NAMES[int(week)] for week in re.findall("[1-5]", match.group()))
        return Hit(match.end(), f"{weeks} ", "date", "weeks of a month")
    match = cursor.match(_EVENT)
    if match:
        day = numbers.sino(match[2]) if match[2] in ("10", match[1]) else numbers.digits(match[2])
        return Hit(match.end(), numbers.sino(match[1]) + day, "date", "event")
    return None
