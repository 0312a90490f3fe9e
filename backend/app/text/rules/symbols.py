"""Signs: some are words, some are pauses, some are nothing, and the rest is reported."""

from __future__ import annotations

import re
import unicodedata

from app.text import numbers, particles
from app.text.rules.electronic import EXTENSION, spell
from app.text.scan import Cursor, Hit, hangul
from app.text.tables import pairs

_ECHO = re.compile(r"\((?:#|\*)\)")
_TILDE = re.compile(r" ?~+ ?")
_DASH = re.compile(r" ?[-—―─━–]+ ?")
_KEYS = re.compile(r" ?(?:버튼|키(?!워)|자|표|을 |를 |을$|를$|와|과|이나|나 |$|[.,)\]'\"]|또는|입력)")
_PRESS = re.compile(r"(?:누르|눌러|입력|버튼|다이얼|별표|우물|번호|숫자|뒤에|끝에|후|마지막에)")
_HONORIFIC = re.compile(r"\((주|유|재|사|학)\)")
_HONORIFICS = {"주": "주식회사", "유": "유한회사", "재": "재단법인", "사": "사단법인", "학": "학교법인"}
_PAUSES = frozenset("([{〔【《〈「『<)]}〕】》〉」』>:;/|…—―·※▶▷►◆◇■□●○★☆▪◦‣➤➢☞→↔⇨\"“”‘’'「_\\^=`~-→←↑↓")
_QUOTES = frozenset("\"'“”‘’「」『』〈〉《》`")
_CLOSING = ".,?!)]}>"


def both_particles(cursor: Cursor) -> Hit | None:
    """을(를), (으)로: the one that fits."""
    match = particles.BOTH.match(cursor.text, cursor.position)
    if not match:
        return None
    before = cursor.last_spoken()
    if not hangul(before):
        return None
    return Hit(match.end(), particles.both(match.group(), before), "particle", "both written", tight=True)


def phrase(cursor: Cursor) -> Hit | None:
    text, start = cursor.text, cursor.position
    extension = EXTENSION.match(text, start)
    if extension:
        return Hit(extension.end(), spell(extension.group()), "electronic", "file name")
    postal = re.compile(r"\(우\) ?(?=[0-9]{5})").match(text, start)
    if postal:
        return Hit(postal.end(), "우편번호 ", "symbol", "postal code")
    match = cursor.match(_HONORIFIC)
    if match and (cursor.previous() in " \n" or hangul(cursor.previous())):
        touching = hangul(text[match.end() : match.end() + 1])
        if touching or hangul(cursor.previous()):
            if touching:
                return Hit(match.end(), f"{_HONORIFICS[match[1]]} ", "symbol", "company")
            return Hit(match.end(), f" {_HONORIFICS[match[1]]}", "symbol", "company")
    return None


def _pause(cursor: Cursor, end: int, rule: str = "pause") -> Hit:
    """A comma, unless a pause is there already or nothing is left to say."""
    text = cursor.text
    while end < len(text) and text[end] == " ":
        end += 1
    if cursor.last_spoken() in ("", ".", ",", "?", "!", "\n") or end >= len(text) or text[end] in ".,?!\n":
        if cursor.last() in ("", " ", "\n") or end >= len(text) or text[end] in ".,?!\n":
            closing = end >= len(text) or text[end] in ".,?!\n"
            return Hit(end, "", "pause", rule, joins=closing)
        return Hit(end, " ", "pause", rule)
    return Hit(end, ", ", "pause", rule)


_NAMELESS = re.compile(r"[○◯〇ㅇ]{2,3}")


def mark(cursor: Cursor) -> Hit:
    """The one rule that always answers."""
    text, start = cursor.text, cursor.position
    char = text[start]
    nameless = _NAMELESS.match(text, start)
    if nameless and hangul(cursor.previous()):
        return Hit(nameless.end(), " 땡땡", "symbol", "nameless")
    end = start + 1
    after = text[end : end + 1]
    if char == " ":
        run = re.compile(r" +").match(text, start)
        end = run.end() if run else end
        return Hit(
            end, " " if cursor.last() not in ("", " ", "\n") and end < len(text) else "", "pause", "spaces"
        )
    if char in "()[]":
        return _bracket(cursor, char)
    if char in _QUOTES:
        tight = hangul(cursor.previous()) and hangul(after)
        return Hit(end, "", "pause", "quotes") if tight or True else _pause(cursor, end)
    if char == "~":
        return _tilde(cursor)
    if char in "#*":
        return _key(cursor, char)
    if char == "=":
        return _equals(cursor)
    if char in "→⇨":
        run = re.compile(r" ?→ ?").match(text, start)
        stop = run.end() if run else end
        single = text.count("→", max(0, start - 40), start + 40) == 1
        if single and hangul(cursor.last_spoken()) and re.match(r"[가-힣0-9]", text[stop : stop + 1]):
            return Hit(stop, "에서 ", "symbol", "arrow", tight=True, joins=True)
        return _pause(cursor, end)
    if char == "-" or char in "—―─━":
        run = _DASH.match(text, start)
        if char == "-" and hangul(cursor.previous()) and hangul(after):
            return Hit(end, " ", "pause", "hyphen")
        if char == "-" and cursor.previous().isalnum() and after.isalnum():
            return Hit(end, " ", "pause", "hyphen")
        return _pause(cursor, run.end() if run else end)
    if char == "·":
        if hangul(after) or after.isalnum():
            return Hit(
                end,
                ", " if cursor.last() not in ("", " ", "\n", ",") and cursor.previous() != " " else "",
                "pause",
                "dot",
            )
        return _pause(cursor, end)
    if char in "'&@+×÷±√≤≥":
        pass
    if char == "↑" and (cursor.previous() in "원점명개회㎏㎡gm"):
        return Hit(end, " 이상", "symbol", "arrow")
    if "①" <= char <= "⑳":
        lead = "" if cursor.last_spoken() in ("", ".", ",", "?", "!", "\n") else ", "
        return Hit(end, f"{lead}{numbers.sino(ord(char) - ord('①') + 1)}, ", "symbol", "circled number")
    if "Ⅰ" <= char <= "Ⅻ" or "ⅰ" <= char <= "ⅻ":
        value = ord(char) - (ord("Ⅰ") if char <= "Ⅻ" else ord("ⅰ")) + 1
        return Hit(
            end,
            numbers.sino(value),
            "symbol",
            "roman",
            ("투",) if value == 2 else (),
            tight=cursor.previous() == "제",
        )
    if "ㄱ" <= char <= "ㅎ" or "ㅏ" <= char <= "ㅣ":
        return _jamo(cursor)
    listed = pairs("symbols.tsv").longest(text, start)
    if listed:
        spoken = pairs("symbols.tsv").forms[listed]
        if spoken == "-":
            return _nothing(cursor, start + len(listed), "sign")
        return Hit(
            start + len(listed), f" {spoken} " if listed in "&@+×÷±√" else f"{spoken} ", "symbol", "sign"
        )
    letters = pairs("letters.tsv").forms
    if char in letters:
        return Hit(end, letters[char], "symbol", "letter")
    if char in _PAUSES:
        return _pause(cursor, end)
    category = unicodedata.category(char)
    if category[0] == "L" or category[0] == "N":
        stop = end
        while (
            stop < len(text)
            and stop - start < 64
            and unicodedata.category(text[stop])[0] == "L"
            and not hangul(text[stop])
            and not text[stop].isascii()
        ):
            stop += 1
        return _nothing(cursor, stop, "foreign script", "a script that Korean speech does not read")
    if category in ("Co", "Cn", "Cs"):
        return _nothing(cursor, end, "unknown", "a character without a meaning")
    return _pause(cursor, end, "sign") if category[0] == "P" else _nothing(cursor, end, "sign")


def _nothing(cursor: Cursor, end: int, rule: str, why: str = "") -> Hit:
    apart = hangul(cursor.last()) and hangul(cursor.text[end : end + 1])
    return Hit(end, " " if apart else "", "symbol", rule, confidence=0.0 if why else 0.9, unclear=why)


def _bracket(cursor: Cursor, char: str) -> Hit:
    text, start = cursor.text, cursor.position
    echo = cursor.match(_ECHO)
    if echo and re.search(r"(?:정자|우물정?|별표|샵|정) ?$", cursor.before(6)):
        return Hit(echo.end(), "", "symbol", "echo")
    if char in "([":
        closing = text.find(")" if char == "(" else "]", start, start + 40)
        inside = text[start + 1 : closing] if closing > 0 else ""
        after = text[closing + 1 : closing + 2] if closing > 0 else ""
        if (
            inside
            and 1 <= len(inside) <= 3
            and all(map(hangul, inside))
            and hangul(cursor.previous())
            and hangul(after)
        ):
            if not re.match(
                r"(?:은|는|이|가|을|를|의|에|로|으로|과|와|도|만|께|님|까지|부터|이며|입니)(?![가-힣])",
                text[closing + 1 : closing + 4],
            ):
                return Hit(start + 1, "", "pause", "bracket", tight=True)
        return _pause(cursor, start + 1, "bracket")
    opening = text.rfind("(" if char == ")" else "[", max(0, start - 40), start)
    inside = text[opening + 1 : start] if opening >= 0 else ""
    after = text[start + 1 : start + 2]
    if (
        inside
        and len(inside) <= 3
        and all(map(hangul, inside))
        and hangul(text[opening - 1 : opening] or " ")
        and hangul(after)
    ):
        return Hit(start + 1, "", "pause", "bracket")
    if hangul(after) and re.match(
        r"(?:은|는|이|가|을|를|의|에|로|으로|과|와|도|만|께|님|까지|부터|에서|이며|이고|입니다)",
        text[start + 1 : start + 4],
    ):
        return Hit(start + 1, "", "pause", "bracket")
    return _pause(cursor, start + 1, "bracket")


def _tilde(cursor: Cursor) -> Hit:
    match = cursor.match(_TILDE)
    end = match.end() if match else cursor.position + 1
    text = cursor.text
    follows = text[end : end + 1]
    if (
        hangul(cursor.last_spoken())
        and (hangul(follows) or follows.isalnum())
        and cursor.previous() not in ".,?!"
    ):
        lively = (
            re.search(r"(?:요|다|죠|까|네|세요|랑|니|와)[ ]?$", cursor.before(3)) and text[end - 1] == " "
        )
        if not lively:
            joined = re.compile(r"[가-힣0-9 ]{1,12}까지").match(text, end)
            return Hit(end, "부터 " if joined else "에서 ", "number_expr", "range", tight=True, joins=True)
    return (
        _pause(cursor, end)
        if follows not in ("", "\n") and cursor.previous() == " "
        else _nothing_lively(cursor, end)
    )


def _nothing_lively(cursor: Cursor, end: int) -> Hit:
    after = cursor.text[end : end + 1]
    space = (
        cursor.text[end - 1] == " "
        and after not in ("", ".", ",", "!", "?", "\n")
        and cursor.last() not in ("", " ", "\n")
    )
    return Hit(end, " " if space else "", "pause", "tilde")


def _key(cursor: Cursor, char: str) -> Hit:
    text, end = cursor.text, cursor.position + 1
    if char == "*":
        service = re.compile(r"\*([0-9]{1,6})(?:\*[0-9]{1,6})?#").match(text, cursor.position)
        if service:
            spoken = " 별표 ".join(numbers.digits(part) for part in service.group()[1:-1].split("*"))
            return Hit(service.end(), f"별표 {spoken} 우물 정자", "symbol", "service code")
        run = re.compile(r"\*{2,}|(?<=[가-힣A-Za-z0-9])\*+(?=[가-힣A-Za-z0-9])").match(text, cursor.position)
        if run:
            return Hit(run.end(), " " if hangul(cursor.last()) else "", "symbol", "mask")
        if cursor.previous() == "\n" and text[end : end + 1] == " ":
            return Hit(end + 1, "", "symbol", "bullet")
        spoken = "별표"
    elif _KEYS.match(text, end) or _PRESS.search(cursor.before(12)):
        spoken = "우물 정자"
    elif text[end : end + 1].isdigit():
        spoken = "샵"
    elif hangul(text[end : end + 1]) or text[end : end + 1].isalpha():
        return Hit(end, " 해시태그 ", "symbol", "hashtag")
    else:
        spoken = "샵"
    if spoken == "별표" and re.compile(
        r"표(?:(?![가-힣])|(?=[를을는은가이로와](?![가-힣])))|자(?=[를을])"
    ).match(text, end):
        end += 1
    apart = hangul(text[end : end + 1]) and not re.match(
        r"(?:을|를|이|가|은|는|과|와|로|으로|나|이나|도|만|의|에)(?![가-힣])", text[end : end + 3]
    )
    return Hit(end, spoken + (" " if apart else ""), "symbol", "key")


def _equals(cursor: Cursor) -> Hit:
    run = re.compile(r" ?=+>? ?").match(cursor.text, cursor.position)
    end = run.end() if run else cursor.position + 1
    last = cursor.last_spoken()
    if hangul(last) and end < len(cursor.text):
        return Hit(
            end, f"{particles.choose(('은', '는'), last)} ", "symbol", "equals", tight=True, joins=True
        )
    return _pause(cursor, end)


def _jamo(cursor: Cursor) -> Hit:
    run = re.compile(r"([ㄱ-ㅎㅏ-ㅣ])[ㄱ-ㅎㅏ-ㅣ]*").match(cursor.text, cursor.position)
    end = run.end() if run else cursor.position + 1
    char = cursor.text[cursor.position]
    if end - cursor.position > 1 or char in "ㅋㅎㅠㅜ":
        return _nothing(cursor, end, "emotion")
    letters = pairs("letters.tsv").forms
    if char in letters:
        return Hit(end, letters[char], "symbol", "letter")
    return _nothing(cursor, end, "emotion")
