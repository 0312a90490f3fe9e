from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.speech.builtin import prosody
from app.speech.builtin.analysis import RATE
from app.speech.builtin.espeak import Word


def phrase(*texts: str, signs: str = ".") -> list[Word]:
    last = len(texts) - 1
    return [Word(t, signs if i == last else "", i * RATE // 2) for i, t in enumerate(texts)]


def melody(*texts: str, signs: str = ".") -> np.ndarray:
    return prosody.contour(phrase(*texts, signs=signs), 100 * len(texts), 0)


def test_a_question_ends_high_and_a_statement_low():
    asked = melody("지금", "연결해", "드릴까요", signs="?")
    told = melody("지금", "연결해", "드릴까요", signs=".")
    goes_on = melody("지금", "연결해", "드릴까요", signs=",")
    assert asked[-20] > goes_on[-20] > told[-20]
    assert asked[-20] > 1 > -1 > told[-20]


def test_aspirated_and_tense_consonants_begin_high():
    low = melody("고객님의", "전화입니다")
    for initial in ("코", "꼬", "소", "호"):
        assert melody(f"{initial}객님의", "전화입니다")[5] > low[5] + 0.5


def test_a_statement_sinks():
    long = melody("고객님의", "소중한", "의견을", "언제나", "기다립니다")
    thirds = np.array_split(long, 3)
    assert thirds[0].mean() > thirds[2].mean() + 0.3


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(max_size=5), max_size=5),
    st.lists(st.integers(0, 3 * RATE), max_size=5),
    st.integers(1, 400),
    st.integers(0, RATE),
)
def test_any_words_have_a_bounded_melody(texts: list[str], starts: list[int], frames: int, start: int):
    words = [Word(t, "", s) for t, s in zip(texts, sorted(starts), strict=False)]
    contour = prosody.contour(words, frames, start)
    assert contour.shape == (frames,)
    assert np.abs(contour).max() < 5
