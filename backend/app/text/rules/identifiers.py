"""What names something: numbers after a cue word, plates, codes of letters and digits."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.rules.amounts import amount
from app.text.rules.measures import measure
from app.text.scan import Cursor, Hit
from app.text.tables import cue, pairs

_PLATE = re.compile(r"([0-9]{2,3}) ?([가-힣]) ?([0-9]{4})(?![0-9])")
_PLATE_LETTERS = frozenset(
    "가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주하허호배바사아자육해공국합"
)
_ID = re.compile(r"[0-9]{1,20}(?:[-–][0-9A-Za-z*]{1,16}){0,6}")
_GROUPS = re.compile(r"[0-9]{2,14}(?:-[0-9*]{2,14}){1,5}(?![0-9])|[0-9]{1,8}(?:-[0-9*]{1,8}){2,5}(?![0-9-])")
_ADDRESS = re.compile(r"(?:[동리가로길읍면산]|번지) ?$")
_CODE = re.compile(
    r"[A-Za-z]{1,10}(?:[-_ ]?[0-9*]{1,24}|-[A-Za-z]{1,6}(?=-?[0-9]))(?:-?[A-Za-z0-9*]{1,24}){0,6}"
)
_BASEMENT = re.compile(
    r"B([1-9])F?층?(?: ?[~-] ?B?([1-9])(?:F|층))(?![A-Za-z0-9])"
    r"|B([1-9])(?:F층?|층)(?![A-Za-z0-9])|B([1-9])(?= ?(?:주차|로비|매장|식품|푸드|연결|상가|지하|승강장|출구|입구))"
)
_PIECE = re.compile(r"[A-Za-z]+|[0-9]+|\*+")


def plate(cursor: Cursor) -> Hit | None:
    """12가 3456, 123나 4567."""
    match = cursor.match(_PLATE)
    if not match or match[2] not in _PLATE_LETTERS:
        return None
    if match[2] in "조" or re.match(
        r"(?:원|만|년|번지|호|개|명)", cursor.text[match.end() : match.end() + 2]
    ):
        return None
    spoken = f"{numbers.digits(match[1])} {match[2]} {numbers.digits(match[3])}"
    return Hit(
        match.end(),
        spoken,
        "identifier",
        "plate",
        (f"{numbers.sino(match[1])} {match[2]} {numbers.digits(match[3])}",),
    )


def _announced() -> re.Pattern[str]:
    between = r"(?:는|은|가|이|를|을|에|로|으로|의)?[ :=#*\[('\"]{0,4}(?:(?:끝|뒤|앞|마지막) ?)?$"
    return cue("identifier", after=between)


def announced(cursor: Cursor) -> Hit | None:
    """Digits after a cue word: 인증번호 123456, 끝 4자리 5678."""
    match = cursor.match(_ID)
    if not match or not _announced().search(cursor.before()):
        return None
    text, written, end = cursor.text, match.group(), match.end()
    run = re.compile(r"[0-9]+").match(text, cursor.position)
    if run and text.startswith(",", run.end()) and re.match(r",[0-9]{3}", text[run.end() : run.end() + 4]):
        return None
    if "-" not in written:
        found = amount(text, cursor.position)
        if text.startswith(("~", ":", "/", "%"), end) or (
            text.startswith(".", end) and text[end + 1 : end + 2].isdigit()
        ):
            return None
        if len(written) < 3:
            return None
        follows = measure(text, found, cursor.before()) if found else None
        sure = written[0] == "0" or len(written) > 4
        if (
            follows
            and sure
            and (written[0] == "0" or (follows.counter and follows.counter.form in ("도", "대", "길")))
        ):
            follows = None
        if follows and not (text.startswith("번", end) and len(written) > 2):
            return None
        if re.match(r"[가-힣]", text[end : end + 1]) and text.startswith(
            ("개", "명", "원", "만", "천", "억"), end
        ):
            return None
        return Hit(end, numbers.grouped(written), "identifier", "cue", (numbers.sino(written),))
    if re.match(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?![0-9-])", written) and re.search(
        r"일[ :]*$", cursor.before(4)
    ):
        return None
    return Hit(end, spell_code(written), "identifier", "cue")


def grouped(cursor: Cursor) -> Hit | None:
    """Digit groups with hyphens that are nothing else: accounts, cards, house numbers."""
    text, start = cursor.text, cursor.position
    house = re.compile(r"([0-9]{1,5})-([0-9]{1,4})(?![0-9-])").match(text, start)
    if house and (_ADDRESS.search(cursor.before(4)) or text.startswith(("번지", "호"), house.end())):
        spoken = f"{numbers.sino(house[1])} 다시 {numbers.sino(house[2])}"
        return Hit(house.end(), spoken, "identifier", "house number", (numbers.digits(house.group()),))
    match = cursor.match(_GROUPS)
    if match:
        return Hit(match.end(), spell_code(match.group()), "identifier", "hyphens")
    if house:
        spoken = f"{numbers.sino(house[1])} 다시 {numbers.sino(house[2])}"
        return Hit(house.end(), spoken, "identifier", "hyphen")
    return None


def numbered(cursor: Cursor) -> Hit | None:
    """Extension and service numbers of three or more digits before 번: 내선 1204번."""
    match = re.compile(r"([0-9]{4,8})(?=번(?!째|길|지))").match(cursor.text, cursor.position)
    if not match or not re.search(r"(?:내선|번호|상담|교환|ARS|단축)[가-힣 ]{0,6}$", cursor.before()):
        return None
    return Hit(match.end(), numbers.digits(match[1]), "identifier", "extension", (numbers.sino(match[1]),))


def spell_code(written: str, counted: bool = False) -> str:
    """Letters by name, digits one by one (or as a number where `counted`), a breath at each hyphen."""
    letters = pairs("letters.tsv").forms
    parts = []
    for piece in _PIECE.findall(written):
        if piece[0] == "*":
            continue
        if piece[0].isdigit():
            short = len(piece) <= 2 and piece[0] != "0" and counted
            parts.append(numbers.sino(piece) if short else numbers.grouped(piece))
        else:
            parts.append("".join(letters[letter.upper()] for letter in piece))
    return " ".join(parts)


def code(cursor: Cursor) -> Hit | None:
    """Letters and digits together: KE123, A-12, RX-20240115-1234, S24."""
    match = cursor.match(_CODE)
    if not match:
        return None
    written, text = match.group(), cursor.text
    if " " in written and not re.match(r"[A-Z]{1,3} [0-9]{3,}", written):
        return None
    if re.match(r"[A-Za-z]{3,} ", written):
        return None
    from app.text.rules.latin import known

    pieces = _PIECE.findall(written)
    end = match.end()
    basement = _BASEMENT.match(text, cursor.position)
    if basement:
        low, high = basement[1] or basement[3] or basement[4], basement[2]
        spoken = f"지하 {numbers.sino(low)} 층" + (f"에서 지하 {numbers.sino(high)} 층" if high else "")
        return Hit(basement.end(), spoken, "floor", "basement")
    alone = len(pieces) == 2 and pieces[1][0].isdigit()
    head = known(pieces[0]) if len(pieces[0]) > 1 else None
    if alone and text.startswith(("호", "층", "구역", "출구", "동", "홀", "실"), end):
        number = numbers.sino(pieces[1])
        if pieces[0] == "B" and text.startswith("층", end):
            return Hit(end, f"지하 {number} ", "floor", "basement")
        letters = spell_code(pieces[0])
        return Hit(end, f"{letters} {number} ", "identifier", "code")
    if alone and len(pieces[1]) <= 2 and pieces[1][0] != "0":
        name = head or spell_code(pieces[0])
        return Hit(end, f"{name} {numbers.sino(pieces[1])}", "identifier", "code")
    fraction = re.compile(r"\.([0-9]{1,3})(?![0-9.])").match(text, end)
    if alone and fraction:
        name = head or spell_code(pieces[0])
        return Hit(
            fraction.end(), f"{name} {numbers.decimal(pieces[1], fraction[1])}", "identifier", "version"
        )
    if head and alone:
        return Hit(end, f"{head} {numbers.grouped(pieces[1])}", "identifier", "code")
    return Hit(end, spell_code(written, counted=True), "identifier", "code")
