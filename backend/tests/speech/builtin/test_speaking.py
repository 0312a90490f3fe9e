from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.speech.builtin.analysis import RATE
from app.speech.builtin.speaking import limit, phrases

SAMPLES = st.floats(-4, 4, width=32)


@settings(deadline=None, max_examples=50)
@given(arrays.arrays(np.float32, st.integers(1, 200), elements=SAMPLES))
def test_the_limiter_bounds_and_leaves_quiet_sound_alone(audio):
    limited = limit(audio)
    assert np.abs(limited).max() <= 1
    quiet = np.abs(audio) <= 0.8
    np.testing.assert_array_equal(limited[quiet], audio[quiet])
    assert (np.sign(limited) == np.sign(audio)).all()


def test_the_limiter_keeps_the_order_of_samples():
    ramp = np.linspace(-3, 3, 999, dtype=np.float32)
    assert (np.diff(limit(ramp)) >= 0).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(50, 9000)), max_size=8))
def test_phrases_hold_all_sound_and_do_not_overlap(pieces: list[tuple[bool, int]]):
    audio = np.concatenate([np.zeros(1), *(np.full(size, 0.3 * loud) for loud, size in pieces)])
    parts = phrases(audio.astype(np.float32))
    covered = np.zeros(len(audio), int)
    for start, end in parts:
        assert np.abs(audio[start:end]).max() > 0
        covered[start:end] += 1
    assert covered.max(initial=0) <= 1
    assert (covered[audio != 0] == 1).all()


def test_a_long_pause_parts_phrases_and_a_short_one_does_not():
    tone = np.full(RATE // 4, 0.3, np.float32)
    long, short = np.zeros(RATE // 5, np.float32), np.zeros(RATE // 50, np.float32)
    assert len(phrases(np.concatenate([tone, long, tone]))) == 2
    assert len(phrases(np.concatenate([tone, short, tone]))) == 1
    assert phrases(long) == []
