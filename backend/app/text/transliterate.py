"""A guess at how an English word that is not listed sounds in Korean. It is always reported as one."""

from __future__ import annotations

LEADS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"

# Longest first. A consonant is (as a syllable's first sound, as its last one or "", with a vowel of its own).
CONSONANTS = {
    "tch": ("ㅊ", "", "ㅣ"), "sch": ("ㅅ", "", "ㅣ"), "ch": ("ㅊ", "", "ㅣ"),
    "sh": ("ㅅ", "", "ㅣ"), "th": ("ㅅ", "", "ㅡ"), "ph": ("ㅍ", "", "ㅡ"),
    "ck": ("ㅋ", "ㄱ", "ㅡ"), "ng": ("ㅇ", "ㅇ", "ㅡ"), "qu": ("ㅋ", "", "ㅜ"),
    "gh": ("ㄱ", "", "ㅡ"), "kn": ("ㄴ", "ㄴ", "ㅡ"), "wr": ("ㄹ", "", "ㅡ"),
    "b": ("ㅂ", "ㅂ", "ㅡ"), "c": ("ㅋ", "ㄱ", "ㅡ"), "d": ("ㄷ", "", "ㅡ"), "f": ("ㅍ", "", "ㅡ"),
    "g": ("ㄱ", "", "ㅡ"), "h": ("ㅎ", "", "ㅡ"), "j": ("ㅈ", "", "ㅣ"), "k": ("ㅋ", "ㄱ", "ㅡ"),
    "l": ("ㄹ", "ㄹ", "ㅡ"), "m": ("ㅁ", "ㅁ", "ㅡ"), "n": ("ㄴ", "ㄴ", "ㅡ"),
    "p": ("ㅍ", "ㅂ", "ㅡ"), "q": ("ㅋ", "ㄱ", "ㅡ"), "r": ("ㄹ", "", ""), "s": ("ㅅ", "", "ㅡ"),
    "t": ("ㅌ", "ㅅ", "ㅡ"), "v": ("ㅂ", "", "ㅡ"), "w": ("ㅇ", "", "ㅜ"), "x": ("ㅅ", "", "ㅡ"),
    "z": ("ㅈ", "", "ㅡ"),
}  # fmt: skip
VOWEL_SOUNDS = {
    "oo": "ㅜ", "ee": "ㅣ", "ea": "ㅣ", "ou": "ㅏㅜ", "ow": "ㅗ", "ai": "ㅔㅣ", "ay": "ㅔㅣ",
    "ey": "ㅣ", "ei": "ㅔㅣ", "oa": "ㅗ", "au": "ㅗ", "aw": "ㅗ", "oi": "ㅗㅣ", "oy": "ㅗㅣ",
    "ie": "ㅣ", "ue": "ㅠ", "ew": "ㅠ", "er": "ㅓ", "or": "ㅗ", "ar": "ㅏ", "ir": "ㅓ", "ur": "ㅓ",
    "a": "ㅏ", "e": "ㅔ", "i": "ㅣ", "o": "ㅗ", "u": "ㅓ", "y": "ㅣ",
}  # fmt: skip


def _syllable(lead: str, vowel: str, last: str = " ") -> str:
    return chr(0xAC00 + (LEADS.index(lead) * 21 + VOWELS.index(vowel)) * 28 + FINALS.index(last))


def _sounds(word: str) -> list[tuple[str, str]]:
    """The word cut into (C, letters) and (V, letters)."""
    found = []
    position = 0
    while position < len(word):
        for length in (3, 2, 1):
            piece = word[position : position + length]
            if piece in VOWEL_SOUNDS:
                if length == 2 and piece[1] == "r" and word[position + 2 : position + 3] in tuple("aeiouy"):
                    continue
                found.append(("V", piece))
                break
            if piece in CONSONANTS:
                doubled = length == 1 and found and found[-1] == ("C", piece)
                if not doubled:
                    found.append(("C", piece))
                break
        position += length
    if (
        len(found) > 2
        and found[-1] == ("V", "e")
        and found[-2][0] == "C"
        and any(kind == "V" for kind, _ in found[:-1])
    ):
        found.pop()
    return found


def transliterate(word: str) -> str:
    """ASCII letters → Hangul: blueberry → 블루베리-like, by spelling alone."""
    sounds = _sounds(word.lower())
    spoken: list[str] = []
    pending: str | None = None

    def close(last: str) -> bool:
        """Put a final consonant under the last syllable if there is room."""
        if not spoken or (ord(spoken[-1]) - 0xAC00) % 28:
            return False
        spoken[-1] = chr(ord(spoken[-1]) + FINALS.index(last))
        return True

    for index, (kind, piece) in enumerate(sounds):
        follows = sounds[index + 1] if index + 1 < len(sounds) else None
        if kind == "C":
            if follows and follows[0] == "V":
                lead = CONSONANTS[piece][0]
                if piece == "c" and follows[1][0] in "eiy":
                    lead = "ㅅ"
                if piece == "g" and follows[1][0] in "eiy":
                    lead = "ㅈ"
                if piece == "l" and spoken:
                    close("ㄹ")
                if piece == "x" and spoken:
                    close("ㄱ")
                pending = lead
                continue
            lead, last, vowel = CONSONANTS[piece]
            if piece == "x":
                close("ㄱ")
            if piece == "l" and follows and not spoken:
                spoken.append(_syllable("ㄹ", "ㅡ"))
            elif last and close(last):
                pass
            elif vowel:
                spoken.append(_syllable(lead, vowel))
        else:
            vowels = VOWEL_SOUNDS[piece]
            spoken.append(_syllable(pending or "ㅇ", vowels[0]))
            spoken.extend(_syllable("ㅇ", vowel) for vowel in vowels[1:])
            pending = None
    return "".join(spoken) or word
