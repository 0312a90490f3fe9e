"""Times of day: 09:00~18:00, 오후 2:30, 2024-01-15T22:00."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.rules.calendar import ISO, spoken_date
from app.text.scan import Cursor, Hit

_TIME = r"([01]?[0-9]|2[0-4]):([0-5][0-9])(?::([0-5][0-9])(?:\.[0-9]+)?)?(?![0-9:]|,[0-9]{3})"
TIME = re.compile(_TIME + r"(?: ?([AaPp])\.?[Mm]\.?(?![A-Za-z]))?")
_HALF = re.compile(r"(?P<half>오전|오후|낮|밤|새벽|아침|저녁|[AaPp][Mm])? ?")
_DATE_NEXT = re.compile(r"(?:[0-9]{4}[-./년] ?)?[0-9]{1,2}[-./월] ?[0-9]{1,2}|[0-9]{1,2}일")
_LATER_DATE = re.compile(
    r"~ ?(?:(?:[0-9]{4}[-./년] ?)?[0-9]{1,2}[-./월] ?[0-9]{1,2}[.일]?|[0-9]{1,2}일)"
    r"(?: ?\([월화수목금토일]\))? ?$"
)
_TILDE = re.compile(r" ?~ ?")
ENGLISH_HALVES = {"AM": "오전", "PM": "오후", "am": "오전", "pm": "오후"}
_ENGLISH_HALF = re.compile(r"([AaPp])\.?[Mm]\.? ?(?=[0-9]{1,2}(?::[0-9]{2}|시))")
_ENGLISH_RANGE = re.compile(
    r"([AaPp])[Mm] ?(1[0-2]|[1-9])시? ?[~-] ?([AaPp])[Mm] ?(1[0-2]|[1-9])(?:시|(?![0-9:.시]))"
)
_SEP = re.compile(r" ?[~-] ?")
_RATIO = re.compile(
    r"(?:비율|비|경쟁률|스코어|점수|화면비|세트|경기|대결|승부|화면|전반|후반)(?:은|는|이|가|에서)? ?$"
)
_MIXED = re.compile(r"(?:으로|로|의)? ?(?:비율|섞|희석|혼합|배합|타서|나누|나눠|비로)")
_NAMED = re.compile(r"분(?!간|당)|시(?![가-힣])|시(?=까지|부터|에)")  # 20:15분, 21:00시
_HOUR_AND_HALF = re.compile(r"(1[0-2]|[1-9]) ?([AaPp])\.?[Mm]\.?(?![A-Za-z])")
_HOUR = re.compile(r"([0-9]{1,2})시(?![가-힣]| ?[0-9])")  # 평일 ~18시
_ENDS = re.compile(r" ?(?:까지|사이)")
_MOMENT = re.compile(ISO + r"(?:T| )" + _TIME + r"(?:Z|\+09:?00)?")
_HOUR_RANGE = re.compile(
    r"([0-9]{1,2})(?:시(?: ?([0-9]{1,2})분)?)? ?[~-] ?(오전|오후|낮|밤|새벽|저녁|익일|다음 ?날)? ?([0-9]{1,2})시(?!간|스템|리즈)(?: ?([0-9]{1,2})분)?"
)


def spoken_time(hour: int, minute: int, second: str | None = None, half: str = "") -> str:
    """A time of day; hours to 12 are native, later and zero ones Sino-Korean."""
    if half == "오후" and 12 < hour <= 23:
        hour -= 12
    parts = [f"{numbers.native(hour) if 1 <= hour <= 12 else numbers.sino(hour)} 시"]
    if minute:
        parts.append(f"{numbers.sino(minute)} 분")
    if second and int(second):
        parts.append(f"{numbers.sino(second)} 초")
    return " ".join(parts)


def _half_before(before: str) -> str:
    match = re.search(r"(오전|오후|낮|밤|새벽|아침|저녁) ?$", before)
    return match[1] if match else ""


def _of(match: re.Match[str], offset: int = 0, half: str = "") -> str:
    hour, minute, second = match[offset + 1], match[offset + 2], match[offset + 3]
    return spoken_time(int(hour), int(minute), second, half)


def _english_half(match: re.Match[str]) -> str:
    return "" if not match[4] else "오전" if match[4] in "aA" else "오후"


def time(cursor: Cursor) -> Hit | None:
    text = cursor.text
    hours = cursor.match(_HOUR_RANGE)
    if hours and int(hours[1]) <= 24 and int(hours[4]) <= 24:
        left = spoken_time(int(hours[1]), int(hours[2] or 0), half=_half_before(cursor.before()))
        right = spoken_time(int(hours[4]), int(hours[5] or 0), half=hours[3] or "")
        return _between(cursor, hours.end(), left, f"{hours[3]} {right}" if hours[3] else right)
    until = cursor.match(_HOUR)
    if until and int(until[1]) <= 24 and cursor.before(2) == " ~" and not _ENDS.match(text, until.end()):
        return Hit(until.end(), f"{spoken_time(int(until[1]), 0)}까지", "time", "open range")
    match = cursor.match(TIME)
    if not match or _RATIO.search(cursor.before()) or _MIXED.match(text, match.end()):
        return _clock_with_half(cursor)
    half = _half_before(cursor.before())
    english = _english_half(match)
    spoken = _of(match, half=half or english)
    if english:
        spoken = f"{english} {spoken}"
    sign = _SEP.match(text, match.end())
    if sign:
        word = _HALF.match(text, sign.end())
        start = word.end() if word else sign.end()
        next_day = re.compile(r"(?:익일|다음 ?날|명일) ?(?:오전|오후|새벽)? ?").match(text, sign.end())
        start = next_day.end() if next_day else start
        second = TIME.match(text, start)
        if second:
            later = next_day.group().strip() if next_day else (word["half"] or "") if word else ""
            later = ENGLISH_HALVES.get(later, later)
            english = _english_half(second)
            right = _of(second, half=later or english)
            lead = later or english
            return _between(cursor, second.end(), spoken, f"{lead} {right}" if lead else right)
        if sign.group().strip() == "~" and (
            not text[sign.end() : sign.end() + 1].isdigit() or _DATE_NEXT.match(text, sign.end())
        ):
            return Hit(sign.end(), f"{spoken}부터 ", "time", "open range")
    if (cursor.previous() == "~" or _LATER_DATE.search(cursor.before(28))) and not _ENDS.match(
        text, match.end()
    ):
        spoken += "까지"
    named = _NAMED.match(text, match.end())
    return Hit(named.end() if named else match.end(), spoken, "time", "clock")


def _between(cursor: Cursor, end: int, left: str, right: str) -> Hit:
    text = cursor.text
    if _ENDS.match(text, end):
        if text[end : end + 3].strip().startswith("사이"):
            return Hit(end, f"{left}에서 {right}", "time", "range")
        return Hit(end, f"{left}부터 {right}", "time", "range")
    if text.startswith(("에 ", "에는", "에만"), end):
        return Hit(end, f"{left}에서 {right}", "time", "range")
    return Hit(end, f"{left}부터 {right}까지", "time", "range")


def _clock_with_half(cursor: Cursor) -> Hit | None:
    """2PM, 10 a.m., 9AM-6PM."""
    match = cursor.match(_HOUR_AND_HALF)
    if not match:
        return None
    sign = _SEP.match(cursor.text, match.end())
    later = _HOUR_AND_HALF.match(cursor.text, sign.end()) if sign else None
    if later:
        return _between(cursor, later.end(), _with_half(match), _with_half(later))
    return Hit(match.end(), _with_half(match), "time", "clock")


def _with_half(match: re.Match[str]) -> str:
    return f"{'오전' if match[2] in 'aA' else '오후'} {spoken_time(int(match[1]), 0)}"


def moment(cursor: Cursor) -> Hit | None:
    """Date and time together, as machines write them."""
    match = cursor.match(_MOMENT)
    if not match or "T" not in match.group():
        return None
    date = spoken_date(match[1], match[2], match[3])
    if not date:
        return None
    spoken = f"{date} {_of(match, 3)}"
    sign = _TILDE.match(cursor.text, match.end())
    later = _MOMENT.match(cursor.text, sign.end()) if sign else None
    if later:
        day = spoken_date(later[1], later[2], later[3])
        return _between(cursor, later.end(), spoken, f"{day} {_of(later, 3)}")
    clock = TIME.match(cursor.text, sign.end()) if sign else None
    if clock:
        return _between(cursor, clock.end(), spoken, _of(clock))
    return Hit(match.end(), spoken, "date", "moment")


def english_half(cursor: Cursor) -> Hit | None:
    """AM 9:00, PM 8시, AM9~PM6."""
    hours = cursor.match(_ENGLISH_RANGE)
    if hours:
        left, right = (
            f"{'오전' if hours[i] in 'aA' else '오후'} {spoken_time(int(hours[i + 1]), 0)}" for i in (1, 3)
        )
        return _between(cursor, hours.end(), left, right)
    match = cursor.match(_ENGLISH_HALF)
    return (
        Hit(match.end(), "오전 " if match[1] in "aA" else "오후 ", "time", "half of the day")
        if match
        else None
    )
