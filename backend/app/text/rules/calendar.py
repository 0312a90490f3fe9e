"""Dates: 2026-06-05, 2026. 1. 1., 6/15(월), '26년, ranges and weekdays."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.rules.measures import MONTHS
from app.text.scan import WEEKDAY_TIME, Cursor, Hit
from app.text.tables import cue

ISO = r"((?:19|20)[0-9]{2})-(0?[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01]|[1-9])(?![0-9])"
_DAY = r"(3[01]|[12][0-9]|0?[1-9])"
_MONTH = r"(1[0-2]|0?[1-9])"
_FULL = re.compile(
    rf"((?:1[5-9]|20|21)[0-9]{{2}}) ?([-./]) ?{_MONTH} ?\2 ?{_DAY}(?![0-9])(?:\.(?![0-9])|일)?"
    rf"|((?:19|20)[0-9]{{2}})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])(?![0-9-])"
    rf"|([0-9]{{2}})\. ?(0[1-9]|1[0-2])\. ?(0[1-9]|[12][0-9]|3[01])(?![0-9])\.?"
    rf"|([0-9]{{2}})\. ?{_MONTH}\. ?{_DAY}(?![0-9])\.?(?= ?\([월화수목금토일]\)| ?~ ?[0-9]{{2}}\. ?[0-9]{{1,2}}\. ?[0-9])"
    rf"|(?:(?<=~)|(?<=~ ))([0-9]{{2}})\. ?{_MONTH}\. ?{_DAY}(?![0-9])\.?"
    rf"|((?:19|20)[0-9]{{2}})년 ?{_MONTH}월 ?{_DAY}일(?!간|치|분|째|[차자](?![^가-힣]))"
)
_AMERICAN = re.compile(rf"{_MONTH}/{_DAY}/((?:19|20)[0-9]{{2}})(?![0-9])")
_EUROPEAN = re.compile(rf"{_DAY}/{_MONTH}/((?:19|20)[0-9]{{2}})(?![0-9])")
_MONTHLY = re.compile(r"((?:19|20)[0-9]{2}) ?(?:/|-|\. ?)(1[0-2]|0[1-9])(?:\.(?! ?[0-9])|(?![0-9./-]))")
_MONTHS_OF_YEARS = re.compile(
    rf"((?:19|20)[0-9]{{2}})\. ?{_MONTH}\.? ?~ ?((?:19|20)[0-9]{{2}})\. ?{_MONTH}\.?(?! ?[0-9])"
)
_PARENTHESISED = re.compile(r" ?\(([월화수목금토일])(?:요일)?(?:, ?공휴일)?\)")
_WEEKDAY = re.compile(r" ?\(([월화수목금토일])\)")
_WEEKDAYS = re.compile(r" ?\(([월화수목금토일])([~,·/ ]{1,2}[월화수목금토일]){1,6}\)")
_DAY_AND_TIME = re.compile(WEEKDAY_TIME)
_TILDE = re.compile(r" ?[~-] ?")
_SHORT = re.compile(rf"{_MONTH} ?([/.월]) ?{_DAY}(?:일|\.(?![0-9]))?(?![0-9]|,[0-9]{{3}})")
_DASHED = re.compile(r"(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(?![0-9-])")
_TIME_NEXT = re.compile(r" ?(?:오전|오후|낮|밤|저녁|새벽)? ?[0-9]{1,2}(?::[0-9]{2}|시)")
# 8/15광복절
_NAMED_DAY = re.compile(
    r"[가-힣]{1,6}(?:절|날|일)(?:에[는도만]?|은|는|을|의|이|과|로|까지|부터)?(?:입니다|이며|이고)?(?![가-힣])"
)
_SLASHED = re.compile(rf"{_MONTH}/{_DAY}(?![0-9])")
_DAY_ONLY = re.compile(rf"{_DAY}일?(?![0-9])")
_BEGINS_WITH = r" ?(?:에(?![가-힣])|자(?![가-힣])|[0-9]{1,2}:[0-9]{2}|[0-9]{1,2}시)| ?"
_MONTH_SPAN = re.compile(r"([0-9]{1,2})월? ?[~-] ?([0-9]{1,2})월(?!드)")
_DECADES = re.compile(r"((?:1[0-9]|20)?[0-9]0)(?:년대)? ?~ ?((?:1[0-9]|20)?[0-9]0)년대")
_YEARS = re.compile(r"((?:19|20)[0-9]{2})년? ?[~-] ?((?:19|20)?[0-9]{2})(년도?|학년도)(?!대)")


def _dated(cursor: Cursor) -> bool:
    """Whether the words before say that a day comes."""
    pattern = cue("date_before", "[가-힣]일(?:은|는|이|가)?[ :]{0,2}$|", "(?:은|는|이|가)?[ :]{0,2}$")
    return pattern.search(cursor.before()) is not None


def spoken_date(year: str | None, month: str, day: str | None) -> str | None:
    """이천이십육 년 유월 오 일, or None where there is no such day."""
    number = int(month)
    if not 1 <= number <= 12 or (
        day and not 1 <= int(day) <= (29 if number == 2 else 30 if number in (4, 6, 9, 11) else 31)
    ):
        return None
    parts = [f"{numbers.sino(year)} 년"] if year else []
    parts.append(MONTHS[number])
    if day:
        parts.append(f"{numbers.sino(day)} 일")
    return " ".join(parts)


def _weekday(text: str, end: int) -> tuple[int, str]:
    match = _PARENTHESISED.match(text, end)
    if match:
        return match.end(), f" {match[1]}요일"
    return end, ""


def _one(text: str, position: int) -> tuple[int, str] | None:
    """A full date at a position, with its weekday."""
    match = _FULL.match(text, position)
    spoken = None
    if match:
        groups = [group for group in match.groups() if group and group not in "-./"]
        century = ("20" if int(groups[0]) < 60 else "19") if len(groups[0]) == 2 else ""
        spoken = spoken_date(century + groups[0], groups[1], groups[2])
    else:
        match = _AMERICAN.match(text, position)
        if match:
            spoken = spoken_date(match[3], match[1], match[2])
        else:
            match = _EUROPEAN.match(text, position)
            if match:
                spoken = spoken_date(match[3], match[2], match[1])
    if not match or not spoken:
        return None
    end, weekday = _weekday(text, match.end())
    return end, spoken + weekday


def _partial(text: str, position: int) -> tuple[int, str] | None:
    """The later date of a range, which may leave out year and month."""
    full = _one(text, position)
    if full:
        return full
    match = _DASHED.match(text, position)
    if match:
        return match.end(), spoken_date(None, match[1], match[2]) or ""
    match = _SHORT.match(text, position)
    if match:
        spoken = spoken_date(None, match[1], match[3])
        if spoken:
            end, weekday = _weekday(text, match.end())
            return end, spoken + weekday
    match = _DAY_ONLY.match(text, position)
    if match:
        if text.startswith(("시", "분", "개", ":", "월", "만", "원", "%"), match.end()):
            return None
        end, weekday = _weekday(text, match.end())
        return end, f"{numbers.sino(match[1])} 일{weekday}"
    return None


def _ranged(cursor: Cursor, end: int, spoken: str, rule: str) -> Hit:
    text = cursor.text
    sign = _TILDE.match(text, end)
    if sign and (sign.group() != "-" or _SLASHED.match(text, sign.end())):
        later = _partial(text, sign.end())
        if later:
            stop, right = later
            closing = "" if re.compile(r" ?까지").match(text, stop) else "까지"
            if re.compile(r"일?간|\(?[0-9]").match(text, stop):
                closing = "까지"
            if _TIME_NEXT.match(text, stop):
                closing = ""
            days = _WEEKDAYS.match(text, stop)
            if days:
                stop, right = days.end(), f"{right} {_weekday_list(days.group())}"
                closing = ""
            return Hit(stop, f"{spoken}부터 {right}{closing}", "date", "range")
        if sign.group().strip() == "~" and not text[sign.end() : sign.end() + 1].isdigit():
            return Hit(sign.end(), f"{spoken}부터 ", "date", "open range")
    if (
        cursor.previous() == "~"
        and not text.startswith(("까지", " 까지"), end)
        and not _TIME_NEXT.match(text, end)
    ):
        spoken += "까지"
    return Hit(end, spoken, "date", rule)


def full_date(cursor: Cursor) -> Hit | None:
    text = cursor.text
    found = _one(text, cursor.position)
    if found:
        return _ranged(cursor, found[0], found[1], "full date")
    match = cursor.match(_DECADES)
    if match:
        left, right = numbers.sino(match[1]), numbers.sino(match[2])
        return Hit(match.end(), f"{left}에서 {right} 년대", "date", "decades")
    match = cursor.match(_YEARS)
    if match:
        left, right = numbers.sino(match[1]), numbers.sino(match[2])
        return Hit(match.end(), f"{left} 년에서 {right} {match[3]}", "date", "years")
    match = cursor.match(_MONTHS_OF_YEARS)
    if match:
        left, right = (f"{numbers.sino(match[i])} 년 {MONTHS[int(match[i + 1])]}" for i in (1, 3))
        closing = "" if text.startswith(("까지", " 까지"), match.end()) else "까지"
        return Hit(match.end(), f"{left}부터 {right}{closing}", "date", "months")
    match = cursor.match(_MONTHLY)
    if match and (
        (int(match[1]) > 1990 and "-" not in match.group())
        or re.search(r"(?:월|일|기간|년월)[ :]*$", cursor.before(4))
    ):
        return Hit(
            match.end(), f"{numbers.sino(match[1])} 년 {MONTHS[int(match[2])]}", "date", "year and month"
        )
    return None


def month_and_day(cursor: Cursor) -> Hit | None:
    """6/15(월), 6.1~6.5, 1월 1일~3일, 3~5월."""
    text = cursor.text
    months = cursor.match(_MONTH_SPAN)
    if months and 1 <= int(months[1]) <= 12 and 1 <= int(months[2]) <= 12:
        left, right = MONTHS[int(months[1])], MONTHS[int(months[2])]
        return Hit(months.end(), f"{left}에서 {right}", "date", "months")
    match = cursor.match(_SHORT)
    if not match:
        return None
    spoken = spoken_date(None, match[1], match[3])
    if not spoken:
        return None
    end, weekday = _weekday(text, match.end())
    sign = _TILDE.match(text, end)
    later = _SHORT.match(text, sign.end()) if sign else None
    if match[2] == "월":
        if not match.group().endswith("일") and not (sign and sign.group().strip() == "~"):
            return None
        if text.startswith(("간", "치", "째", "분"), end) and not weekday:
            return None
        return _ranged(cursor, end, spoken + weekday, "month and day")
    both = (
        later is not None
        and later[2] == match[2]
        and not re.match(
            r" ?[%가-힣a-zA-Z㎝㎏]",
            text[later.end() : later.end() + 2].replace("까지", "").replace(" ", "")[:1]
            if not text[later.end() :].startswith(("까지", "에", " ", "(", "."))
            else "",
        )
    )
    certain = bool(weekday) or both
    if (
        match[2] == "/"
        and later
        and not weekday
        and int(match[1]) < int(match[3]) < 10
        and int(later[1]) < int(later[3]) < 10
        and not _dated(cursor)
        and not cue("date_after", _BEGINS_WITH).match(text, later.end())
    ):
        return None
    if match[2] == "/" and not certain:
        fraction = re.search(r"(?:의|중|가운데) ?$", cursor.before(6))
        sure = (
            cue("date_after", _BEGINS_WITH).match(text, end) or _NAMED_DAY.match(text, end) or _dated(cursor)
        )
        certain = not fraction and bool(
            sure
            or (
                (int(match[3]) > 12 or int(match[1]) >= int(match[3]))
                and not re.match(r"[가-힣a-zA-Z%]", text[end : end + 1])
            )
        )
        if sign and sign.group().strip() == "~" and _partial(text, sign.end()):
            certain = not fraction
    elif match[2] == "." and not certain:
        certain = (bool(_dated(cursor)) and bool(cue("date_after", _BEGINS_WITH).match(text, end))) or (
            match.group().endswith(".")
            and bool(re.compile(r"까지|부터|에(?![가-힣])| [가-힣]").match(text, end))
            and (len(match[3]) == 2 or text[end : end + 1] != " ")
            and not re.search(r"[은는이가을를] $", cursor.before(2))
        )
    if not certain:
        return None
    return _ranged(cursor, end, spoken + weekday, "month and day")


def short_year(cursor: Cursor) -> Hit | None:
    """'26년, '26.6.5."""
    match = re.compile(r"['‘’]([0-9]{2})(?=년|\.|학년도| ?~| [가-힣])").match(cursor.text, cursor.position)
    if not match:
        return None
    century = "20" if int(match[1]) < 60 else "19"
    dotted = re.compile(rf"\. ?{_MONTH}\. ?{_DAY}\.?(?![0-9])").match(cursor.text, match.end())
    if dotted:
        spoken = spoken_date(century + match[1], dotted[1], dotted[2])
        if spoken:
            end, weekday = _weekday(cursor.text, dotted.end())
            return _ranged(cursor, end, spoken + weekday, "short year")
    month = re.compile(rf"\. ?{_MONTH}\.?(?![0-9])").match(cursor.text, match.end())
    if month:
        return _ranged(
            cursor,
            month.end(),
            f"{numbers.sino(century + match[1])} 년 {MONTHS[int(month[1])]}",
            "short year",
        )
    unit = re.compile(r"년|학년도").match(cursor.text, match.end())
    if not unit:
        return None if cursor.text[match.end() : match.end() + 1] != " " else _old(match)
    return Hit(unit.end(), f"{numbers.sino(century + match[1])} {unit.group()}", "date", "short year")


def _old(match: re.Match[str]) -> Hit:
    """'88 서울올림픽: a year by its last digits."""
    return Hit(match.end(), numbers.digits(match[1]), "date", "short year")


def _weekday_list(written: str) -> str:
    days = re.findall(r"[월화수목금토일]", written)
    if "~" in written or "-" in written:
        return f"{days[0]}요일부터 {days[-1]}요일까지"
    return " ".join(f"{day}요일" for day in days)


def weekdays(cursor: Cursor) -> Hit | None:
    """(월), (월~금), and 월~금 by themselves."""
    text = cursor.text
    if text[cursor.position] in "월화수목금토일":
        hours = cursor.match(_DAY_AND_TIME)
        if hours:
            return Hit(hours.end(), f"{text[cursor.position]}요일 ", "date", "weekday")
        match = re.compile(r"[월화수목금토일]\s?[~-]\s?[월화수목금토일]").match(text, cursor.position)
        if not match:
            return None
        closing = "까지" if not text.startswith("까지", match.end()) else ""
        days = match.group()
        return Hit(match.end(), f"{days[0]}요일부터 {days[-1]}요일{closing}", "date", "weekdays")
    if text[cursor.position] != "(":
        return None
    many = _WEEKDAYS.match(text, cursor.position)
    if many:
        return Hit(many.end(), f" {_weekday_list(many.group())}", "date", "weekdays")
    match = _WEEKDAY.match(text, cursor.position)
    if match and re.search(r"(?:[0-9일.]|요일) ?$", cursor.before(3)):
        return Hit(match.end(), f" {match[1]}요일", "date", "weekday")
    return None
