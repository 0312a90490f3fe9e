"""Numbers as they are written: 1,234, 3.5, 5천만, 1억 2,000만, 10여."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.text import numbers

PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,8}(?![0-9])|[0-9]{1,40})"
_NUMBER = re.compile(rf"(?P<whole>{PLAIN})(?:\.(?P<fraction>[0-9]{{1,30}})(?!\.?[0-9]))?")
_LARGE = re.compile(
    r"(?:천|백|십)?(?:만|억|조(?=\s?(?:[0-9여]|원|달러|엔|유로|위안)))|(?:천|백|십)(?![가-힣])|(?:천|백|십)(?=\s?[0-9여원개명톤]|만|억|포인트|달러|엔|유로|건|장|대|마일|점|년|세대|곳|가구|석|억|회|석|평|킬로|미터|리터|리|동|킬)"
)
_NEXT = re.compile(
    rf" ?(?={PLAIN}(?:\.[0-9]+)?(?:천|백|십)?(?:만|억|천|백|십|원|여)|{PLAIN}\s?(?:원|달러|명|개|건|주|t|톤|만|천|세대|가구|포인트|점|여))"
)
MAY_MEAN_NO_MORE = ("만",)


class Amount(NamedTuple):
    """A number. `value` is set for a plain whole one, which may be spoken natively."""

    end: int
    spoken: str
    value: int | None
    large: str = ""  # the last magnitude written in Hangul: 만 of 3만
    about: bool = False  # 10여
    written: str = ""


def amount(text: str, position: int) -> Amount | None:
    match = _NUMBER.match(text, position)
    if not match:
        return None
    whole, fraction = match["whole"].replace(",", ""), match["fraction"]
    spoken = numbers.decimal(whole, fraction) if fraction else numbers.sino(whole)
    if not fraction and len(whole) > 2 and whole[0] == "0":
        spoken = numbers.digits(whole)
    value = None if fraction or len(whole) > 20 or (len(whole) > 2 and whole[0] == "0") else int(whole)
    end = match.end()
    large = _LARGE.match(text, end)
    if not large:
        return _about(Amount(end, spoken, value, written=text[position:end]), text)
    parts = [_with_large(whole, fraction, large.group())]
    end = large.end()
    last = large.group()
    while len(parts) < 5:
        follows = _NEXT.match(text, end)
        if not follows:
            break
        match = _NUMBER.match(text, follows.end())
        if not match:
            break
        large = _LARGE.match(text, match.end())
        whole, fraction = match["whole"].replace(",", ""), match["fraction"]
        if large:
            parts.append(_with_large(whole, fraction, large.group()))
            end, last = large.end(), large.group()
        else:
            parts.append(numbers.decimal(whole, fraction) if fraction else numbers.sino(whole))
            end = match.end()
            break
    return _about(Amount(end, " ".join(parts), None, last, written=text[position:end]), text)


def _with_large(whole: str, fraction: str | None, large: str) -> str:
    if fraction:
        return f"{numbers.decimal(whole, fraction)}{large}"
    if whole == "1" and (large[0] in "십백천만"):
        return large
    return numbers.sino(whole) + large


def _about(found: Amount, text: str) -> Amount:
    if text.startswith("여", found.end) and re.match(
        r"여 ?(?:[가-힣]|%|km|㎞|㎡|kg)", text[found.end : found.end + 4]
    ):
        if (
            text.startswith("여러", found.end)
            or text.startswith("여행", found.end)
            or text.startswith("여성", found.end)
        ):
            return found
        if found.value is None or (found.value % 10 == 0 and found.value):
            return found._replace(end=found.end + 1, spoken=found.spoken + "여", value=None, about=True)
    return found
