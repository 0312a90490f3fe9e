"""Signs that are no words: brackets, quotes, dashes, dots and arrows, spoken as pauses or not at all."""

from __future__ import annotations

import re

from app.text.scan import Cursor, Hit, hangul

LOOK = 40  # characters within which a bracket is expected to close
SHORT = 3  # syllables of a word part in brackets: 개인(신용)정보
_PARTICLE = re.compile(
    r"(?:은|는|이|가|을|를|의|에|로|으로|과|와|도|만|께|님|까지|부터|에서|이며|이고|입니다)(?![가-힣])"
    r"|까지|부터|에서|이며|이고|입니다|번(?!호)"
)
_ECHO = re.compile(r"\((?:#|\*)\)")
_ECHOED = re.compile(r"(?:정자|우물정?|별표|샵|정) ?$")
_TILDE = re.compile(r" ?~+ ?")
_UP_TO = re.compile(r"(?<![^ \n])~(?=[0-9][0-9,.]{0,12} ?(?:%|[만천]?원|[배개명](?![월년])))")
_PRICE = re.compile(r"[0-9][천만]?원$")  # 9,900원~
_MOMENT = re.compile(r"[0-9]{1,2}(?::[0-9]{2}|/[0-9]|시(?!간)|월 ?[0-9])")
_OPEN = re.compile(r"~(?=[ \n,)]|$)")
_LIVELY = re.compile(r"(?:요|다|죠|까|네|세요|랑|니|와) ?$")
_UNTIL = re.compile(r"[가-힣0-9 ]{1,12}까지")
_DASH = re.compile(r" ?[-—―─━]+ ?")
_ARROW = re.compile(r" ?→ ?")
_AMOUNT = re.compile(r"[₩$€£¥]?[0-9]")
_SPACES = re.compile(r" +")
_SILENT = re.compile(r"[ )\]}>』」》〉\"'”’★☆●○■□◆◇▶►…~^]{0,20}")
_STOPS = ("", ".", ",", "?", "!", "\n")


def pause(cursor: Cursor, end: int, rule: str = "pause") -> Hit:
    """A comma, unless a pause is there already or nothing is left to say."""
    text = cursor.text
    while end < len(text) and text[end] == " ":
        end += 1
    ahead = _SILENT.match(text, end)
    after = ahead.end() if ahead else end
    closing = after >= len(text) or text[after] in ".,?!\n"
    if not closing and cursor.last_spoken() not in _STOPS:
        return Hit(end, ", ", "pause", rule)
    if closing or cursor.last() in ("", " ", "\n"):
        return Hit(end, "", "pause", rule, joins=closing)
    return Hit(end, " ", "pause", rule)


def nothing(cursor: Cursor, end: int, rule: str, why: str = "") -> Hit:
    """A sign that is left out; `why` reports it."""
    apart = hangul(cursor.last()) and hangul(cursor.text[end : end + 1])
    return Hit(end, " " if apart else "", "symbol", rule, confidence=0.0 if why else 0.9, unclear=why)


def spaces(cursor: Cursor) -> Hit:
    """Several spaces are one, none at the end."""
    run = cursor.match(_SPACES)
    end = run.end() if run else cursor.position + 1
    needed = cursor.last() not in ("", " ", "\n") and end < len(cursor.text)
    return Hit(end, " " if needed else "", "pause", "spaces")


def quotes(cursor: Cursor) -> Hit:
    """Not spoken, but for the inches of 27" where no quote is open."""
    inches = cursor.text[cursor.position] == '"' and "0" <= cursor.previous() <= "9"
    if inches and not cursor.before(LOOK).count('"') % 2:
        return Hit(cursor.position + 1, " 인치", "unit", "inches")
    return Hit(cursor.position + 1, "", "pause", "quotes")


def opening(cursor: Cursor) -> Hit:
    """( and [: a pause, but not within a word (개인(신용)정보) nor around a sign just named (우물 정자(#))."""
    text, start = cursor.text, cursor.position
    echo = cursor.match(_ECHO)
    if echo and _ECHOED.search(cursor.before(6)):
        return Hit(echo.end(), "", "symbol", "echo")
    closing = text.find(")" if text[start] == "(" else "]", start, start + LOOK)
    if closing > 0 and _within_word(text, start, closing) and not _PARTICLE.match(text, closing + 1):
        return Hit(start + 1, "", "pause", "bracket", tight=True)
    return pause(cursor, start + 1, "bracket")


def closing(cursor: Cursor) -> Hit:
    """) and ]: a pause, but not before a particle."""
    text, start = cursor.text, cursor.position
    opening = text.rfind("(" if text[start] == ")" else "[", max(0, start - LOOK), start)
    if (opening > 0 and _within_word(text, opening, start)) or _PARTICLE.match(text, start + 1):
        return Hit(start + 1, "", "pause", "bracket")
    return pause(cursor, start + 1, "bracket")


def _within_word(text: str, opening: int, closing: int) -> bool:
    inside = text[opening + 1 : closing]
    around = hangul(text[opening - 1 : opening] or " ") and hangul(text[closing + 1 : closing + 2] or " ")
    return around and 1 <= len(inside) <= SHORT and all(map(hangul, inside))


def tilde(cursor: Cursor) -> Hit:
    """서울~부산 is a range and ~50% the end of one; 안녕하세요~ is only a tone."""
    up_to = cursor.match(_UP_TO)
    if up_to:
        named = cursor.before(3).rstrip().endswith("최대")
        return Hit(up_to.end(), "" if named else "최대 ", "number_expr", "up to", confidence=0.7)
    if _PRICE.search(cursor.before(4)) and cursor.match(_OPEN):
        return Hit(cursor.position + 1, "부터", "number_expr", "open range", tight=True)
    match = cursor.match(_TILDE)
    text, end = cursor.text, match.end() if match else cursor.position + 1
    follows = text[end : end + 1]
    ranged = hangul(cursor.last_spoken()) and follows.isalnum() and cursor.previous() not in ".,?!"
    if ranged and not (_LIVELY.search(cursor.before(3)) and text[end - 1] == " "):
        moment = _MOMENT.match(text, end) and not re.search(r"[0-9] ?$", cursor.before(2))
        if moment and cursor.previous() == " " != text[end - 1]:  # 평일 ~18:00
            return Hit(end, "", "pause", "tilde")
        word = "부터 " if moment or _UNTIL.match(text, end) else "에서 "
        return Hit(end, word, "number_expr", "range", tight=True, joins=True)
    if follows not in ("", "\n") and cursor.previous() == " ":
        return pause(cursor, end)
    gap = (
        text[end - 1] == " "
        and (hangul(follows or " ") or follows.isdigit())
        and cursor.last() not in ("", " ", "\n")
    )
    return Hit(end, " " if gap else "", "pause", "tilde")


def dash(cursor: Cursor) -> Hit:
    """A hyphen joins, a dash parts."""
    run = cursor.match(_DASH)
    after = cursor.text[cursor.position + 1 : cursor.position + 2]
    if cursor.text[cursor.position] == "-" and cursor.previous().isalnum() and after.isalnum():
        return Hit(cursor.position + 1, " ", "pause", "hyphen")
    return pause(cursor, run.end() if run else cursor.position + 1)


def dot(cursor: Cursor) -> Hit:
    """등·초본: a list within a word."""
    end = cursor.position + 1
    if not cursor.text[end : end + 1].isalnum():
        return pause(cursor, end)
    listed = cursor.last() not in ("", " ", "\n", ",") and cursor.previous() != " "
    return Hit(end, ", " if listed else "", "pause", "dot")


def arrow(cursor: Cursor) -> Hit:
    """서울→부산 goes from one to the other; a chain of arrows is a list."""
    text, start = cursor.text, cursor.position
    run = cursor.match(_ARROW)
    end = run.end() if run else start + 1
    single = text.count("→", max(0, start - LOOK), start + LOOK) == 1
    if (
        single
        and hangul(cursor.last_spoken())
        and (hangul(text[end : end + 1] or " ") or _AMOUNT.match(text, end))
    ):
        return Hit(end, "에서 ", "symbol", "arrow", tight=True, joins=True)
    return pause(cursor, start + 1)
