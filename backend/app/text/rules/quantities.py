"""Amounts with their counter or unit, ranges of them, and numbers by themselves."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.text import numbers
from app.text.rules.amounts import Amount, amount
from app.text.scan import Cursor, Hit
from app.text.tables import Counter, contexts, counters, currencies, pairs, units

RANGE = re.compile(r" ?~ ?(?=[0-9])|(?<=[0-9가-힣%℃a-zA-Z])-(?=[0-9])")
_SLASH = re.compile(r" ?/ ?")
_PER_ENDS = re.compile(r"(?![A-Za-z0-9가-힣])|(?:에|로|으로|이며|입|은|는|이|의|을|를|씩)")
_LATIN_NEXT = re.compile(r"[A-Za-z]")
_SPACED_COUNTER = re.compile(
    r"(?=$|[^가-힣]|(?:을|를|이|가|은|는|과|와|의|에|도|만|씩|당|째|간|로|으로|까지|부터|이상|이하|이내|미만|정도|입니다|이며|이고|마다|에서|보다|밖에|이나|짜리|대|쯤|가량|중|께|인|이용|출구|버튼|분|입|이)(?![가-힣])|까지|부터|이상|이하|이내|미만|정도|입니|이며|이고|에서|이용|씩)"
)
SHORT_RANGES = {(1, 2): ("한두", "일이"), (2, 3): ("두세", "이삼"), (3, 4): ("서너", "삼사")}
MONTHS = {6: "유월", 10: "시월"}
DURATION = re.compile(
    r"([0-9]{1,3})h(?: ?([0-9]{1,2})m(?:in)?)?(?: ?([0-9]{1,2})s)?(?![A-Za-z0-9])|([0-9]{1,3})m(?:in)? ?([0-9]{1,2})s(?![A-Za-z0-9])"
)


class Measure(NamedTuple):
    """What follows a number: `spoken` holds # where the number goes if it does not come first."""

    end: int
    spoken: str
    counter: Counter | None = None
    rule: str = "unit"


def measure(text: str, found: Amount, before: str) -> Measure | None:
    """The unit, currency or counter that is written after a number."""
    end = found.end
    space = text.startswith(" ", end)
    at = end + 1 if space else end
    unit = units()[0].longest(text, at)
    if unit and (
        not _LATIN_NEXT.match(text, at + len(unit)) or not unit[-1].isascii() or not unit[-1].isalpha()
    ):
        spoken_unit = units()[1][unit]
        if unit == "p" and found.value in (144, 240, 360, 480, 540, 720, 1080, 1440, 2160):
            spoken_unit = "피"
        if unit == "A" and not space and re.search(r"차단기|전류|용량|퓨즈|콘센트|정격|충전|누전", before):
            return Measure(at + 1, spoken_unit)
        if not (space and len(unit) == 1 and unit.isalpha()) and not (
            unit == "A" or (unit in ("F", "B", "D", "Q", "R", "U") and space)
        ):
            return _rated(text, Measure(at + len(unit), spoken_unit))
    code = currencies()[0].longest(text, at)
    if code and not _LATIN_NEXT.match(text, at + len(code)):
        return Measure(at + len(code), currencies()[1][code].name, Counter("원", 0, "amount"), "money")
    form = counters()[0].longest(text, at)
    if not form:
        return None
    counter = counters()[1][form]
    if counter.use == "word" or (space and not _SPACED_COUNTER.match(text, at + len(form))):
        return None
    stop = at + len(form)
    if found.value is not None or form in ("대", "분", "번"):
        for context in contexts().get(form, ()):
            if context.fits(found.value or 0, before, text, stop):
                counter = context.counter
                break
    return Measure(stop, form, counter, "counter")


def _rated(text: str, found: Measure) -> Measure:
    """A unit that goes on with a slash: mg/dL, 원/kg is money's."""
    if not text.startswith("/", found.end):
        return found
    unit = units()[0].longest(text, found.end + 1)
    if unit and not _LATIN_NEXT.match(text, found.end + 1 + len(unit)):
        return Measure(found.end + 1 + len(unit), f"{found.spoken} 퍼 {units()[1][unit]}")
    day = re.compile(r"/(일|월|시간|분|회|년|인|day)(?![가-힣A-Za-z])").match(text, found.end)
    if day:
        return Measure(day.end(), f"{pairs('per.tsv').forms.get(day[1], day[1])} # {found.spoken}")
    return found


def number_before(found: Amount, counter: Counter | None) -> str:
    """The number as this counter wants it."""
    if counter and counter.limit and found.value and 1 <= found.value <= counter.limit:
        return numbers.native(found.value)
    return found.spoken


def phrase(found: Amount, unit: Measure, before: str) -> tuple[str, tuple[str, ...]]:
    """Number and unit spoken together, and other ways to say so."""
    counter = unit.counter
    if counter and counter.form in ("월", "월분", "월호") and found.value in MONTHS:
        return MONTHS[found.value] + unit.spoken[1:], ()
    if counter and counter.form in ("월", "월분", "월호") and found.value and found.value <= 12:
        return found.spoken + unit.spoken, ()
    if counter and unit.spoken in ("번째", "번째로") and found.value == 1:
        return "첫 번째", ()
    if "#" in unit.spoken:
        spoken = unit.spoken.replace("#", found.spoken)
        head = spoken.split(" ", 1)
        return (head[1] if before.rstrip().endswith(head[0]) else spoken), ()
    number = number_before(found, counter)
    if counter and counter.form == "번" and found.value == 0:
        number = "공"
    spoken = f"{number} {unit.spoken}"
    others = ()
    if (
        counter
        and counter.limit
        and found.value
        and number == found.spoken
        and found.value < 100
        and found.value <= 99
    ):
        others = (f"{numbers.native(found.value)} {unit.spoken}",)
    elif number != found.spoken:
        others = (f"{found.spoken} {unit.spoken}",)
    return spoken, others


def rate(text: str, position: int) -> tuple[int, str] | None:
    """What an amount is for, as in /kg: where it ends, and what is said before the amount."""
    slash = _SLASH.match(text, position)
    form = pairs("per.tsv").longest(text, slash.end()) if slash else None
    if not slash or not form or not _PER_ENDS.match(text, slash.end() + len(form)):
        return None
    return slash.end() + len(form), pairs("per.tsv").forms[form]


def quantity(cursor: Cursor) -> Hit | None:
    text = cursor.text
    first = amount(text, cursor.position)
    if not first:
        return None
    before = cursor.before()
    if before.endswith("제"):
        before_unit = measure(text, first, before)
        if before_unit and before_unit.counter and before_unit.counter.limit:
            before_unit = before_unit._replace(counter=Counter(before_unit.counter.form, 0, "label"))
        unit = before_unit
    else:
        unit = measure(text, first, before)
    ranged = _range(cursor, first, unit, before)
    if ranged:
        return ranged
    if not unit:
        return None
    spoken, others = phrase(first, unit, before)
    end = unit.end
    money = bool(unit.counter and unit.counter.form in ("원", "달러", "엔", "유로", "위안", "파운드"))
    if unit.spoken == "도" and unit.counter is None and text[cursor.position - 1 : cursor.position] == "-":
        pass
    if money or unit.counter:
        per = rate(text, end)
        if per and (money or per[1] in ("하루", "월", "주", "분당", "회당")):
            end, head = per
            spoken = spoken if before.rstrip().endswith(head) else f"{head} {spoken}"
    tight = before.endswith("제") and not before.endswith((" 문제", "통제"))
    return Hit(end, spoken, "money" if money else _kind(unit), unit.rule, others, tight=tight)


def _kind(unit: Measure) -> str:
    if unit.counter is None:
        return "unit"
    if unit.counter.form in ("년", "월", "일", "개월", "주", "월분", "년도"):
        return "date"
    if unit.counter.form in ("시", "시간", "초") or (unit.counter.form == "분" and not unit.counter.limit):
        return "time"
    return "counter_native" if unit.counter.limit else "counter_sino"


def _range(cursor: Cursor, first: Amount, unit: Measure | None, before: str) -> Hit | None:
    """2~3일, 10~20만원, 30분~1시간, 3일~7일."""
    text = cursor.text
    if unit:
        sign = RANGE.match(text, unit.end)
        start = unit.end
    else:
        sign = RANGE.match(text, first.end)
        start = first.end
    if not sign:
        return None
    second = amount(text, sign.end())
    if not second:
        return None
    second_unit = measure(text, second, before)
    dash = text[sign.start() : sign.end()].strip() == "-"
    label = second_unit and second_unit.counter and second_unit.counter.form in ("호", "번지", "동", "번", "번길")
    if dash and (
        label
        or not second_unit
        or first.value is None
        or second.value is None
        or first.value >= second.value
        or first.value == 0
        or len(first.written) > 4
    ):
        return None
    if not second_unit:
        if unit:
            return None
        if text.startswith(("~", "-"), second.end) or dash:
            return None
        return Hit(second.end, f"{first.spoken}에서 {second.spoken}", "number_expr", "range")
    del start
    end = second_unit.end
    one = unit
    if one is None:
        one = second_unit
        pair = (first.value, second.value)
        counter = second_unit.counter
        if (
            first.large == ""
            and pair in SHORT_RANGES
            and (counter is None or counter.use == "amount")
            and second.large in ("", "만", "천", "억", "백")
            and not first.about
        ):
            form = SHORT_RANGES[pair][0 if counter and counter.limit else 1]  # type: ignore[index]
            spoken = (
                second_unit.spoken.replace("#", form)
                if "#" in second_unit.spoken
                else f"{form} {second_unit.spoken}"
            )
            both = f"{phrase(first, one, before)[0]}에서 {phrase(second, second_unit, before)[0]}"
            return Hit(end, spoken, _kind(second_unit), "range", (both,))
        if (
            first.large in ("천", "백", "십")
            and second.large.endswith(("만", "억"))
            and len(second.large) > 1
        ):
            first = amount(first.written + second.large[-1], 0) or first
        if second.large and first.value is not None and not first.large:
            small = amount(f"{first.written}{second.large}", 0)
            if first.value < int(re.match(r"[0-9,]+", second.written)[0].replace(",", "")):  # type: ignore[index]
                if (first.value, int(re.match(r"[0-9]+", second.written)[0])) in SHORT_RANGES:  # type: ignore[index]
                    form = SHORT_RANGES[(first.value, int(re.match(r"[0-9]+", second.written)[0]))][1]  # type: ignore[index]
                    return Hit(
                        end,
                        f"{form}{second.large}{'여' if second.about else ''} {second_unit.spoken}",
                        "money",
                        "range",
                    )
                first = small or first
    left = phrase(first, one, before)[0]
    right = phrase(second, second_unit, before)[0]
    if "#" in second_unit.spoken:
        head = second_unit.spoken.split(" ", 1)[0]
        right = right.removeprefix(head + " ")
    tight = before.endswith("제")
    return Hit(end, f"{left}에서 {right}", _kind(second_unit), "range", tight=tight)


def duration(cursor: Cursor) -> Hit | None:
    """5m30s, 2h30m, also as a range."""
    match = cursor.match(DURATION)
    if not match:
        return None
    spoken, end = _lasting(match), match.end()
    sign = re.compile(r" ?~ ?").match(cursor.text, end)
    second = DURATION.match(cursor.text, sign.end()) if sign else None
    if second:
        spoken, end = f"{spoken}에서 {_lasting(second)}", second.end()
    return Hit(end, spoken, "time", "duration")


def _lasting(match: re.Match[str]) -> str:
    hours, minutes, seconds = match[1], match[2] or match[4], match[3] or match[5]
    parts = []
    if hours:
        value = int(hours)
        parts.append(f"{numbers.native(value) if 1 <= value <= 19 else numbers.sino(value)} 시간")
    if minutes:
        parts.append(f"{numbers.sino(minutes)} 분")
    if seconds:
        parts.append(f"{numbers.sino(seconds)} 초")
    return " ".join(parts)


_SIGNED = re.compile(r"[-+±] ?(?=[0-9])")
_COLD = re.compile(r"-([0-9]{1,2}(?:\.[0-9])?) ?(?:℃|°C|°(?!F)|도(?![가-힣]|동))")


def signed(cursor: Cursor) -> Hit | None:
    """A sign before a number: -5,000원, +10GB, -3℃."""
    match = cursor.match(_SIGNED)
    if not match:
        return None
    previous = cursor.previous()
    if match.group()[0] == "-":
        if previous not in " \n(:=×÷[/~," or match.group() != "-":
            return None
        if cursor.match(_COLD):
            return Hit(
                match.end(), "영하 " if "영하" not in cursor.before(6) else "", "number_expr", "below zero"
            )
        return Hit(match.end(), "마이너스 ", "number_expr", "sign")
    word = {"+": "플러스", "±": "플러스마이너스"}[match.group()[0]]
    return Hit(match.end(), f"{word} ", "number_expr", "sign")


_COMPARED = re.compile(r"([≥≦≤≧<>]=?) ?(?=[0-9])")
_COMPARISONS = {"≥": "이상", "≧": "이상", ">=": "이상", "≤": "이하", "≦": "이하", "<=": "이하", "<": "미만", ">": "초과"}
_LISTED = re.compile(r"([1-9][0-9]?)(?:\)|\.(?= [가-힣]))")


def compared(cursor: Cursor) -> Hit | None:
    """≥ 65세 → 육십오 세 이상."""
    match = cursor.match(_COMPARED)
    if not match:
        return None
    inner = Cursor(cursor.text, match.end())
    hit = quantity(inner) or bare(inner)
    if not hit:
        return None
    return hit._replace(spoken=f"{hit.spoken} {_COMPARISONS[match[1]]}", rule="comparison")


def listed(cursor: Cursor) -> Hit | None:
    """The number of an item in a list that runs on in one line: 1) 신청서 2) 신분증."""
    match = cursor.match(_LISTED)
    if not match or cursor.previous() not in " \n" or (match.group()[-1] == "." and int(match[1]) > 20):
        return None
    before = cursor.before()
    if match.group()[-1] == ")" and before.rfind("(") > before.rfind(")"):
        return None
    lead = "" if cursor.last_spoken() in ("", ".", ",", "?", "!", "\n") else ", "
    return Hit(match.end(), f"{lead}{numbers.sino(match[1])},", "number", "list", joins=bool(lead))


def bare(cursor: Cursor) -> Hit | None:
    """A number by itself."""
    text, start = cursor.text, cursor.position
    run = re.compile(r"[0-9]+").match(text, start)
    found = amount(text, start)
    if not run or not found:
        return None
    written = run.group()
    if cursor.previous() == "*" and len(written) > 1:  # the open end of a masked number
        return Hit(run.end(), numbers.grouped(written), "number", "digits")
    if len(written) > 1 and written[0] == "0" and not text.startswith(".", run.end()):
        return Hit(run.end(), numbers.digits(written), "number", "digits")
    if len(written) > 17:
        return Hit(run.end(), numbers.grouped(written), "number", "digits")
    if written == "19" and cursor.before().endswith("코로나"):
        return Hit(run.end(), " 일구", "number", "covid")
    versions = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){2,5}(?!\.?[0-9])").match(text, start)
    if versions:
        return Hit(
            versions.end(),
            " 점 ".join(numbers.sino(part) for part in versions.group().split(".")),
            "number",
            "version",
        )
    tight = cursor.previous() == "제"
    follows = " " if tight and re.match(r"[가-힣]{2}", text[found.end : found.end + 2]) else ""
    return Hit(found.end, found.spoken + follows, "number", "number", (numbers.digits(written),), tight=tight)
