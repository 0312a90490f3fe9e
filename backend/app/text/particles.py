"""Particles agree with the sound before them: 을/를, 이/가, 은/는, 과/와, 으로/로 and their kin."""

from __future__ import annotations

import re

# (after a consonant, after a vowel); 로 also follows ㄹ.
PAIRS = (
    ("을", "를"), ("은", "는"), ("이", "가"), ("과", "와"), ("으로", "로"), ("이나", "나"), ("이랑", "랑"),
    ("이란", "란"), ("이라는", "라는"), ("이라고", "라고"), ("이라면", "라면"), ("이라도", "라도"),
    ("이에요", "예요"), ("이었", "였"), ("이든", "든"), ("아", "야"),
)  # fmt: skip

_FORMS = {form: pair for pair in PAIRS for form in pair if form not in ("아", "야")}
_BOTH = {
    written: pair
    for pair in PAIRS[:9]
    for one, other in (pair, pair[::-1])
    for written in (f"{one}({other})", f"{one}/{other}")
}
_BOTH |= {
    "(으)로": ("으로", "로"),
    "(이)나": ("이나", "나"),
    "(이)라": ("이라", "라"),
    "(이)란": ("이란", "란"),
}
_BOTH |= {
    "(이)며": ("이며", "며"),
    "(이)고": ("이고", "고"),
    "(이)랑": ("이랑", "랑"),
    "아(야)": ("아", "야"),
}

_EDGE = r"(?![가-힣])"
_FOLLOWING = re.compile(
    "(?:"
    + rf"(?:을|를|이|가){_EDGE}|(?:은|는)(?:요)?{_EDGE}|(?:과|와)(?:의|는|도)?{_EDGE}"
    + rf"|(?:으로|로)(?:는|도|만|서|부터|의|써|서의|부터의)?{_EDGE}"
    + rf"|(?:이나|나|이랑|랑|이란|란|이라도|라도){_EDGE}|(?:이라는|라는|이라고|라고|이라면|라면|이에요|예요)"
    + ")"
)
BOTH = re.compile("|".join(re.escape(form) for form in sorted(_BOTH, key=len, reverse=True)))
_STEM = re.compile("|".join(sorted(_FORMS, key=len, reverse=True)))


def final(syllable: str) -> int:
    """The final consonant's index, 0 for none: 한 → 4, 서 → 0."""
    return (ord(syllable) - 0xAC00) % 28 if "가" <= syllable <= "힣" else 0


def choose(pair: tuple[str, str], before: str) -> str:
    """The form of a pair that fits after `before`."""
    last = final(before[-1:] or "가")
    if pair[1] == "로":
        return pair[0] if last not in (0, 8) else pair[1]
    return pair[0] if last else pair[1]


def agree(text: str, position: int, before: str) -> tuple[str, str] | None:
    """The particle written at `position` and the form that fits after `before`, if they differ."""
    match = _FOLLOWING.match(text, position)
    if not match:
        return None
    stem = _STEM.match(text, position)
    if not stem:
        return None
    written = stem.group()
    fitting = choose(_FORMS[written], before)
    return None if fitting == written else (written, fitting)


def both(written: str, before: str) -> str:
    """The form to speak where the writer gave both, as in 을(를)."""
    return choose(_BOTH[written], before)
