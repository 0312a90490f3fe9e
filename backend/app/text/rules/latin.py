"""Latin letters: listed words and brands, acronyms by letter names, and guesses that are reported."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.scan import Cursor, Hit
from app.text.tables import listed_word, pairs, units, words
from app.text.transliterate import transliterate

_RUN = re.compile(r"[A-Za-z]{1,40}(?:['’][A-Za-z]{1,2}(?![A-Za-z]))?")
_ALNUM = re.compile(r"[A-Za-z0-9]")
_GOES_ON = re.compile(r"[A-Za-z0-9]|[.,][0-9]|%|℃|배|원")
_POINT = re.compile(r"\.(?= ?[0-9(])")  # Tel. 02-…
_NUMBERED = re.compile(r"[Nn][oO]\. ?([0-9]{1,6})")
_VERSION = re.compile(r"[vV](?:er)?\.? ?([0-9]{1,4}(?:\.[0-9]{1,4}){1,4})(?![0-9])")
_ROMAN = re.compile(r"(?:IX|IV|VI{0,3}|I{1,3}|XI{0,2}|X)(?![A-Za-z0-9&.'-])")
_ROMANS = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
_GRADE = re.compile(r"([A-D]{1,3}[0-9]?)([+-])(?=[ ,.)]|$|등급|학점|형|급)")
_COUNTDOWN = re.compile(r"D([-+])([0-9]{1,3})(?![0-9-])")
_SIGNS = {"+": "플러스", "-": "마이너스"}
_ENGLISH = ("", "원", "투", "쓰리", "포", "파이브")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")  # NPay is N and Pay
_INITIALS = re.compile(r"(?<!/)([A-Z])/([A-Z])(?![A-Za-z0-9/])")  # C/S, but not S/M/L
_VOWEL = re.compile(r"[AEIOUYaeiouy]")
_SPELLED_BEFORE = re.compile(
    r"(?:ID|아이디|코드|암호|비밀번호|번호|영문|알파벳|접두어)[가-힣]{0,2}[ :('\"]{0,3}$"
)


def _listed(cursor: Cursor) -> tuple[int, str] | None:
    """The longest listed form here that is no part of a longer one: Wi-Fi, 5G, T map, GS25."""
    text, start = cursor.text, cursor.position
    for length in words()[1].lengths(text[start].lower()):
        form, after = text[start : start + length], text[start + length : start + length + 1]
        torn = form[-1].isalnum() and form[-1].isascii() and _ALNUM.match(after)  # A4 is no A
        if torn or form.isdigit() or len(form) < length:
            continue
        spoken = listed_word(form)
        if spoken:
            return start + length, spoken
    return None


def phrase(cursor: Cursor) -> Hit | None:
    """A form from phrases.tsv, or the longest listed word."""
    text, start = cursor.text, cursor.position
    form = pairs("phrases.tsv").longest(text, start)
    end = start + len(form or "")
    if form and not (form[-1].isalnum() and _GOES_ON.match(text, end)):
        kind = "latin" if form[0].isalpha() else "number_expr"
        return Hit(end, pairs("phrases.tsv").forms[form], kind, "phrase")
    found = _listed(cursor)
    if not found:
        return None
    end, spoken = found
    return Hit(end + bool(_POINT.match(text, end)), spoken, "latin", "word list")


def numbered(cursor: Cursor) -> Hit | None:
    """No. 3 → 넘버 삼, v3.2 → 버전 삼 점 이."""
    version = cursor.match(_VERSION)
    if version:
        spoken = " 점 ".join(map(numbers.sino, version[1].split(".")))
        named = "" if cursor.before(6).rstrip().endswith(("버전", "버젼")) else "버전 "
        return Hit(version.end(), named + spoken, "latin", "version")
    match = cursor.match(_NUMBERED)
    if not match:
        return None
    number = "원" if match[1] == "1" else numbers.sino(match[1])
    return Hit(match.end(), f"넘버 {number}", "latin", "number sign")


def grade(cursor: Cursor) -> Hit | None:
    """AA-, B+ and days to go: D-7."""
    match = cursor.match(_COUNTDOWN)
    if match:
        return Hit(match.end(), f"디 {_SIGNS[match[1]]} {numbers.sino(match[2])}", "latin", "countdown")
    match = cursor.match(_GRADE)
    if not match or cursor.text.startswith(" -", match.end() - 1):
        return None
    letters = pairs("letters.tsv").forms
    name = "".join(letters[char] if char.isalpha() else numbers.sino(char) for char in match[1])
    return Hit(match.end(), f"{name} {_SIGNS[match[2]]} ".rstrip() + " ", "latin", "grade")


def roman(cursor: Cursor) -> Hit | None:
    """II, III and IV after a name; one letter alone stays a letter."""
    match = cursor.match(_ROMAN)
    if not match or len(match.group()) < 2 or match.group() in ("VI", "XI"):
        return None
    value = _ROMANS.index(match.group())
    before = cursor.before(8).rstrip()
    english = value <= 3 and (
        before[-1:].isascii() or before.endswith(("타입", "노트", "시즌", "플랜", "시리즈", "라이프"))
    )
    return Hit(match.end(), _ENGLISH[value] if english else numbers.sino(value), "latin", "roman")


def word(cursor: Cursor) -> Hit | None:
    """A word by the list, an acronym by its letters, anything else as a guess that is reported."""
    match = cursor.match(_RUN)
    if not match:
        return None
    initials = cursor.match(_INITIALS)
    if initials:
        letters = pairs("letters.tsv").forms
        return Hit(initials.end(), letters[initials[1]] + letters[initials[2]], "latin", "letters")
    hit = _word(cursor, match)
    return hit._replace(end=hit.end + bool(_POINT.match(cursor.text, hit.end)))


def _word(cursor: Cursor, match: re.Match[str]) -> Hit:
    written, text = match.group(), cursor.text
    if re.fullmatch("O{2,3}|X{2,3}", written) and "가" <= cursor.previous() <= "힣":
        return Hit(match.end(), "땡땡", "latin", "nameless")
    spoken = listed_word(written)
    if spoken:
        return Hit(match.end(), spoken, "latin", "word list")
    if written[-2:-1] in ("'", "’") and written[-1] in "sS" and listed_word(written[:-2]):
        return Hit(match.end(), f"{listed_word(written[:-2])}스", "latin", "word list")
    letters = pairs("letters.tsv").forms
    run = re.sub(r"['’]", "", written)
    spelled = "".join(letters[letter.upper()] for letter in run)
    unit = units()[0].longest(text, cursor.position)
    if unit and text.startswith("당", cursor.position + len(unit)):  # kg당, m²당
        return Hit(cursor.position + len(unit), units()[1][unit], "unit", "unit alone")
    if len(run) == 1:
        return Hit(match.end(), spelled, "latin", "letter")
    if run in units()[1] and (run.islower() or run in ("kWh", "kW", "mL", "GB", "MB", "TB", "Hz", "dB")):
        return Hit(match.end(), units()[1][run], "unit", "unit alone")
    if run[-1] == "s" and run[:-1].isupper() and len(run) <= 6:
        return Hit(match.end(), spelled[: -len(letters["S"])] + "스", "latin", "letters", confidence=0.8)
    if run.isupper() and (len(run) <= 4 or not _VOWEL.search(run)):
        return Hit(match.end(), spelled, "latin", "letters", confidence=0.9)
    parts = _CAMEL.findall(run)
    if len(parts) > 1 and all((len(part) <= 3 and part.isupper()) or listed_word(part) for part in parts):
        spoken = "".join(listed_word(part) or "".join(map(letters.__getitem__, part)) for part in parts)
        return Hit(match.end(), spoken, "latin", "joined words", confidence=0.8)
    if _SPELLED_BEFORE.search(cursor.before()):
        return Hit(match.end(), spelled, "electronic", "letters")
    if run.isupper() and len(run) <= 5:
        return Hit(match.end(), spelled, "latin", "letters", (transliterate(run),), 0.7)
    if len(run) <= 3 or not _VOWEL.search(run):
        return Hit(
            match.end(),
            spelled,
            "latin",
            "letters",
            confidence=0.5,
            unclear="an abbreviation that is not listed",
        )
    return Hit(
        match.end(),
        transliterate(run),
        "latin",
        "guess",
        (spelled,),
        0.3,
        unclear="a word that is not listed",
    )
