"""Signs: some are words, some are pauses, some are nothing, and the rest is reported."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from app.text import numbers, particles
from app.text.rules import pauses
from app.text.rules.electronic import EXTENSION, spell
from app.text.rules.quantities import ordinal
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
_CIRCLED = re.compile("[①-⑳㉑-㉟㊱-㊿]")
_LABELLED = re.compile(r"(?:번|호|항|조)(?!호)(?=[^가-힣]|$|[을를이은는과와에의으로인입나])|(?:단계|항목)")
_SERIES = re.compile("(?:, ?|[~·-])[①-⑳㉑-㉟㊱-㊿]")
_KEY_ARROW = re.compile("([←→↑↓]{1,4}) ?(?:화살표|(?=버튼|키(?!워)|방향키))")
_SIDES = {"←": "왼쪽", "→": "오른쪽", "↑": "위쪽", "↓": "아래쪽"}
_TREND = re.compile(
    r"[▲▼△▽↑↓] ?[0-9][0-9,]{0,9}(?:(?:\.[0-9]{1,3})? ?(?:%p?|p(?![a-z])|bp|포인트)|\.[0-9]{1,3})"
    r"|[▲▼△▽][0-9][0-9,]{0,12}[만억천]{0,2}원"  # in accounts a minus
)
_TOLD = re.compile(r" ?(?:올[라랐린]|오른|상승|증가|늘|내[려렸린]|하락|감소|떨어|인상|인하|줄)")
_MEASURED = re.compile(r"[0-9][여만억천]{0,3} ?(?P<unit>%p?|[㎏㎡㎞℃]|[가-힣A-Za-z]{1,4}) ?$")
_CHANGES = frozenset({"%", "%p", "p", "bp", "포인트", "퍼센트", "프로"})
_CHANGING = re.compile(r"기온|수온|환율|유가|주가|지수|시세|물가|금리|매출|전일|전월|전년|동기|대비")
_RISE, _FALL = ("상승", "증가", "이상"), ("하락", "감소", "인하", "할인", "이하")
_VERTICAL = {"↑": _RISE, "▲": _RISE, "△": _RISE, "↓": _FALL, "▼": _FALL, "▽": _FALL}
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


def arrow(cursor: Cursor) -> Hit | None:
    """An arrow that is a key (↑ 버튼) or tells where a number goes (5%↑); others are no words."""
    apart = cursor.last_spoken() in _STOPS
    key = cursor.match(_KEY_ARROW)
    if key and (apart or key[1] != "→"):  # 설정 → 버튼 is a way through menus
        return Hit(key.end(), f"{' '.join(map(_SIDES.__getitem__, key[1]))} 화살표 ", "symbol", "arrow key")
    words = _VERTICAL.get(cursor.text[cursor.position])
    if not words:
        return None
    text, end, before = cursor.text, cursor.position + 1, cursor.before()
    bullet = text[cursor.position] not in "↑↓" and (
        cursor.previous() in " \n" or text[end : end + 1].isalnum()
    )
    trend, measured = cursor.match(_TREND), None if bullet else _MEASURED.search(before)
    if _TOLD.match(text, trend.end() if trend else end):
        return None
    if measured and not trend:
        changes = measured["unit"] in _CHANGES or _CHANGING.search(before)
        word = words[0] if changes else words[-1]
        others = tuple(other for other in words if other != word)
        gap = " " if text[end : end + 1].isalnum() else ""
        return Hit(end, f" {word}{gap}", "symbol", "arrow", others, 0.7)
    if trend or (not apart and text[cursor.position] in "↑↓"):
        return pauses.nothing(
            cursor, end, "arrow", "an arrow or triangle that may mean a rise, a fall, a minus or nothing"
        )
    return None


def mark(cursor: Cursor) -> Hit:
    """The one rule that always answers."""
    char = cursor.text[cursor.position]
    reader = _READERS.get(char)
    if reader:
        return reader(cursor)
    if _CIRCLED.match(char):
        return _item(cursor, int(unicodedata.numeric(char)))
    if "Ⅰ" <= char <= "Ⅻ" or "ⅰ" <= char <= "ⅻ":
        value = ord(char) - ord("Ⅰ" if char <= "Ⅻ" else "ⅰ") + 1
        named = ordinal(cursor.before())
        return Hit(cursor.position + 1, numbers.sino(value), "symbol", "roman", tight=named, joins=named)
    if "ㄱ" <= char <= "ㅎ" or "ㅏ" <= char <= "ㅣ" or char in "○◯〇":
        return _letter(cursor)
    return _listed(cursor) or _other(cursor)


def _item(cursor: Cursor, value: int) -> Hit:
    """① heads an item, with a pause around it; ①번, ①과 ② and ①~③ are numbers like any other."""
    text, end, spoken = cursor.text, cursor.position + 1, numbers.sino(value)
    label = _LABELLED.match(text, end)
    if label or _SERIES.match(text, end) or _PARTICLE.match(text, end):
        named = ordinal(cursor.before())
        gap = " " if label else ""
        return Hit(end, spoken + gap, "symbol", "circled number", tight=named, joins=named)
    lead = "" if cursor.last_spoken() in _STOPS else ", "
    return Hit(end, f"{lead}{spoken}, ", "symbol", "circled number", joins=bool(lead))


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


def _caret(cursor: Cursor) -> Hit:
    """^^ smiles; 10^2 is a power, which no announcement has."""
    power = cursor.previous().isdigit() and cursor.text[cursor.position + 1 : cursor.position + 2].isdigit()
    return pauses.nothing(
        cursor, cursor.position + 1, "emotion", "a sign that is not listed" if power else ""
    )


def _paused(cursor: Cursor) -> Hit:
    return pauses.pause(cursor, cursor.position + 1)


_READERS: dict[str, Callable[[Cursor], Hit]] = {
    **dict.fromkeys("<>{}〔〕【】:;/|…※▶▷►◆◇■□●★☆▪◦‣➤➢☞↔⇨_\\←↑↓", _paused),
    "^": _caret,
    **dict.fromkeys("\"'“”‘’「」『』〈〉《》`", pauses.quotes),
    **dict.fromkeys("([", pauses.opening),
    **dict.fromkeys(")]", pauses.closing),
    **dict.fromkeys("-—―─━", pauses.dash),
    " ": pauses.spaces,
    "~": pauses.tilde,
    "·": pauses.dot,
    "→": pauses.arrow,
    "#": _hash,
    "*": _star,
    "=": _equals,
}
