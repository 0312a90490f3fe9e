"""Numbers that name something: after a cue word, on plates, in groups with hyphens."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.rules.amounts import amount
from app.text.rules.codes import spell_code
from app.text.rules.measures import measure
from app.text.scan import Cursor, Hit
from app.text.tables import cue

_PLATE = re.compile(r"([0-9]{2,3}) ?([가-힣]) ?([0-9]{4})(?![0-9]|원|만|년|번지|호|개|명)")
_PLATE_LETTERS = frozenset(
    "가나다라마거너더러머버서어저고노도로모보소오구누두루무부수우주하허호배바사아자육해공국합"
)
_ID = re.compile(r"[0-9]{1,20}(?:-[0-9A-Za-z*]{1,16}){0,6}")
_SPREAD = re.compile(
    r"(?:[0-9]{3,6}(?: [0-9]{3,6}){1,4}|[0-9](?: [0-9]){2,12})(?![0-9~:]|[,.][0-9]|원|개|명|번(?!으)|호|년)"
)
_DAY = re.compile(r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")
_COUNTED = re.compile(r"[~:/%]|[.,][0-9]|개|명|원|만|천|억")
_GROUPS = re.compile(r"[0-9]{2,14}(?:-[0-9*]{2,14}){1,5}(?![0-9])|[0-9]{1,8}(?:-[0-9*]{1,8}){2,5}(?![0-9-])")
_HOUSE = re.compile(r"([0-9]{1,5})-([0-9]{1,4})(?![0-9-])")
_STREET = re.compile(r"(?:[동리가로길읍면산]|번지) ?$")
_EXTENSION = re.compile(r"([0-9]{4,8})(?=번(?!째|길|지))")
_EXTENDED = re.compile(r"(?:내선|번호|상담|교환|ARS|단축)[가-힣 ]{0,6}$")
SHORTEST = 3  # digits; fewer after a cue are a number
SURE = 5  # digits that are no quantity whatever seems to follow


def plate(cursor: Cursor) -> Hit | None:
    """12가 3456, 123나 4567."""
    match = cursor.match(_PLATE)
    if not match or match[2] not in _PLATE_LETTERS:
        return None
    rest = f"{match[2]} {numbers.digits(match[3])}"
    others = (f"{numbers.sino(match[1])} {rest}",)
    return Hit(match.end(), f"{numbers.digits(match[1])} {rest}", "identifier", "plate", others)


def _is_announced(cursor: Cursor) -> bool:
    between = r"(?:는|은|가|이|를|을|에|로|으로|의)?[ :=#*\[('\"]{0,4}(?:(?:끝|뒤|앞|마지막) ?)?$"
    return cue("identifier", after=between).search(cursor.before()) is not None


def announced(cursor: Cursor) -> Hit | None:
    """Digits after a cue word: 인증번호 123456, 끝 4자리 5678."""
    match = cursor.match(_ID)
    if not match or not _is_announced(cursor):
        return None
    spread = cursor.match(_SPREAD)
    if spread:
        return Hit(spread.end(), " ".join(map(numbers.digits, spread.group().split())), "identifier", "cue")
    written, end = match.group(), match.end()
    if "-" in written:
        return None if _DAY.fullmatch(written) else Hit(end, spell_code(written), "identifier", "cue")
    if len(written) < SHORTEST or _COUNTED.match(cursor.text, end) or _is_quantity(cursor, written, end):
        return None
    return Hit(end, numbers.grouped(written), "identifier", "cue", (numbers.sino(written),))


def _is_quantity(cursor: Cursor, written: str, end: int) -> bool:
    """Whether a counter follows in earnest: 카드 100장, but not 인증번호 0912가 or 상담번호 1204번."""
    if written[0] == "0" or cursor.text.startswith("번", end):
        return False
    found = amount(cursor.text, cursor.position)
    follows = measure(cursor.text, found, cursor.before()) if found else None
    particle = follows and follows.counter and follows.counter.form in ("도", "대", "길")
    return follows is not None and not (particle and len(written) >= SURE)


def numbered(cursor: Cursor) -> Hit | None:
    """Extension and service numbers before 번: 내선 1204번."""
    match = cursor.match(_EXTENSION)
    if not match or not _EXTENDED.search(cursor.before()):
        return None
    return Hit(match.end(), numbers.digits(match[1]), "identifier", "extension", (numbers.sino(match[1]),))


def grouped(cursor: Cursor) -> Hit | None:
    """Digit groups with hyphens that are nothing else: accounts, cards, house numbers, bus lines."""
    text = cursor.text
    match = cursor.match(_GROUPS)
    house = cursor.match(_HOUSE)
    named = house and (_STREET.search(cursor.before(4)) or text.startswith(("번지", "호"), house.end()))
    if house and (named or not match):
        spoken = f"{numbers.sino(house[1])} 다시 {numbers.sino(house[2])}"
        return Hit(house.end(), spoken, "identifier", "house number", (numbers.digits(house.group()),))
    return Hit(match.end(), spell_code(match.group()), "identifier", "hyphens") if match else None
