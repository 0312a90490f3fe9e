"""E-mail and web addresses, file names: what is known is spoken as a word, the rest spelled."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.scan import Cursor, Hit
from app.text.tables import pairs, words

_ATOM = r"[A-Za-z0-9_+%-]{1,40}"
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM}){{0,4}}@[A-Za-z0-9-]{{1,40}}(?:\.[A-Za-z0-9-]{{1,24}}){{1,4}}")
_URL = re.compile(
    r"(?:https?://)?(?:[A-Za-z0-9-]{1,40}\.){1,5}"
    r"(?:(?i:com|net|org)|kr|io|me|app|ai|tv|info|biz|edu|gov|shop|store|dev|cc|link|ly|gl|co|jp|us|cn|de|fr|it|uk|eu|gg|xyz|page)"
    r"(?![A-Za-z0-9-])(?::[0-9]{2,5})?(?:/[A-Za-z0-9._~/#?&=%+-]{0,80}[A-Za-z0-9/])?"
)
_HTTP = re.compile(r"https?://[A-Za-z0-9._~/#?&=%+:-]{1,100}[A-Za-z0-9/]")
_FILE = re.compile(
    r"[A-Za-z0-9_-]{1,40}\.(?:pdf|jpe?g|png|gif|docx?|xlsx?|pptx?|hwpx?|zip|mp[34]|txt|csv|wav|exe|apk)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
EXTENSION = re.compile(
    r"\.(pdf|jpe?g|png|gif|docx?|xlsx?|pptx?|hwpx?|zip|mp[34]|txt|csv|wav|exe|apk)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PIECE = re.compile(r"[A-Za-z]+|[0-9]+|.")
_SIGNS = {
    ".": "닷", "@": "골뱅이", "_": "언더바", "-": "하이픈", "/": "슬래시", "?": "물음표",
    "=": "이퀄", "&": "앤", "#": "샵", "~": "물결", "%": "퍼센트", "+": "플러스", ":": "콜론",
}  # fmt: skip
_NAMED = {
    "com": "컴", "net": "넷", "org": "오알지", "co": "시오", "kr": "케이알", "app": "앱",
    "shop": "샵", "store": "스토어", "info": "인포", "biz": "비즈", "link": "링크",
    "www": "더블유더블유더블유", "jpeg": "제이펙", "jpg": "제이피지", "docx": "디오시엑스",
    "gmail": "지메일", "naver": "네이버", "daum": "다음", "hanmail": "한메일", "kakao": "카카오",
    "nate": "네이트", "google": "구글",
}  # fmt: skip


def _compound(piece: str) -> str | None:
    """A listed word, or two of them: samsungcard."""
    listed = words()[1].forms
    if piece in listed:
        return listed[piece]
    for cut in range(len(piece) - 3, 2, -1):
        if piece[:cut] in listed and piece[cut:] in listed:
            return listed[piece[:cut]] + listed[piece[cut:]]
    return None


def spell(written: str) -> str:
    """An address, sign by sign."""
    letters = pairs("letters.tsv").forms
    parts = []
    for piece in _PIECE.findall(written):
        if piece.isascii() and piece.isdigit():
            parts.append(numbers.digits(piece))
        elif piece.isascii() and piece.isalpha():
            name = _NAMED.get(piece.lower())
            if name is None and len(piece) > 3:
                name = _compound(piece.lower())
            parts.append(name or "".join(letters[letter.upper()] for letter in piece))
        elif piece in _SIGNS:
            parts.append(_SIGNS[piece])
    return " ".join(parts).replace("닷 컴", "닷컴").replace("닷 넷", "닷넷")


def address(cursor: Cursor) -> Hit | None:
    text = cursor.text
    match = cursor.match(_EMAIL)
    if match:
        return Hit(match.end(), spell(match.group()), "electronic", "e-mail")
    match = cursor.match(_HTTP) or cursor.match(_URL)
    if match and not re.match(r"[0-9.]+$", match.group()):
        written = re.sub(r"^https?://", "", match.group()).rstrip("/")
        return Hit(match.end(), spell(written), "electronic", "web address")
    match = cursor.match(_FILE)
    if match and text[match.end() - 1] != ".":
        return Hit(match.end(), spell(match.group()), "electronic", "file name")
    return None
