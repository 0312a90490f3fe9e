"""Numbers by themselves, with a sign, in a comparison or at the head of a list's item."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.rules.amounts import Amount, amount
from app.text.rules.measures import Measure, measure
from app.text.rules.quantities import CLAUSE_NEXT, ordinal, quantity
from app.text.scan import Cursor, Hit

LONGEST = 17  # digits that are still a number rather than a name
_RUN = re.compile(r"[0-9]+")
_SIGNED = re.compile(r"[-+±] ?(?=[0-9])")
_SIGNS = {"-": "마이너스", "+": "플러스", "±": "플러스마이너스"}
_DEGREES = r"([0-9]{1,2}(?:\.[0-9])?) ?(?:℃|°C|°(?!F)|도(?![가-힣])|도(?=입니다|까지|이[며고하상]|로|에서))"
_COLD = re.compile(rf"-{_DEGREES}")
_COLD_RANGE = re.compile(rf"-([0-9]{{1,2}}(?:\.[0-9])?) ?(?:℃|°C?|도)? ?~ ?(-?){_DEGREES}")
_VERSION = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){2,5}(?!\.?[0-9])")
_COMPARED = re.compile(r"([≥≦≤≧<>]=?) ?(?=[0-9])")
_COMPARISONS = {
    "≥": "이상",
    "≧": "이상",
    ">=": "이상",
    "≤": "이하",
    "≦": "이하",
    "<=": "이하",
    "<": "미만",
    ">": "초과",
}
_LISTED = re.compile(r"([1-9][0-9]?)(?:\)|\.(?= ?[가-힣]))")
_NOUN = re.compile(r"[가-힣]{2}")
_GROUPED = re.compile(
    r"[0-9]{1,12}(?:(?:,| ,(?=[0-9]{3}(?![0-9]))| ?, (?=000(?![0-9])))[0-9]{1,12}){1,8}(?![0-9])"
)
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_DOTTED = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3}){0,3}(?:\.000|\.[0-9]{3}\.[0-9]{3})(?= ?원)")
_ROOMS = frozenset({"호", "호실", "동"})


def signed(cursor: Cursor) -> Hit | None:
    """A sign before a number: -5,000원, +10GB, -3℃."""
    match = cursor.match(_SIGNED)
    if not match:
        return None
    sign = match.group()[0]
    if sign == "-" and (cursor.previous() not in " \n(:=×÷[/~," or match.group() != "-"):
        return None  # a hyphen, or the dash of a list
    below = "" if "영하" in cursor.before(6) else "영하 "
    span = cursor.match(_COLD_RANGE)
    if span:  # -5~3℃: both ends say on which side of zero they are
        side = "영하 " if span[2] else "영상 " if float(span[3]) else ""
        degrees = f"{numbers.spoken(span[1])} 도에서 {side}{numbers.spoken(span[3])} 도"
        return Hit(span.end(), below + degrees, "number_expr", "below zero")
    if sign == "-" and cursor.match(_COLD):
        return Hit(match.end(), below, "number_expr", "below zero")
    return Hit(match.end(), f"{_SIGNS[sign]} ", "number_expr", "sign")


def compared(cursor: Cursor) -> Hit | None:
    """≥ 65세 → 육십오 세 이상."""
    match = cursor.match(_COMPARED)
    if not match or match[1] not in _COMPARISONS:
        return None
    inner = Cursor(cursor.text, match.end())
    hit = quantity(inner) or bare(inner)
    if not hit:
        return None
    return hit._replace(spoken=f"{hit.spoken.rstrip()} {_COMPARISONS[match[1]]}", rule="comparison")


def listed(cursor: Cursor) -> Hit | None:
    """The number of an item in a list that runs on in one line: 1) 신청서 2) 신분증."""
    match = cursor.match(_LISTED)
    if not match or cursor.previous() not in " \n" or (match.group()[-1] == "." and int(match[1]) > 20):
        return None
    before = cursor.before()
    if match.group()[-1] == ")" and before.rfind("(") > before.rfind(")"):
        return None
    lead = "" if cursor.last_spoken() in ("", ".", ",", "?", "!", "\n") else ", "
    gap = " " if _NOUN.match(cursor.text, match.end()) else ""
    return Hit(match.end(), f"{lead}{numbers.sino(match[1])},{gap}", "number", "list", joins=bool(lead))


def misgrouped(cursor: Cursor) -> Hit | None:
    """1,2000원 is a slip of someone's finger; 1,2번 is two numbers, and so is 101,102호."""
    match = cursor.match(_GROUPED) or cursor.match(_DOTTED)
    if not match:
        return None
    written, groups = match.group(), re.split("[ ,.]+", match.group())
    last = amount(cursor.text, match.end() - len(groups[-1]))
    unit = measure(cursor.text, last, cursor.before()) if last else None
    label = unit is not None and unit.counter is not None and unit.counter.use == "label"
    if _THOUSANDS.fullmatch(written):
        if not unit or unit.spoken not in _ROOMS or len(groups[0]) < 3:
            return None
        return Hit(cursor.position + 3, numbers.sino(groups[0]), "number", "list")
    if label or not (_one_number(groups) or " " in written or _is_price(last, unit)):
        return None
    listed = ", ".join(map(numbers.sino, groups))
    why = "commas or points that part no thousands"
    guess = numbers.sino("".join(groups)) + (" " if unit else "")
    return Hit(match.end(), guess, "number", "misgrouped", (listed,), 0.3, unclear=why)


def _one_number(groups: list[str]) -> bool:
    """Whether the groups can hardly be numbers of their own: 1,2000 and 1,00."""
    head, *rest = groups
    return (
        len(head) <= 3
        and head[0] != "0"
        and any(len(group) > 3 or (len(group) > 1 and group[0] == "0") for group in rest)
    )


def _is_price(found: Amount | None, unit: Measure | None) -> bool:
    """Whether an amount of money ends here: 12,34원, but not 5,10만원."""
    return found is not None and not found.large and unit is not None and unit.money


def bare(cursor: Cursor) -> Hit | None:
    """A number by itself, or a version; what is too long or begins with 0 goes digit by digit."""
    text, start = cursor.text, cursor.position
    run, found = _RUN.match(text, start), amount(text, start)
    if not run or not found:
        return None
    written = run.group()
    masked = cursor.previous() == "*" and len(written) > 1  # the open end of a masked number
    zero = len(written) > 1 and written[0] == "0" and not text.startswith(".", run.end())
    if masked or zero or len(written) > LONGEST:
        return Hit(run.end(), numbers.grouped(written), "number", "digits")
    if written == "19" and cursor.before().rstrip("- ").endswith(("코로나", "COVID")):
        return Hit(run.end(), " 일구", "number", "covid")
    version = _VERSION.match(text, start)
    if version:
        spoken = " 점 ".join(map(numbers.sino, version.group().split(".")))
        return Hit(version.end(), spoken, "number", "version")
    tight = ordinal(cursor.before())
    gap = " " if (tight and _NOUN.match(text, found.end)) or CLAUSE_NEXT.match(text, found.end) else ""
    others = (numbers.digits(written),)
    return Hit(found.end, found.spoken + gap, "number", "number", others, tight=tight, joins=tight)
