"""One spelling for characters that mean the same, with a way back to their place in the text.

Full-width forms, other scripts' digits, decomposed Hangul, look-alike dashes and invisible characters are
folded before any rule looks, so that no rule needs to know them.
"""

from __future__ import annotations

import re
import unicodedata

_SAME = re.compile(
    r"[ -~\n가-힣ㄱ-ㅎㅏ-ㅣ·•∙℃℉㎏㎎㎝㎜㎞㎡㎥%‰→※…·‘’“”「」『』〈〉《》【】〔〕①-⑳Ⅰ-Ⅻ²³×÷€£¥₩°]*"
)
_JAMO = re.compile(r"[가-힣ᄀ-ᇿꥠ-꥿ힰ-퟿]+")
_TABLE = {
    "∼": "~", "〜": "~", "～": "~", "˜": "~", "⁓": "~", "￦": "₩", "￥": "¥", "￡": "£", "￠": "¢",
    "％": "%", "‐": "-", "‑": "-", "‒": "-", "–": "-", "−": "-", "－": "-", "﹣": "-", "ㅡ": "ㅡ",
    "‧": "·", "・": "·", "･": "·", "ㆍ": "·", "•": "·", "∙": "·", "⋅": "·", "∶": ":", "：": ":",
    "‚": ",", "、": ",", "，": ",", "。": ".", "｡": ".", "．": ".", "？": "?", "！": "!", "⁄": "/",
    "∕": "/", "／": "/", "＊": "*", "∗": "*", "✕": "×", "✖": "×", "′": "'", "ʼ": "'", "´": "'",
    "`": "'", "″": '"', "⇒": "→", "➔": "→", "➜": "→", "➡": "→", "⟶": "→", "▶": "▶", "⇔": "↔",
    "º": "°", "˚": "°", "µ": "μ", "Ω": "Ω", "⋯": "…", "︙": "…", "‥": "…", "\t": " ", "\r": " ",
    "\v": " ", "\f": " ", "\x85": "\n", "\u2028": "\n", "\u2029": "\n", "℡": "☎", "☏": "☎",
    "📞": "☎", "︎": "", "️": "", "⓿": "0", "🄋": "0", "🄌": "0", "⬆": "↑", "⬇": "↓", "🔺": "▲", "🔻": "▼",
}  # fmt: skip
for first, last, one in ("❶❿①", "➀➉①", "➊➓①", "⓵⓾①", "⓫⓴⑪"):  # filled and double circles
    _TABLE |= {chr(code): chr(ord(one) + code - ord(first)) for code in range(ord(first), ord(last) + 1)}
_KEPT = frozenset("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞²³℃℉…™®©℠№")


def _one(char: str) -> str:
    if char in _TABLE:
        return _TABLE[char]
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    if category == "Co":
        return char  # private ones are reported, and markup marks its places with them
    if category in ("Cf", "Mn", "Me") or (category == "Cc" and char != "\n"):
        return ""
    if category == "Nd":
        return str(unicodedata.digit(char))
    if (
        char in _KEPT
        or "ㄱ" <= char <= "ㆎ"
        or "㎀" <= char <= "㏿"
        or "①" <= char <= "⑳"
        or "Ⅰ" <= char <= "ⅿ"
        or "㈀" <= char <= "㋿"
    ):
        return char  # units and enclosed signs have readings of their own
    plain = unicodedata.normalize("NFKD", char)
    if category[0] == "L" and plain[:1].isascii() and plain[:1].isalpha():
        return "".join(part for part in plain if part.isascii())
    wide = unicodedata.normalize("NFKC", char)
    return "".join(part for part in wide if part == " " or unicodedata.category(part)[0] not in "MC")


def fold(text: str) -> tuple[str, list[int] | None]:
    """The folded text, and for each of its characters (and its end) the offset it came from.

    None stands for "the same place", which is what nearly every text gives.
    """
    same = _SAME.match(text)
    if same and same.end() == len(text):
        return text, None
    pieces: list[str] = []
    places: list[int] = []
    position = 0
    while position < len(text):
        char = text[position]
        if "ᄀ" <= char <= "ᇿ" or ("ꥠ" <= char <= "퟿" and not "가" <= char <= "힣"):
            run = _JAMO.match(text, position)
            length = run.end() - position if run else 1
            folded = unicodedata.normalize("NFC", text[position : position + length])
            folded = "".join(part for part in folded if "가" <= part <= "힣")
        else:
            length, folded = 1, char if " " <= char <= "~" or "가" <= char <= "힣" else _one(char)
        pieces.append(folded)
        places.extend([position] * len(folded))
        position += length
    places.append(len(text))
    return "".join(pieces), places
