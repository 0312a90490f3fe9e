"""What a template left open: #{고객명}, %s, ○○○님, 00월 00일. Nobody can know what is said there."""

from __future__ import annotations

import re

from app.text.rules.pauses import nothing
from app.text.scan import Cursor, Hit
from app.text.tables import cue

WHY = "an unfilled placeholder: write what it stands for"
_ADDRESSED = r" ?(?:님|씨(?![가-힣])|고객|회원|환자|귀하)"
_VALUE = r"월|조|항|일(?![가-힣])|명|개|건|호|동|층|회|원|은행|카드|병원|호텔|마트"
_TEMPLATE = re.compile(
    r"[#$]?\{{1,3}[^{}\n]{0,50}\}{1,3}"
    r"|\[\[[^\[\]\n]{1,50}\]\]|<<[^<>\n]{1,50}>>|@[가-힣]{1,10}@"
    r"|(?<![0-9])%(?:(?:[0-9]{1,2}\$)?[sd](?![A-Za-z])|[가-힣A-Za-z_]{1,20}%)"
    r"|(?<![A-Za-z0-9가-힣_])_{2,20}(?=[가-힣])|(?<=:)_{2,20}|(?<=: )_{2,20}"
    rf"|(?<![A-Za-z0-9가-힣*])\*{{2,9}}(?={_ADDRESSED})"
    rf"|(?<![0-9.,:'‘’-])0{{2,4}}(?={_ADDRESSED}|{_VALUE})|(?<![0-9.,:-])0{{4}}(?=년)"
    r"|[0-9]{2,4}-(?:[0-9]{3,4}-)?([xXOoㅇ○])\1{2,3}(?:-(?:[0-9]{4}|\1{4}))?(?![A-Za-z0-9])"
)
_NAMELESS = re.compile(
    r"(?:(?<![A-Za-z0-9가-힣])|(?<=제))(?:"
    r"([OXox])\1{1,5}(?![A-Za-z0-9])|[○◯〇]{2,6}"
    rf"|[ㅇ△□]{{2,6}}(?={_ADDRESSED}|[가-힣])"
    r"|[OX○◯〇](?=월(?:[ ,.]|$)|일(?![가-힣]))"
    r")"
)
# Not before 을 and 과: [이름]과 [연락처]를 names fields.
_INSTEAD = rf"(?={_ADDRESSED}|입니다|이며|까지|부터|에(?![가-힣])|에는|원|일|시|건|회|개|명|동|호|점)"


def placeholder(cursor: Cursor) -> Hit | None:
    """Reported whatever it is; after Hangul, 홍○○ hides a name on purpose."""
    nameless = cursor.match(_NAMELESS)
    if nameless:
        return Hit(nameless.end(), "땡땡", "symbol", "placeholder", confidence=0.0, unclear=WHY)
    match = (
        cursor.match(_TEMPLATE)
        or cursor.match(cue("placeholder", r"[\[<]", rf"[\]>]{_INSTEAD}"))
        or cursor.match(cue("placeholder", r"[(「『《〈【]", rf"[)」』》〉】](?={_ADDRESSED})"))
    )
    return nothing(cursor, match.end(), "placeholder", WHY) if match else None
