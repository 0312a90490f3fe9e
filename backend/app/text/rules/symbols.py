"""Signs: some are words, some are pauses, some are nothing, and the rest is reported."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from app.text import numbers, particles
from app.text.rules import pauses
from app.text.rules.electronic import EXTENSION, spell
from app.text.scan import Cursor, Hit, hangul
from app.text.tables import pairs
from app.text.transliterate import LEADS

_KEYS = re.compile(r" ?(?:버튼|번|키(?!워)|자|표|을 |를 |을$|를$|와|과|이나|나 |$|[.,)\]'\"]|또는|입력)")
_PRESS = re.compile(r"누르|눌러|입력|버튼|다이얼|별표|우물|번호|숫자|뒤에|끝에|후|마지막에")
_PARTICLE = re.compile(r"(?:을|를|이|가|은|는|과|와|로|으로|나|이나|도|만|의|에)(?![가-힣])")
_NUMBERED = re.compile(r"(?:주문|접수|예약|문의|티켓|송장|운송장|승인) ?번호(?:는|은)?[ :]{0,2}$")
_STAR = re.compile(r"표(?:(?![가-힣])|(?=[를을는은가이로와](?![가-힣])))|자(?=[를을])")
_MASK = re.compile(r"\*{2,}|(?<=[가-힣A-Za-z0-9])\*+(?=[가-힣A-Za-z0-9])")
_SERVICE = re.compile(r"\*([0-9]{1,6}(?:\*[0-9]{1,6})?)#")
_COMPANY = re.compile(r"\((주|유|재|사|학)\)")
_COMPANIES = {"주": "주식회사", "유": "유한회사", "재": "재단법인", "사": "사단법인", "학": "학교법인"}
_POSTAL = re.compile(r"\(우\) ?(?=[0-9]{5})")
# Arrows aside: shapes, dingbats and emoji, with what joins and colours them. They adorn and say nothing.
_DECORATION = re.compile("[\u2500-\u27bf\u2b00-\u2bff\u3000-\u303f\ufe00-\ufe0f\U0001f000-\U0001faff]")
_NAMELESS = re.compile(r"[○◯〇ㅇ]{2,3}")
_JAMO = re.compile(r"[ㄱ-ㅎㅏ-ㅣ]+")
_EQUALS = re.compile(r" ?=+>? ?")
_STOPS = ("", ".", ",", "?", "!", "\n")
LONGEST_FOREIGN = 64  # characters reported at once


def both_particles(cursor: Cursor) -> Hit | None:
    """을(를), (으)로: the one that fits."""
    match = cursor.match(particles.BOTH)
    before = cursor.last_spoken()
    if not match or not hangul(before):
        return None
    return Hit(match.end(), particles.both(match.group(), before), "particle", "both written", tight=True)


def phrase(cursor: Cursor) -> Hit | None:
    """(주), (우) and the ends of file names."""
    text, start = cursor.text, cursor.position
    extension = EXTENSION.match(text, start)
    if extension:
        return Hit(extension.end(), spell(extension.group()), "electronic", "file name")
    postal = cursor.match(_POSTAL)
    if postal:
        return Hit(postal.end(), "우편번호 ", "symbol", "postal code")
    company = cursor.match(_COMPANY)
    if not company:
        return None
    name = _COMPANIES[company[1]]
    if hangul(text[company.end() : company.end() + 1]) and cursor.previous() in " \n":
        return Hit(company.end(), f"{name} ", "symbol", "company")
    if cursor.previous().isalnum():
        gap = " " if hangul(text[company.end() : company.end() + 1]) else ""
        return Hit(company.end(), f" {name}{gap}", "symbol", "company")
    return None


def mark(cursor: Cursor) -> Hit:
    """The one rule that always answers."""
    char = cursor.text[cursor.position]
    reader = _READERS.get(char)
    if reader:
        return reader(cursor)
    if "①" <= char <= "⑳":
        lead = "" if cursor.last_spoken() in _STOPS else ", "
        number = numbers.sino(ord(char) - ord("①") + 1)
        return Hit(cursor.position + 1, f"{lead}{number}, ", "symbol", "circled number", joins=bool(lead))
    if "Ⅰ" <= char <= "Ⅻ" or "ⅰ" <= char <= "ⅻ":
        value = ord(char) - ord("Ⅰ" if char <= "Ⅻ" else "ⅰ") + 1
        ordinal = cursor.previous() == "제"
        return Hit(cursor.position + 1, numbers.sino(value), "symbol", "roman", tight=ordinal)
    if "ㄱ" <= char <= "ㅎ" or "ㅏ" <= char <= "ㅣ" or char in "○◯〇":
        return _letter(cursor)
    return _listed(cursor) or _other(cursor)


def _listed(cursor: Cursor) -> Hit | None:
    """Signs and letters that the lists name."""
    listed = pairs("symbols.tsv").longest(cursor.text, cursor.position)
    if listed:
        spoken, end = pairs("symbols.tsv").forms[listed], cursor.position + len(listed)
        if spoken == "-":
            return pauses.nothing(cursor, end, "sign")
        return Hit(end, f" {spoken} " if listed in "&@+×÷±√" else f"{spoken} ", "symbol", "sign")
    char = cursor.text[cursor.position]
    enclosed = unicodedata.normalize("NFKC", char).strip("()") if "㈀" <= char <= "㋿" else char
    if len(enclosed) == 1 and "ᄀ" <= enclosed <= "ᄒ":  # ㉠ holds a conjoining letter
        enclosed = LEADS[ord(enclosed) - ord("ᄀ")]
    name = pairs("letters.tsv").forms.get(enclosed)
    if not name and enclosed.isdigit():
        name = numbers.sino(enclosed)
    if not name and enclosed != char and all(map(hangul, enclosed)):
        name = enclosed
    return Hit(cursor.position + 1, name, "symbol", "letter") if name else None


def _other(cursor: Cursor) -> Hit:
    """What no list names: punctuation is a pause, letters of other scripts are reported."""
    text, end = cursor.text, cursor.position + 1
    category = unicodedata.category(text[cursor.position])
    if category[0] in "LN":
        while end < len(text) and end - cursor.position < LONGEST_FOREIGN and _foreign(text[end]):
            end += 1
        return pauses.nothing(cursor, end, "foreign script", "a script that Korean speech does not read")
    if category in ("Co", "Cn", "Cs"):
        return pauses.nothing(cursor, end, "unknown", "a character without a meaning")
    if category[0] == "P":
        return pauses.pause(cursor, end, "sign")
    if category[0] == "S" and not _DECORATION.match(text[cursor.position]):
        return pauses.nothing(cursor, end, "sign", "a sign that is not listed")
    return pauses.nothing(cursor, end, "sign")


def _foreign(char: str) -> bool:
    return unicodedata.category(char)[0] == "L" and not hangul(char) and not char.isascii()


def _letter(cursor: Cursor) -> Hit:
    """ㄱ by its name; ㅋㅋ, ㅠㅠ and the ㅇㅇ of a hidden name are something else."""
    nameless = cursor.match(_NAMELESS)
    if nameless and hangul(cursor.previous()):
        return Hit(nameless.end(), " 땡땡", "symbol", "nameless")
    run, char = cursor.match(_JAMO), cursor.text[cursor.position]
    end = run.end() if run else cursor.position + 1
    if nameless and nameless.end() < len(cursor.text) and hangul(cursor.text[nameless.end()]):
        return Hit(nameless.end(), "땡땡", "symbol", "nameless")
    name = pairs("letters.tsv").forms.get(char)
    if end - cursor.position > 1 or char in "ㅋㅎㅠㅜ" or not name:
        return pauses.nothing(cursor, end, "emotion")
    return Hit(end, name, "symbol", "letter")


def _star(cursor: Cursor) -> Hit:
    """*: the key, a bullet, or a mask over what is not said."""
    text, end = cursor.text, cursor.position + 1
    service = cursor.match(_SERVICE)
    if service:
        spoken = " 별표 ".join(map(numbers.digits, service[1].split("*")))
        return Hit(service.end(), f"별표 {spoken} 우물 정자", "symbol", "service code")
    mask = cursor.match(_MASK)
    if mask:
        return Hit(mask.end(), " " if hangul(cursor.last()) else "", "symbol", "mask")
    if cursor.previous() == "\n" and text[end : end + 1] == " ":
        return Hit(end + 1, "", "symbol", "bullet")
    return _key(cursor, "별표", end + bool(_STAR.match(text, end)))


def _hash(cursor: Cursor) -> Hit:
    """#: the key, or the head of a tag."""
    text, end = cursor.text, cursor.position + 1
    if _NUMBERED.search(cursor.before()):
        return Hit(end, "", "symbol", "number sign")
    if _KEYS.match(text, end) or _PRESS.search(cursor.before(12)):
        return _key(cursor, "우물 정자", end)
    if hangul(text[end : end + 1]) or text[end : end + 1].isalpha():
        return Hit(end, " 해시태그 ", "symbol", "hashtag")
    return _key(cursor, "샵", end)


def _key(cursor: Cursor, name: str, end: int) -> Hit:
    noun = hangul(cursor.text[end : end + 1]) and not _PARTICLE.match(cursor.text, end)
    return Hit(end, name + (" " if noun else ""), "symbol", "key")


def _equals(cursor: Cursor) -> Hit:
    """1P=1원 → 일 포인트는 일 원."""
    run, last = cursor.match(_EQUALS), cursor.last_spoken()
    end = run.end() if run else cursor.position + 1
    if not hangul(last) or end >= len(cursor.text):
        return pauses.pause(cursor, end)
    particle = particles.choose(("은", "는"), last)
    return Hit(end, f"{particle} ", "symbol", "equals", tight=True, joins=True)


def _up(cursor: Cursor) -> Hit:
    """3만원↑: that much and more."""
    if cursor.previous() in "원점명개회㎏㎡gm":
        return Hit(cursor.position + 1, " 이상", "symbol", "arrow")
    return pauses.pause(cursor, cursor.position + 1)


def _paused(cursor: Cursor) -> Hit:
    return pauses.pause(cursor, cursor.position + 1)


_READERS: dict[str, Callable[[Cursor], Hit]] = {
    **dict.fromkeys("<>{}〔〕【】:;/|…※▶▷►◆◇■□●★☆▪◦‣➤➢☞↔⇨_\\←↓", _paused),
    "^": lambda cursor: pauses.nothing(cursor, cursor.position + 1, "emotion"),
    **dict.fromkeys("\"'“”‘’「」『』〈〉《》`", pauses.quotes),
    **dict.fromkeys("([", pauses.opening),
    **dict.fromkeys(")]", pauses.closing),
    **dict.fromkeys("-—―─━", pauses.dash),
    " ": pauses.spaces,
    "~": pauses.tilde,
    "·": pauses.dot,
    "→": pauses.arrow,
    "↑": _up,
    "#": _hash,
    "*": _star,
    "=": _equals,
}
