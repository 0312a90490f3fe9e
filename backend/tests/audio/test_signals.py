from __future__ import annotations

import numpy as np
import pytest

from app.audio.signals import clipping_ratio, noise_snr_db, representative, silences


def test_a_single_peak_is_no_clipping_and_a_flat_top_is(noise):
    audio = noise(1.0, level=0.05)
    audio[1000] = audio[2000] = audio[2001] = 0.9
    assert clipping_ratio(audio) == 0.0
    audio[5000:5010] = 0.9
    audio[6000:6010] = -0.9
    assert clipping_ratio(audio) == pytest.approx(20 / len(audio))


def test_clipping_is_found_after_the_level_was_lowered(sine):
    assert clipping_ratio(np.clip(sine(1.0, level=1.5), -1, 1) * np.float32(0.7)) > 0.1
    assert clipping_ratio(sine(1.0, frequency=997, level=0.9)) < 0.05


def test_silences_before_after_and_between(sine, silence):
    audio = np.concatenate(
        [silence(0.3), sine(0.5), silence(0.7), sine(0.5), silence(0.2), sine(0.5), silence(0.4)]
    )
    found = silences(audio, 24_000)
    assert (found.lead, found.longest_inner, found.tail) == pytest.approx((0.3, 0.7, 0.4), abs=0.011)
    assert found.ratio == pytest.approx(1.6 / 3.1, abs=0.02)
    assert silences(silence(2.0), 24_000).lead == 2.0


def test_digital_silence_between_words_does_not_hide_noise(voice, noise, silence):
    speech = np.concatenate([silence(0.3), voice(2.0) + noise(2.0, level=0.02), silence(0.3)])
    assert noise_snr_db(speech, 24_000) < 25


def test_what_stands_for_a_long_recording_comes_from_all_of_it():
    audio = np.repeat(np.arange(600, dtype=np.float32), 100)
    some = representative(audio, 100)
    assert len(some) == 300 * 100 and some[0] == 0 and some[-1] == 599
    assert len(np.unique(some // 60)) == 10
    short = audio[: 300 * 100]
    assert representative(short, 100) is short
