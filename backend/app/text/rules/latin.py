"""Latin letters: listed words and brands, acronyms by letter names, and guesses that are reported."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.scan import Cursor, Hit
from app.text.tables import pairs, units, words
from app.text.transliterate import transliterate

_RUN = re.compile(r"[A-Za-z]{1,40}(?:['’][A-Za-z]{1,2}(?![A-Za-z]))?")
_EDGE = re.compile(r"[A-Za-z0-9]")
_NUMBERED = re.compile(r"[Nn][oO]\. ?([0-9]{1,6})")
_ROMAN = re.compile(r"(?:IX|IV|VI{0,3}|I{1,3}|XI{0,2}|X)(?![A-Za-z0-9&.'-])")
_ROMANS = {
    "I": 1,
    "II": 2,
    "III": 3,
    "IV": 4,
    "V": 5,
    "VI": 6,
    "VII": 7,
    "VIII": 8,
    "IX": 9,
    "X": 10,
    "XI": 11,
    "XII": 12,
}
_ENGLISH = ("", "원", "투", "쓰리", "포", "파이브")
_VOWEL = re.compile(r"[AEIOUYaeiouy]")
_SPELLED_BEFORE = re.compile(
    r"(?:ID|아이디|코드|암호|비밀번호|번호|영문|알파벳|접두어)[가-힣]{0,2}[ :('\"]{0,3}$"
)


def known(written: str) -> str | None:
    """The listed reading of a word, whatever its case."""
    exact, lower = words()
    if written in exact.forms:
        return exact.forms[written]
    if written.isupper() and len(written) <= 2:
        spoken = lower.get(written.lower())
        return (
            spoken
            if spoken and written.lower() not in exact.forms and written.capitalize() not in exact.forms
            else None
        )
    return lower.get(written.lower())


def _listed(cursor: Cursor) -> tuple[int, str] | None:
    """The longest listed form here that is no part of a longer one: Wi-Fi, 5G, T map, GS25."""
    text, start = cursor.text, cursor.position
    stop = min(len(text), start + 32)
    window = text[start:stop]
    edges = [match.end() for match in re.finditer(r"[A-Za-z0-9+&.!](?![A-Za-z0-9])|[가-힣]", window)]
    run = re.match(r"[A-Za-z]+|[0-9]+", window)
    if run:
        edges.append(run.end())
    for length in sorted(set(edges), reverse=True):
        form = window[:length]
        if " " in form and not form.isascii():
            continue
        if form[-1].isdigit() and text[start + length : start + length + 1].isdigit():
            continue
        if (
            form[-1].isalpha()
            and form[-1].isascii()
            and text[start + length : start + length + 1].isascii()
            and text[start + length : start + length + 1].isalpha()
        ):
            continue
        if (
            run
            and length == run.end()
            and form.isalpha()
            and text[start + length : start + length + 1].isdigit()
        ):
            continue
        spoken = known(form)
        if spoken and not (form.isdigit()):
            return start + length, spoken
    return None


def phrase(cursor: Cursor) -> Hit | None:
    """A form from phrases.tsv or a listed word with digits or signs in it."""
    text, start = cursor.text, cursor.position
    form = pairs("phrases.tsv").longest(text, start)
    if form:
        end = start + len(form)
        if not (form[-1].isascii() and form[-1].isalnum() and _EDGE.match(text, end)) and not (
            form[-1].isdigit()
            and (
                (text.startswith((".", ","), end) and text[end + 1 : end + 2].isdigit())
                or text.startswith(("%", "℃", "배", "km", "kg"), end)
            )
        ):
            return Hit(
                end,
                pairs("phrases.tsv").forms[form],
                "latin" if form[0].isalpha() else "number_expr",
                "phrase",
            )
    found = _listed(cursor)
    if not found:
        return None
    end, spoken = found
    unit = text[start:end]
    if unit in units()[1] and unit.islower() and len(unit) <= 2 and cursor.previous() == " " and False:
        return None
    point = re.compile(r"\.(?= ?[0-9(])").match(text, end)  # Tel. 02-…
    return Hit(end + bool(point), spoken, "latin", "word list")


def numbered(cursor: Cursor) -> Hit | None:
    """No. 3 → 넘버 삼."""
    match = cursor.match(_NUMBERED)
    if not match:
        return None
    number = "원" if match[1] == "1" else numbers.sino(match[1])
    return Hit(match.end(), f"넘버 {number}", "latin", "number sign")


_GRADE = re.compile(r"([A-D]{1,3}[0-9]?)([+-])(?=[ ,.)]|$|등급|학점|형|급)")
_COUNTDOWN = re.compile(r"D([-+])([0-9]{1,3})(?![0-9-])")


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


_SIGNS = {"+": "플러스", "-": "마이너스"}


def roman(cursor: Cursor) -> Hit | None:
    """II, III and IV after a name; one letter alone stays a letter."""
    match = cursor.match(_ROMAN)
    if not match or len(match.group()) < 2 or match.group() in ("VI", "XI"):
        return None
    value = _ROMANS.get(match.group())
    if value is None:
        return None
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
    hit = _word(cursor, match)
    point = re.compile(r"\.(?= ?[0-9(])").match(cursor.text, hit.end)  # Tel. 02-…
    return hit._replace(end=hit.end + 1) if point else hit


def _word(cursor: Cursor, match: re.Match[str]) -> Hit:
    written, text = match.group(), cursor.text
    if re.fullmatch("O{2,3}|X{2,3}", written) and "가" <= cursor.previous() <= "힣":
        return Hit(match.end(), "땡땡", "latin", "nameless")
    spoken = known(written)
    if spoken:
        return Hit(match.end(), spoken, "latin", "word list")
    if written[-2:-1] in ("'", "’") and written[-1] in "sS" and known(written[:-2]):
        return Hit(match.end(), f"{known(written[:-2])}스", "latin", "word list")
    letters = pairs("letters.tsv").forms
    run = re.sub(r"['’]", "", written)
    spelled = "".join(letters[letter.upper()] for letter in run)
    if text.startswith("당", match.end()) and run in units()[1]:
        return Hit(match.end(), units()[1][run], "unit", "unit alone")
    if len(run) == 1:
        return Hit(match.end(), spelled, "latin", "letter")
    if run in units()[1] and (run.islower() or run in ("kWh", "kW", "mL", "GB", "MB", "TB")):
        return Hit(match.end(), units()[1][run], "unit", "unit alone")
    if run[-1] == "s" and run[:-1].isupper() and len(run) <= 6:
        return Hit(match.end(), spelled[: -len(letters["S"])] + "스", "latin", "letters", confidence=0.8)
    if run.isupper() and (len(run) <= 4 or not _VOWEL.search(run)):
        return Hit(match.end(), spelled, "latin", "letters", confidence=0.9)
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
