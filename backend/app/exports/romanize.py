"""Hangul in Latin letters, by sound: the Revised Romanization of Korean.

Source: 국어의 로마자 표기법 (문화체육관광부 고시 제2014-42호), chapters 2 and 3. Sounds that change where syllables
meet are written as they change: ㄹ and nasals (종로 jongno, 독립문 dongnimmun), ㄷ and ㅌ before 이 (해돋이 haedoji),
ㅎ after or before ㄱ, ㄷ, ㅂ, ㅈ (놓다 nota), while tense sounds stay plain (압구정 apgujeong). What only a
dictionary knows, which words are compounds that gain an ㄴ, is in `_SPOKEN` for a few and otherwise left alone.
All letters are small: these are names of files.
"""

from __future__ import annotations

import re
import unicodedata

_LEADS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_VOWELS = (
    ["a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae", "oe", "yo", "u", "wo", "we", "wi", "yu", "eu", "ui", "i"]
)  # fmt: skip
_I, _YEO = 20, 6  # places of ㅣ and ㅕ, before which ㄷ and ㅌ soften
_LEAD_LETTERS = dict(
    zip(
        _LEADS,
        ["g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s", "ss", "-", "j", "jj", "ch", "k", "t", "p", "h"],
        strict=True,
    )
) | {"ㅇ": ""}
_FINAL_LETTERS = {"ㄱ": "k", "ㄴ": "n", "ㄷ": "t", "ㄹ": "l", "ㅁ": "m", "ㅂ": "p", "ㅇ": "ng"}

# A final before a vowel: what stays, and what moves over to begin the next syllable.
_SPLIT = {
    "ㄳ": ("ㄱ", "ㅅ"), "ㄵ": ("ㄴ", "ㅈ"), "ㄶ": ("", "ㄴ"), "ㄺ": ("ㄹ", "ㄱ"), "ㄻ": ("ㄹ", "ㅁ"), "ㄼ": ("ㄹ", "ㅂ"),
    "ㄽ": ("ㄹ", "ㅅ"), "ㄾ": ("ㄹ", "ㅌ"), "ㄿ": ("ㄹ", "ㅍ"), "ㅀ": ("", "ㄹ"), "ㅄ": ("ㅂ", "ㅅ"), "ㅎ": ("", "ㅇ"),
}  # fmt: skip
# A final before a consonant or at the end: one of seven sounds.
_CLOSED = {
    **dict.fromkeys("ㄱㄲㅋㄳㄺ", "ㄱ"), **dict.fromkeys("ㄴㄵㄶ", "ㄴ"), **dict.fromkeys("ㄷㅅㅆㅈㅊㅌㅎ", "ㄷ"),
    **dict.fromkeys("ㄹㄼㄽㄾㅀ", "ㄹ"), **dict.fromkeys("ㅁㄻ", "ㅁ"), **dict.fromkeys("ㅂㅍㅄㄿ", "ㅂ"), "ㅇ": "ㅇ",
}  # fmt: skip
_BREATHED = {"ㄱ": "ㅋ", "ㄷ": "ㅌ", "ㅂ": "ㅍ", "ㅈ": "ㅊ"}
_NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}
# Sino-Korean endings that keep their ㄴ beside ㄹ when a whole word stands before them: 신문로 sinmunno, 생산량
# saengsannyang; but 신라 silla, 대관령 daegwallyeong.
_OWN_WORD = frozenset("로량력란론료례류")
# Passive and causative 히 breathes after a stop; in nouns ㅎ is written: 잡혀 japyeo, 묵호 mukho (chapter 3, 1.4).
_BREATHING = re.compile("[히혀힌힐힘힙혔]")
# Compounds that gain an ㄴ or ㄹ, as they are said.
_SPOKEN = {
    "학여울": "항녀울", "알약": "알략", "솔잎": "솔립", "꽃잎": "꼰닙", "한여름": "한녀름", "서울역": "서울력",
    "부산역": "부산녁", "강남역": "강남녁", "시청역": "시청녁", "물약": "물략", "식용유": "시굥뉴", "휘발유": "휘발류",
    "깻잎": "깬닙", "나뭇잎": "나문닙", "담요": "담뇨", "색연필": "생년필", "밟다": "밥따",
}  # fmt: skip
_HANGUL = re.compile("[가-힣]+")
_LONE = {**{jamo: letters for jamo, letters in _LEAD_LETTERS.items() if letters}, "ㅇ": "ng"}
_LONE |= dict(zip("ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ", _VOWELS, strict=True))
_LONE_JAMO = re.compile("[ㄱ-ㅣ]")


def romanize(text: str) -> str:
    """Every Hangul word in small Latin letters; what is not Hangul stays as it is."""
    composed = unicodedata.normalize("NFC", text)
    written = _HANGUL.sub(lambda match: _word(match[0]), composed)
    return _LONE_JAMO.sub(lambda match: _LONE.get(match[0], ""), written)


def _word(word: str) -> str:
    for listed, spoken in _SPOKEN.items():
        word = word.replace(listed, spoken)
    syllables = [_taken_apart(char) for char in word]
    for place in range(len(syllables) - 1):
        _meet(syllables, place, word)
    return _letters(syllables)


def _taken_apart(char: str) -> list[str]:
    """A syllable's first sound, the place of its vowel, and its last sound or nothing."""
    code = ord(char) - 0xAC00
    return [_LEADS[code // 588], str(code % 588 // 28), _FINALS[code % 28].strip()]


def _meet(syllables: list[list[str]], place: int, word: str) -> None:
    """Change the last sound of one syllable and the first of the next as they are said together."""
    here, after = syllables[place], syllables[place + 1]
    final, lead = here[2], after[0]
    if not final:
        return
    if lead == "ㅇ":
        _carry_over(here, after)
        return
    if final in "ㅎㄶㅀ":
        here[2] = {"ㅎ": "", "ㄶ": "ㄴ", "ㅀ": "ㄹ"}[final]
        if lead in _BREATHED:
            after[0] = _BREATHED[lead]
            return
        if lead == "ㄴ" and final == "ㅎ":
            here[2] = "ㄴ"
        final = here[2]
        if not final:
            return
    elif lead == "ㅎ" and _breathe(here, after, word[place + 1]):
        return
    closed = _CLOSED[final]
    if lead in "ㄴㅁ":
        closed = _NASAL.get(closed, closed)
    elif lead == "ㄹ":
        if closed in _NASAL:
            closed, after[0] = _NASAL[closed], "ㄴ"
        elif closed in "ㅁㅇ":
            after[0] = "ㄴ"
        elif closed == "ㄴ":
            ends_word = place + 2 == len(word) and place >= 1 and word[place + 1] in _OWN_WORD
            closed, after[0] = ("ㄴ", "ㄴ") if ends_word else ("ㄹ", "ㄹ")
    if closed == "ㄹ" and after[0] == "ㄴ":
        after[0] = "ㄹ"
    here[2] = closed


def _carry_over(here: list[str], after: list[str]) -> None:
    final, vowel = here[2], int(after[1])
    if final == "ㅇ":
        return
    here[2], moved = _SPLIT.get(final, ("", final))
    if vowel in (_I, _YEO) and moved in ("ㄷ", "ㅌ"):
        moved = {"ㄷ": "ㅈ", "ㅌ": "ㅊ"}[moved]
    after[0] = moved


def _breathe(here: list[str], after: list[str], syllable: str) -> bool:
    """ㄱ, ㄷ, ㅂ, ㅈ and ㅎ as one sound, where a verb's ending begins with it."""
    stays, moves = _SPLIT.get(here[2], ("", here[2]))
    plain = "ㄷ" if moves == "ㅅ" else moves
    if plain not in _BREATHED or not _BREATHING.match(syllable):
        return False
    # 굳히다 is guchida: what breathes before 이 softens too. ㅈ and ㄵ give ㅊ by themselves.
    here[2], after[0] = stays, "ㅊ" if plain == "ㄷ" else _BREATHED[plain]
    return True


def _letters(syllables: list[list[str]]) -> str:
    written: list[str] = []
    for place, (lead, vowel, final) in enumerate(syllables):
        # ㄹㄹ is ll: an ㄹ that follows one is not written r.
        follows_l = place > 0 and syllables[place - 1][2] == "ㄹ" and lead == "ㄹ"
        written.append("l" if follows_l else _LEAD_LETTERS[lead])
        written.append(_VOWELS[int(vowel)])
        written.append(_FINAL_LETTERS[_CLOSED[final]] if final else "")
    return "".join(written)
