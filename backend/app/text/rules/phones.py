"""Telephone numbers: digit by digit, a breath at each hyphen, which itself is silent."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.scan import Cursor, Hit
from app.text.tables import cue, cues

_SEP = r"(?: ?[-.)·] ?| )"
_INTERNATIONAL = re.compile(
    r"\+ ?(82)(1[0-9][0-9]{7,8})(?![0-9])"
    r"|\+ ?([0-9]{1,3})((?:[-. ]{1,2}\(?[0-9]{1,5}\)?|[-. ]?\([0-9]{1,5}\)){1,5})(?![0-9])(?!-[0-9])"
)
_DOMESTIC = re.compile(
    rf"\(?(0[0-9]{{1,3}}){_SEP}([0-9]{{3,4}}){_SEP}([0-9]{{4}})(?![0-9])"
    rf"|(1[3-9][0-9]{{2}}) ?- ?([0-9]{{4}})(?![0-9]|-[0-9])"
    rf"|\(?([0-9]{{3}})(?:\) ?[-.]?|[-.])([0-9]{{3}})[-.]([0-9]{{4}})(?![0-9]|-[0-9])"
    rf"|([2-9][0-9]{{2,3}})-([0-9]{{4}})(?![0-9]|-[0-9])"
)
_JOINED = re.compile(r"(01[016789]|02|0[3-6][1-5]|070|080|050[0-9])([0-9]{3,4})([0-9]{4})(?![0-9])")
_SERVICE = re.compile(
    r"(15(?:22|44|66|77|88|99)|16(?:00|44|61|66|70|88)|18(?:00|11|33|55|77|99))\.?([0-9]{4})(?![0-9])"
)
_SHORT = re.compile(r"(1[0-9]{2,3})(?![0-9:/~-]|[.,][0-9])")
_NOT_CALLED = re.compile(
    r" ?(?:원|명|개|호|건|일|%|점|동|회|층|년|미터|킬로|세대|km|kg|cm|m(?![a-z])|분(?!간|실))"
)
_NAMED = re.compile(r"번|로|에|은|는|를|을|이|가|와|과|나|입| |,|\.|$|[)\]]")


def telephone(cursor: Cursor) -> Hit | None:
    """Numbers that look like a telephone's whatever stands around them."""
    text, start = cursor.text, cursor.position
    if text[start] == "+":
        match = _INTERNATIONAL.match(text, start)
        if not match:
            return None
        country, rest = match[1] or match[3], match[2] or match[4]
        groups = re.findall(r"[0-9]+", rest) if match[3] else [rest[:2], rest[2:-4], rest[-4:]]
        if sum(map(len, groups)) < 6 or not groups or text[match.end() - 1] == "(":
            return None
        spoken = " ".join([numbers.digits(country), *map(numbers.digits, groups)])
        return Hit(match.end(), f"국가번호 {spoken}", "phone", "international", (f"플러스 {spoken}",))
    if text[start] not in "(0123456789":
        return None
    match = _DOMESTIC.match(text, start)
    if match:
        groups = [group for group in match.groups() if group]
        if text[start] == "(" and ")" not in match.group():
            return None
        years = groups[0][:2] in ("19", "20") and len(groups) == 2
        if years or _money_follows(text, match.end()):
            return None
        return Hit(match.end(), " ".join(map(numbers.digits, groups)), "phone", "hyphens")
    match = _JOINED.match(text, start) or _SERVICE.match(text, start)
    if match and not _money_follows(text, match.end()):
        return Hit(match.end(), " ".join(map(numbers.digits, match.groups())), "phone", "joined")
    return None


def _money_follows(text: str, end: int) -> bool:
    return text.startswith(("원", " 원", "%", "달러", "개", "명", "호"), end)


def special(cursor: Cursor) -> Hit | None:
    """119, 1339: emergency and service numbers, where someone calls them."""
    match = cursor.match(_SHORT)
    if not match or match[1] not in cues("service_numbers"):
        return None
    text, end = cursor.text, match.end()
    if _NOT_CALLED.match(text, end):
        return None
    called = cue("call_before", after=r"[ :(\[]{0,3}$").search(cursor.before()) or cue(
        "call_after", r"번?(?:으로|로)(?![가-힣])|번?(?:으로|로|에|에서|을|를)? ?"
    ).match(text, end)
    well = match[1] in cues("well_known") and not text.startswith("번", end)  # 112번 may be a locker
    known = well or len(match[1]) == 4
    if not called and not (known and _NAMED.match(text, end)):
        return None
    return Hit(end, numbers.digits(match[1]), "phone", "special", (numbers.sino(match[1]),))
