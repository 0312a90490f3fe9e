"""Numbers as they are written: 1,234, 3.5, 5천만, 1억 2,000만, 10여."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.text import numbers

PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,8}(?![0-9])|[0-9]{1,40})"
_NUMBER = re.compile(rf"(?P<whole>{PLAIN})(?:\.(?P<fraction>[0-9]{{1,30}})(?!\.?[0-9]))?")

# 만 and 억 are always magnitudes; 조 may be a team, 천, 백 and 십 may begin another word.
_COUNTED = "원|여|개|명|톤|포인트|달러|엔|유로|위안|건|장|대|마일|점|년|세대|곳|가구|석|회|평|킬로|미터|리터"
_LARGE = re.compile(
    r"[천백십]?[만억]|조(?=\s?(?:[0-9][0-9,.]{0,8} ?[천백십]?[억만]|여|원|달러|엔|유로|위안))"
    rf"|[천백십](?:조(?=\s?(?:[0-9여]|원|달러)))?(?=$|[^가-힣]|{_COUNTED})"
)
# 1억 goes on as one number in 1억 2,000만 and 1억 500원, but not in 1만 3층.
_NEXT = re.compile(
    rf" ?(?={PLAIN}(?:\.[0-9]+)?(?:[천백십]?[만억]|[천백십]|\s?(?:{_COUNTED}|[0-9]|주|t(?![a-z])|천)))"
)
_ABOUT = re.compile(r"여(?! ?[러행성])(?= ?(?:[가-힣]|%|km|㎞|㎡|kg))")
MOST_PARTS = 5


class Amount(NamedTuple):
    """A number. `value` is set for a plain whole one, which may be spoken natively."""

    end: int
    spoken: str
    value: int | None
    large: str = ""  # the last magnitude written in Hangul: 만 of 3만
    about: bool = False  # 10여
    written: str = ""


def amount(text: str, position: int) -> Amount | None:
    """The number that stands at a position, with its Hangul magnitudes."""
    match = _NUMBER.match(text, position)
    if not match:
        return None
    large = _LARGE.match(text, match.end())
    if not large:
        return _about(_plain(match), text)
    parts = [_with_large(match, large.group())]
    end, last = large.end(), large.group()
    while large and len(parts) < MOST_PARTS:
        follows = _NEXT.match(text, end)
        match = _NUMBER.match(text, follows.end()) if follows else None
        if not match:
            break
        large = _LARGE.match(text, match.end())
        parts.append(_with_large(match, large.group() if large else ""))
        end, last = (large.end(), large.group()) if large else (match.end(), last)
    return _about(Amount(end, " ".join(parts), None, last, written=text[position:end]), text)


def _plain(match: re.Match[str]) -> Amount:
    whole, fraction = match["whole"].replace(",", ""), match["fraction"]
    if fraction:
        return Amount(match.end(), numbers.decimal(whole, fraction), None, written=match.group())
    if len(whole) > 2 and whole[0] == "0":  # 007 names something
        return Amount(match.end(), numbers.digits(whole), None, written=whole)
    value = int(whole) if len(whole) <= 20 else None
    return Amount(match.end(), numbers.sino(whole), value, written=match.group())


def _with_large(match: re.Match[str], large: str) -> str:
    whole, fraction = match["whole"].replace(",", ""), match["fraction"]
    if fraction:
        return numbers.decimal(whole, fraction) + large
    if whole == "1" and large and large[0] in "십백천만":
        return large
    return numbers.sino(whole) + large


def _about(found: Amount, text: str) -> Amount:
    """10여: a little more than a round number."""
    if not _ABOUT.match(text, found.end) or (
        found.value is not None and (found.value % 10 or not found.value)
    ):
        return found
    return found._replace(end=found.end + 1, spoken=found.spoken + "여", value=None, about=True)
