from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from app.speech.builtin import analysis
from app.speech.builtin.analysis import BANDS, FRAME, MELS, RATE


def voice(hertz: float, formant: float, seconds: float = 0.6) -> np.ndarray:
    """A buzz through one resonance: a vowel at its simplest."""
    at = np.arange(round(seconds * RATE))
    pulses = (np.diff(np.floor(at * hertz / RATE), prepend=0) > 0).astype(float)
    radius, angle = 0.97, 2 * np.pi * formant / RATE
    sound = lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], pulses)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


@pytest.mark.parametrize("hertz", [100, 220])
@pytest.mark.parametrize("formant", [700, 2200])
def test_finds_pitch_and_resonance(hertz: int, formant: int):
    frames = analysis.analyze(voice(hertz, formant))
    middle = slice(20, -20)
    assert frames.f0[middle] == pytest.approx(hertz, rel=0.02)
    peak = analysis.grid_hz()[frames.envelope[middle, 8:].mean(axis=0).argmax() + 8]
    assert peak == pytest.approx(formant, rel=0.12)


def test_what_is_taken_apart_is_put_together_again():
    audio = voice(150, 900)
    frames = analysis.analyze(audio, breath=True)
    assert frames.envelope.shape == (len(frames), MELS)
    assert frames.aperiodicity.shape == (len(frames), BANDS)
    again = analysis.synthesize(frames)
    assert len(again) == pytest.approx(len(audio), abs=2 * FRAME * RATE)
    assert np.sqrt(np.mean(again**2)) == pytest.approx(np.sqrt(np.mean(audio**2)), rel=0.3)
    twice = analysis.analyze(again)
    inner = slice(20, -20)
    np.testing.assert_allclose(twice.envelope[inner, 5:60], frames.envelope[inner, 5:60], atol=1.0)


def test_pitch_is_none_in_noise():
    noise = np.random.default_rng(0).standard_normal(RATE // 2).astype(np.float32) * 0.1
    assert (analysis.analyze(noise).f0 > 0).mean() < 0.2
