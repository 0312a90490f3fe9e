"""Amounts with their counter or unit, and ranges of them: 3명, 2~3일, 10~20만원, 30분~1시간."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.rules.amounts import Amount, amount
from app.text.rules.measures import Measure, measure, phrase, rate
from app.text.scan import Cursor, Hit
from app.text.tables import Counter

_RANGE = re.compile(r" ?~ ?(?=[0-9])|, ?(?=[2-4][가-힣])|(?<=[0-9가-힣%℃a-zA-Z])-(?=[0-9])")
_GOES_ON = re.compile(r"[~-]")
_LEADING = re.compile(r"[0-9,]+")
_HYPHENED = frozenset({"호", "번지", "동", "번", "번길"})  # 1-2번 is a name, 10-20명 a range
_PER_COUNTED = frozenset({"하루", "월", "주", "분당", "회당"})
# Two neighbours make one word: native, Sino-Korean.
NEIGHBOURS = {(1, 2): ("한두", "일이"), (2, 3): ("두세", "이삼"), (3, 4): ("서너", "삼사")}

_DURATION = re.compile(
    r"([0-9]{1,3})h(?: ?([0-9]{1,2})m(?:in)?)?(?: ?([0-9]{1,2})s)?(?![A-Za-z0-9])"
    r"|([0-9]{1,3})m(?:in)? ?([0-9]{1,2})s(?![A-Za-z0-9])"
)
_TILDE = re.compile(r" ?~ ?")
# 제3조, 제 3자, 법제3조; not the end of another word: 문제 3개, 어제3시.
_ORDINAL = re.compile(
    r"(?:(?<![가-힣])제 ?|(?<=[가-힣])(?<![강결경공과국규면문삭숙실어억의이전주축통해형])제)$"
)
CLAUSE_NEXT = re.compile(r"제 ?[0-9]")  # 제2조제1항


def ordinal(before: str) -> bool:
    """Whether 제 makes what follows the name of one: always Sino-Korean, spoken in one breath."""
    return _ORDINAL.search(before) is not None


def quantity(cursor: Cursor) -> Hit | None:
    """A number with what it counts or measures, or two of them with a range sign between."""
    text, before = cursor.text, cursor.before()
    first = amount(text, cursor.position)
    if not first:
        return None
    named = ordinal(before)
    unit = measure(text, first, before)
    if named and unit and unit.counter:
        unit = unit._replace(counter=Counter(unit.counter.form, 0, "label"))
    ranged = _range(text, first, unit, before)
    if ranged:
        return ranged._replace(tight=named, joins=named)
    if not unit:
        return None
    spoken, others = phrase(first, unit, before)
    end = unit.end
    per = rate(text, end) if unit.counter else None
    if per and (unit.money or per[1] in _PER_COUNTED):
        end, head = per
        spoken = spoken if before.rstrip().endswith(head) else f"{head} {spoken}"
    gap = " " if named and CLAUSE_NEXT.match(text, end) else ""
    return Hit(end, spoken + gap, unit.kind, unit.rule, others, tight=named, joins=named)


def _range(text: str, first: Amount, unit: Measure | None, before: str) -> Hit | None:
    sign = _RANGE.match(text, unit.end if unit else first.end)
    second = amount(text, sign.end()) if sign else None
    if not sign or not second:
        return None
    dash = "-" in sign.group()
    second_unit = measure(text, second, before)
    if second_unit is None:
        if unit or sign.group().strip() != "~" or _GOES_ON.match(text, second.end):
            return None
        first = _same_magnitude(first, second)
        return Hit(second.end, f"{first.spoken}에서 {second.spoken}", "number_expr", "range")
    both = _neighbours(first, second, second_unit)
    if sign.group().startswith(","):  # 2, 3명 is two or three; 2, 3층 is two floors
        native = second_unit.counter and second_unit.counter.limit
        return Hit(second_unit.end, both, second_unit.kind, "range") if both and native and not unit else None
    if dash and not _rises(first, second, second_unit):
        return None
    if unit is None:
        first = _same_magnitude(first, second)
    left = phrase(first, unit or second_unit, before)[0]
    right = phrase(second, second_unit, before)[0]
    if "#" in second_unit.spoken:  # 시속 is said once
        right = right.removeprefix(second_unit.spoken.split(" ", 1)[0] + " ")
    full = f"{left}에서 {right}"
    if both and unit is None:
        return Hit(second_unit.end, both, second_unit.kind, "range", (full,))
    return Hit(second_unit.end, full, second_unit.kind, "range")


def _rises(first: Amount, second: Amount, unit: Measure) -> bool:
    """Whether a hyphen can mean a range: 10-20% can, 2-1번 and 02-120 cannot."""
    if unit.counter and unit.counter.form in _HYPHENED:
        return False
    return bool(first.value and second.value and first.value < second.value and len(first.written) <= 4)


def _head(found: Amount) -> int:
    """The number before the magnitude: 20 of 20만."""
    match = _LEADING.match(found.written)
    return int(match.group().replace(",", "")) if match else 0


def _same_magnitude(first: Amount, second: Amount) -> Amount:
    """10~20만 means 10만 to 20만, 3천~5천만 means 3천만 to 5천만; 5,000~1만 means what it says."""
    if first.large in ("천", "백", "십") and len(second.large) > 1:
        return amount(first.written + second.large[-1], 0) or first
    if first.value is not None and second.large and first.value < _head(second):
        return amount(first.written + second.large, 0) or first
    return first


def _neighbours(first: Amount, second: Amount, unit: Measure) -> str | None:
    """2~3일 → 이삼 일, 1~2개 → 한두 개, 2~3만원 → 이삼만 원."""
    words = NEIGHBOURS.get((first.value or 0, _head(second)))
    if not words or "." in second.written or (unit.counter and unit.counter.use == "label"):
        return None
    word = words[0] if unit.counter and unit.counter.limit and not second.large else words[1]
    number = f"{word}{second.large}{'여' if second.about else ''}"
    return unit.spoken.replace("#", number) if "#" in unit.spoken else f"{number} {unit.spoken}"


def duration(cursor: Cursor) -> Hit | None:
    """5m30s, 2h30m, also as a range."""
    match = cursor.match(_DURATION)
    if not match:
        return None
    spoken, end = _lasting(match), match.end()
    sign = _TILDE.match(cursor.text, end)
    second = _DURATION.match(cursor.text, sign.end()) if sign else None
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
