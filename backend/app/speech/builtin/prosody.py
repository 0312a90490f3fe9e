"""The melody of Korean: what pitch does over a phrase, in place of espeak-ng's own.

Seoul Korean is spoken in accentual phrases, about a word (eojeol) each, with the tones T-H ... L-H: T is
high after an aspirated or tense consonant, s or h, else low. The last one of a clause ends in a boundary
tone instead, low for a statement, high for a question (K-ToBI: Sun-Ah Jun, 2000). Over a phrase the whole
sinks slowly. The heights below are in standard deviations of the speaker's log F0 before `SPREAD`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.speech.builtin.analysis import FRAME, RATE, Floats
from app.speech.builtin.espeak import Word

_LOW, _HIGH = -0.7, 0.6
_STATEMENT, _GOES_ON, _QUESTION = -1.5, 0.9, 1.9
_DECLINATION = 0.9  # from the first syllable of a phrase to its last
_HIGH_INITIALS = frozenset("ㄲㄸㅃㅆㅉㅋㅌㅍㅊㅅㅎ")
_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
SPREAD = 0.72  # standard deviation of the contour over announcements: what makes it 1


def contour(words: Sequence[Word], frames: int, start: int) -> Floats:
    """Pitch over one phrase, (frames,), in standard deviations of the speaker's log F0.

    `words` are the phrase's, at RATE; its first frame is at sample `start`.
    """
    if not words:
        return np.zeros(frames, np.float32)
    phrases = _accentual_phrases(words)
    length = frames * FRAME
    times: list[float] = []
    tones: list[float] = []
    begins = [max(phrase[0].start - start, 0) / RATE for phrase in phrases]
    for phrase, begin, end in zip(phrases, begins, [*begins[1:], length], strict=True):
        last = phrase is phrases[-1]
        height = _tones(phrase, last)
        step = max(end - begin - (0.1 if last else 0), 0.05) / len(height)
        times += [begin + step * (i + 0.5) for i in range(len(height))]
        tones += height
    at = np.arange(frames) * FRAME
    sinking = _DECLINATION * (0.5 - at / max(length, FRAME))
    melody = np.interp(at, times, tones) + sinking
    window = np.hanning(17)  # 80 ms: the larynx does not jump
    smooth = np.convolve(np.pad(melody, 8, mode="edge"), window / window.sum(), mode="valid")
    return np.asarray(smooth / SPREAD, np.float32)


def _accentual_phrases(words: Sequence[Word]) -> list[list[Word]]:
    """Group words: one of a single syllable leans on the one before it."""
    phrases: list[list[Word]] = []
    for word in words:
        if phrases and (_syllables(word.text) == 1 or _count(phrases[-1]) == 1):
            phrases[-1].append(word)
        else:
            phrases.append([word])
    return phrases


def _tones(phrase: Sequence[Word], last: bool) -> list[float]:
    """A height a syllable; for the `last` accentual phrase of a clause, with the boundary tone."""
    count = _count(phrase)
    first = _HIGH if _initial(phrase[0].text) in _HIGH_INITIALS else _LOW
    end = _boundary(phrase[-1].signs) if last else _HIGH
    if count == 1:
        return [end]
    if count == 2:
        return [first, end]
    if count == 3:
        return [first, (first + _HIGH) / 2 if last else (first + _LOW) / 2, end]
    between = np.linspace(_HIGH, _LOW, count - 2).tolist()
    return [first, *between, end]


def _boundary(signs: str) -> float:
    if "?" in signs:
        return _QUESTION
    return _STATEMENT if any(sign in signs for sign in ".!…") else _GOES_ON


def _syllables(text: str) -> int:
    return max(sum("가" <= letter <= "힣" for letter in text), 1)


def _count(phrase: Sequence[Word]) -> int:
    return sum(_syllables(word.text) for word in phrase)


def _initial(text: str) -> str:
    letter = text[:1]
    return _INITIALS[(ord(letter) - ord("가")) // 588] if "가" <= letter <= "힣" else ""
