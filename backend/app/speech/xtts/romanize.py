"""Hangul in Latin letters, as XTTS v2 was trained to read it.

The letters are those of the Revised Romanization of Korean (문화관광부 고시 제2000-8호), one syllable block
at a time with no sound change: 값이 is `gabs-i`, as the transliteration rules of that standard (chapter 3,
section 8) want it. A hyphen parts two syllables where the letters alone would not tell the border.
"""

from __future__ import annotations

FIRST = 0xAC00  # 가
LAST = 0xD7A3  # 힣


def _letters(row: str) -> list[str]:
    """Spellings in the order of Unicode's syllables; `-` stands for none."""
    return [letters.strip("-") for letters in row.split()]


INITIALS = _letters("g kk n d tt l m b pp s ss - j jj ch k t p h")
VOWELS = _letters("a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i")
FINALS = _letters("- g kk gs n nj nh d l lg lm lb ls lt lp lh m b bs s ss ng j ch k t p h")


def _border_is_clear(final: str, initial: str) -> bool:
    """Whether final + initial can only be cut in this one way, and the second syllable begins at all."""
    letters = final + initial
    cuts = [cut for cut in range(len(letters)) if letters[:cut] in FINALS and letters[cut:] in INITIALS]
    return initial != "" and len(cuts) == 1


HYPHENATED = {
    (final, initial) for final in FINALS for initial in INITIALS if not _border_is_clear(final, initial)
}


def romanize(text: str) -> str:
    """Write each Hangul syllable of `text` in Latin letters; everything else stays as it is."""
    written: list[str] = []
    previous: str | None = None  # the final of the syllable right before, "" where it is open
    for character in text:
        code = ord(character)
        if not FIRST <= code <= LAST:
            written.append(character)
            previous = None
            continue
        block, final_index = divmod(code - FIRST, len(FINALS))
        initial_index, vowel_index = divmod(block, len(VOWELS))
        initial, final = INITIALS[initial_index], FINALS[final_index]
        if previous is not None and (previous, initial) in HYPHENATED:
            written.append("-")
        written.append(initial + VOWELS[vowel_index] + final)
        previous = final
    return "".join(written)
