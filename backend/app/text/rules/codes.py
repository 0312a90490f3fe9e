"""Codes of letters and digits: KE123, A-12, RX-20240115-1234, S24, B1층."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.scan import Cursor, Hit
from app.text.tables import listed_word, pairs

_CODE = re.compile(
    r"[A-Za-z]{1,10}(?:[-_]?[0-9*]{1,24}|-[A-Za-z]{1,6}(?=-?[0-9]))(?:-?[A-Za-z0-9*]{1,24}){0,6}"
    r"|[A-Z]{1,3} [0-9]{3,4}(?=편)"
)
_FLOORS = re.compile(r"B([1-9])F?층? ?[~-] ?(B?)([1-9][0-9]?)(F|층)(?![A-Za-z0-9])")
_BASEMENT = re.compile(
    r"B([1-9])(?:F층?|층)(?![A-Za-z0-9])"
    r"|B([1-9])(?= ?(?:주차|로비|매장|식품|푸드|연결|상가|지하|승강장|출구|입구))"
)
_PLACE = re.compile(r"호|층|구역|출구|동|홀|실")
_POINT = re.compile(r"\.([0-9]{1,3})(?![0-9.])")
_PIECE = re.compile(r"[A-Za-z]+|[0-9]+")


def spell_code(written: str, counted: bool = False) -> str:
    """Letters by name, digits one by one (or as a number where `counted`), a breath at each hyphen."""
    letters = pairs("letters.tsv").forms
    parts = []
    for piece in _PIECE.findall(written):
        if piece[0].isalpha():
            parts.append("".join(letters[letter.upper()] for letter in piece))
        elif counted and len(piece) <= 2 and piece[0] != "0":
            parts.append(numbers.sino(piece))
        else:
            parts.append(numbers.grouped(piece))
    return " ".join(parts)


def code(cursor: Cursor) -> Hit | None:
    """A code; short numbers in it are counted (갤럭시 S24), long ones spelled (주문번호 A1024)."""
    floors = cursor.match(_FLOORS)
    if floors:
        low, high = numbers.sino(floors[1]), numbers.sino(floors[3])
        below = floors[2] or (floors[4] == "층" and len(floors[3]) == 1)  # B1~3층, but B2~15F
        spoken = f"지하 {low} 층에서 {'지하 ' if below else ''}{high} 층"
        return Hit(floors.end(), spoken, "floor", "basement")
    basement = cursor.match(_BASEMENT)
    if basement:
        low = numbers.sino(basement[1] or basement[2])
        return Hit(basement.end(), f"지하 {low} 층", "floor", "basement")
    match = cursor.match(_CODE)
    if not match:
        return None
    written, text, end = match.group(), cursor.text, match.end()
    pieces = _PIECE.findall(written)
    if len(pieces) != 2 or not pieces[1].isdigit():
        return Hit(end, spell_code(written, counted=True), "identifier", "code")
    name = (listed_word(pieces[0]) if len(pieces[0]) > 1 else None) or spell_code(pieces[0])
    if _PLACE.match(text, end):
        return Hit(end, f"{spell_code(pieces[0])} {numbers.sino(pieces[1])} ", "identifier", "code")
    fraction = _POINT.match(text, end)
    if fraction:
        spoken = f"{name} {numbers.decimal(pieces[1], fraction[1])}"
        return Hit(fraction.end(), spoken, "identifier", "version")
    short = len(pieces[1]) <= 2 and pieces[1][0] != "0"
    number = numbers.sino(pieces[1]) if short else numbers.grouped(pieces[1])
    return Hit(end, f"{name} {number}", "identifier", "code")
