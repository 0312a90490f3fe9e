from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.level import Leveller, Limiter
from app.audio.loudness import loudness_lufs, true_peak_db

RATE = 24_000


def levelled(audio: np.ndarray, step: int, **target: float) -> np.ndarray:
    leveller = Leveller(RATE, **target)
    out = [
        piece for start in range(0, len(audio), step) for piece in leveller.feed(audio[start : start + step])
    ]
    return np.concatenate([*out, leveller.end()])


def limited(audio: np.ndarray, cuts: list[int], ceiling: float = -6.0) -> np.ndarray:
    limiter = Limiter(RATE, ceiling)
    pieces = np.split(audio.astype(np.float64), sorted(cut % len(audio) for cut in cuts))
    return np.concatenate([*(limiter.feed(piece) for piece in pieces), limiter.end()])


@pytest.mark.parametrize("level", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("step", [RATE // 2, 3 * RATE])
def test_what_comes_out_is_about_as_loud_as_asked(voice, level, step):
    audio = voice(9.0, RATE, level=level)
    out = levelled(audio, step)
    assert len(out) == len(audio)
    assert loudness_lufs(out, RATE) == pytest.approx(-19, abs=1)
    assert true_peak_db(out) <= -1.5 + 0.01


def test_the_first_words_are_as_loud_as_the_last(voice):
    out = levelled(voice(9.0, RATE, level=0.05), RATE)
    first, last = loudness_lufs(out[: 2 * RATE], RATE), loudness_lufs(out[-2 * RATE :], RATE)
    assert first == pytest.approx(last, abs=1.5)


def test_the_level_follows_a_voice_that_turns_out_louder(voice):
    audio = np.concatenate([voice(1.0, RATE, level=0.05), voice(8.0, RATE, level=0.3)])
    out = levelled(audio, RATE)
    assert loudness_lufs(out[4 * RATE :], RATE) == pytest.approx(-19, abs=2)
    assert true_peak_db(out) <= -1.5 + 0.01


def test_silence_stays_silence():
    assert not levelled(np.zeros(RATE, np.float32), 1000).any()
    assert len(levelled(np.zeros(0, np.float32), 1000)) == 0


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 10**6), max_size=12), seed=st.integers(0, 100))
def test_the_limiter_does_not_hear_where_it_was_cut(cuts, seed):
    random = np.random.default_rng(seed)
    audio = random.normal(size=RATE // 3) * np.repeat(random.uniform(0, 1, 10), RATE // 30)
    whole, pieces = limited(audio, []), limited(audio, cuts)
    assert len(pieces) == len(audio)
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    assert true_peak_db(whole) <= -6 + 0.02


def test_what_is_quiet_enough_passes_unchanged(voice):
    audio = voice(1.0, RATE, level=0.3)
    np.testing.assert_allclose(limited(audio, [5000]), audio, atol=1e-7)
