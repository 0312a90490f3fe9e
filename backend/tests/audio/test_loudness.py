from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio import loudness
from app.audio.loudness import loudness_lufs, set_loudness, true_peak_db


def ffmpeg_says(path, audio, rate: int) -> tuple[float, float]:
    """Integrated loudness and true peak by ffmpeg's meter, which is not ours."""
    sf.write(path, audio, rate, subtype="FLOAT")
    told = subprocess.run(
        ["ffmpeg", "-hide_banner", "-nostats", "-i", path, "-af", "ebur128=peak=true", "-f", "null", "-"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    summary = told[told.rindex("Summary:") :]
    loudness, peak = re.search(r"I:\s+(\S+) LUFS", summary), re.search(r"Peak:\s+(\S+) dBFS", summary)
    assert loudness and peak
    return float(loudness[1]), float(peak[1])


@pytest.mark.parametrize(
    ("level_db", "lufs"),
    [(-23.0, -23.0), (-33.0, -33.0)],
)
def test_the_reference_tone_reads_as_the_standard_says(sine, level_db, lufs):
    """EBU Tech 3341, case 1 and 2, in one channel: 3 dB less than the same tone in two."""
    tone = sine(20.0, 48_000, frequency=1000, level=10 ** (level_db / 20))
    assert loudness_lufs(tone, 48_000) == pytest.approx(lufs - 3.01, abs=0.1)


def test_true_peak_between_the_samples(sine):
    """A tone of a quarter of the rate, sampled 45 degrees off its tops (BS.1770's own example)."""
    tone = np.sin(np.pi / 2 * np.arange(4800) + np.pi / 4).astype(np.float32)
    assert np.abs(tone).max() == pytest.approx(np.sqrt(0.5), abs=1e-3)
    middle = tone * np.hanning(4800).astype(np.float32)
    assert true_peak_db(middle) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("rate", [24_000, 48_000])
@pytest.mark.parametrize("lufs", [-30.0, -19.0, -16.0])
def test_audio_comes_out_at_the_set_loudness(tmp_path, voice, rate, lufs):
    audio = set_loudness(voice(4.0, rate), rate, lufs, -1.5).audio
    assert loudness_lufs(audio, rate) == pytest.approx(lufs, abs=0.1)
    told, peak = ffmpeg_says(tmp_path / "a.wav", audio, rate)
    assert told == pytest.approx(lufs, abs=0.3)
    assert peak <= -1.5 + 0.2


@settings(deadline=None, max_examples=25)
@given(
    seconds=st.floats(0.001, 1.5),
    level=st.floats(1e-4, 1.0),
    lufs=st.floats(-35, -9),
    ceiling=st.floats(-9, 0),
    clicks=st.integers(0, 3),
    seed=st.integers(0, 100),
)
def test_no_peak_passes_the_limit_whatever_comes(seconds, level, lufs, ceiling, clicks, seed):
    random = np.random.default_rng(seed)
    audio = (level * random.uniform(-1, 1, max(1, int(seconds * 8_000)))).astype(np.float32)
    for _ in range(clicks):
        audio[random.integers(len(audio))] = random.choice([-1.0, 1.0])
    levelled = set_loudness(audio, 8_000, lufs, ceiling)
    shaped = levelled.audio
    assert levelled.lufs == pytest.approx(loudness_lufs(shaped, 8_000), abs=0.01)
    assert levelled.true_peak_db == pytest.approx(true_peak_db(shaped), abs=0.01)
    assert shaped.dtype == np.float32 and len(shaped) == len(audio)
    assert np.isfinite(shaped).all()
    assert true_peak_db(shaped) <= ceiling + 1e-4
    assert loudness_lufs(shaped, 8_000) <= lufs + 0.2


def test_peaks_are_held_without_distortion(voice):
    """With one loud word, the rest keeps its shape: a limiter is no clipper."""
    audio = voice(4.0, level=0.1)
    audio[48_000:50_000] *= 6
    shaped = set_loudness(audio, 24_000, -19.0, -6.0).audio
    assert true_peak_db(shaped) <= -5.99
    heard = np.abs(audio) > 0.01
    gain = np.where(heard, shaped / np.where(heard, audio, 1), np.nan)
    assert np.nanmax(np.abs(np.diff(gain))) < 0.05  # between neighbours: no gain that jumps
    away = np.abs(audio) > 0.01
    away[46_000:52_000] = False
    rest = shaped[away] / audio[away]
    assert rest.std() < 1e-3 * rest.mean()


def test_a_click_does_not_drown_the_speech_or_ring(voice):
    audio = voice(3.0, level=0.02)
    audio[30_000] = 1.0
    shaped = set_loudness(audio, 24_000, -19.0, -1.5).audio
    assert true_peak_db(shaped) <= -1.49
    assert loudness_lufs(shaped, 24_000) < -19


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.3, 0.39])
def test_short_clips_are_measured_as_if_repeated(sine, seconds):
    audio = set_loudness(sine(seconds, level=0.05), 24_000, -19.0).audio
    assert loudness_lufs(audio, 24_000) == pytest.approx(-19.0, abs=0.3)
    assert loudness_lufs(np.tile(audio, 100), 24_000) == pytest.approx(-19.0, abs=0.7)


def test_pauses_do_not_count(voice, silence):
    speech = voice(3.0)
    with_pause = np.concatenate([speech, silence(10.0), speech])
    assert loudness_lufs(with_pause, 24_000) == pytest.approx(loudness_lufs(speech, 24_000), abs=0.5)


def test_silence_stays_silence(silence):
    for seconds in (0.0, 0.1, 2.0):
        assert not set_loudness(silence(seconds), 24_000).audio.any()
        assert loudness_lufs(silence(seconds), 24_000) == -120.0
    assert true_peak_db(silence(0)) == -120.0


def test_setting_it_twice_changes_nothing(voice):
    once = set_loudness(voice(3.0), 24_000).audio
    np.testing.assert_allclose(set_loudness(once, 24_000).audio, once, atol=2e-3)


def test_peaks_found_in_pieces_are_those_of_the_whole(noise, monkeypatch):
    audio = noise(2.0, level=0.2)
    whole = loudness.oversampled_peaks(audio)
    monkeypatch.setattr(loudness, "_PIECE", 768)
    np.testing.assert_allclose(loudness.oversampled_peaks(audio), whole, atol=1e-6)
