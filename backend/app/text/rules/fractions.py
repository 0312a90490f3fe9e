"""Fractions: 1/2, 2와1/3, 3분의1, 1/4분기, and slashes that only look like one."""

from __future__ import annotations

import re

from app.text import numbers, particles
from app.text.scan import Cursor, Hit
from app.text.tables import Counter, counters, cue, units

_FRACTION = re.compile(r"(√?)([0-9]{1,6}) ?/ ?(√?)([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,6})(?![0-9/])")
_MIXED = re.compile(r"([0-9]{1,4})(?:과|와) ?(√?)([0-9]{1,4})/(√?)([0-9]{1,4})(?![0-9/])")
_PARTS = re.compile(r"([0-9]{1,5}) ?분의 ?([0-9]{1,5})(?![0-9]*(?:초|분|시|명|개|건))")
_QUARTER = re.compile(r"([1-4])/4 ?분기")
_PRESSURE = re.compile(r" ?(?:mmHg|㎜Hg)")
_PRESSED = re.compile(r"혈압[가-힣 ]{0,6}$")
_HANGUL, _LETTER = re.compile(r"[가-힣]"), re.compile(r"[A-Za-z]")
_DIVIDED = frozenset({"인치", "마일", "미터", "리터", "킬로", "그램", "킬로그램", "근", "평", "톤"})
LARGEST = 31  # above and below; larger ones are two numbers: 120/200, 2024/25 시즌


def fraction(cursor: Cursor) -> Hit | None:
    """A fraction. Steps out of steps (3/5단계) and blood pressures are two numbers."""
    mixed = cursor.match(_MIXED)
    if mixed:
        whole = numbers.sino(mixed[1])
        end, tail = _unit(cursor.text, mixed.end())
        parts = _spoken(mixed[2], mixed[3], mixed[4], mixed[5])
        joint = particles.choose(("과", "와"), whole)
        return Hit(end, f"{whole}{joint} {parts}{tail}", "number_expr", "fraction")
    written = cursor.match(_PARTS)
    if written:
        return Hit(written.end(), _spoken("", written[2], "", written[1]), "number_expr", "fraction")
    quarter = cursor.match(_QUARTER)
    if quarter:
        return Hit(quarter.end(), f"{numbers.sino(quarter[1])}사분기", "number_expr", "quarter")
    match = cursor.match(_FRACTION)
    return _slash(cursor, match) if match and int(match[4].replace(",", "")) else None


def _slash(cursor: Cursor, match: re.Match[str]) -> Hit | None:
    text, end = cursor.text, match.end()
    above, below = int(match[2]), int(match[4].replace(",", ""))
    if above > below and (_PRESSURE.match(text, end) or _PRESSED.search(cursor.before())):
        return Hit(match.start(4), f"{numbers.sino(above)}에 ", "number_expr", "blood pressure")
    spoken = _spoken(match[1], match[2], match[3], str(below))
    particle = cue("fraction_after", after="(?![가-힣])|이상|이하|미만|정도|수준|입니다|으로").match(
        text, end
    )
    counter = _counter(text, end)
    if (
        counter
        and not particle
        and above < below
        and (counter.limit or counter.form in _DIVIDED or (above == 1 and counter.form == "초"))
    ):
        return Hit(end + len(counter.form), f"{spoken} {counter.form}", "number_expr", "fraction")
    two = f"{numbers.sino(above)}, {numbers.sino(below)}"
    if _HANGUL.match(text, end) and not particle and not cue("fraction_of").match(text, end):
        return Hit(end, two, "number_expr", "slash") if counter and counter.use == "label" else None
    if above > LARGEST and (below > LARGEST or above > below) and not match[1] and not match[3]:
        return Hit(end, two, "number_expr", "slash")
    end, tail = _unit(text, end)
    return Hit(end, spoken + tail, "number_expr", "fraction")


def _counter(text: str, end: int) -> Counter | None:
    form = counters()[0].longest(text, end)
    return counters()[1][form] if form else None


def _spoken(root_above: str, above: str, root_below: str, below: str) -> str:
    top = f"{'루트 ' if root_above else ''}{numbers.sino(above)}"
    return f"{'루트 ' if root_below else ''}{numbers.sino(below)}분의 {top}"


def _unit(text: str, end: int) -> tuple[int, str]:
    """A unit after a fraction, where it ends and how it is spoken; rates as A 퍼 B."""
    unit = units()[0].longest(text, end)
    if unit and "#" in units()[1][unit]:
        unit = unit.split("/")[0]
    stop = end + len(unit or "")
    if not unit or unit not in units()[1] or _LETTER.match(text, stop):
        return end, ""
    spoken = f" {units()[1][unit]}"
    below = units()[0].longest(text, stop + 1) if text.startswith("/", stop) else None
    return (stop + 1 + len(below), f"{spoken} 퍼 {units()[1][below]}") if below else (stop, spoken)
