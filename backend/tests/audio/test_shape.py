from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.shape import dither, fade, join, limit_band, loud_frames, resample, sound_span, trim


def power_at(audio, rate: int, frequency: float) -> float:
    """Level of one frequency, dB relative to a full-scale sine."""
    window = np.hanning(len(audio))
    wave = np.exp(-2j * np.pi * frequency * np.arange(len(audio)) / rate)
    return 20 * np.log10(abs((audio * window * wave).sum()) * 2 / window.sum() + 1e-12)


@pytest.mark.parametrize(
    ("rate", "out"), [(24_000, 8_000), (8_000, 24_000), (44_100, 16_000), (24_000, 24_000)]
)
def test_resampling_keeps_length_and_tone(sine, rate, out):
    converted = resample(sine(1.0, rate), rate, out)
    assert converted.dtype == np.float32 and abs(len(converted) - out) <= 1
    assert power_at(converted, out, 1000) == pytest.approx(-6.02, abs=0.1)


def test_resampling_lets_nothing_fold_back(sine):
    converted = resample(sine(1.0, 24_000, frequency=7_000), 24_000, 8_000)
    assert np.abs(converted[500:-500]).max() < 1e-4


def test_resampling_nothing():
    assert len(resample(np.zeros(0, dtype=np.float32), 24_000, 8_000)) == 0


def test_sound_is_found_to_ten_milliseconds(sine, silence):
    audio = np.concatenate([silence(0.5), sine(1.0), silence(0.25)])
    begin, end = sound_span(audio, 24_000)
    assert begin / 24_000 == pytest.approx(0.5, abs=0.011)
    assert end / 24_000 == pytest.approx(1.5, abs=0.011)
    assert sound_span(silence(1), 24_000) == (0, 0)
    assert sound_span(silence(0), 24_000) == (0, 0)


def test_a_rooms_noise_is_no_sound_beside_speech(voice, noise):
    quiet = noise(1.0, level=0.0008)
    audio = np.concatenate([quiet, voice(1.0), quiet])
    begin, end = sound_span(audio, 24_000)
    assert 0.99 <= begin / 24_000 <= 1.2 and 1.8 <= end / 24_000 <= 2.01
    assert not loud_frames(quiet, 24_000).any()


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.01, 1.0), (1.0, 0.01), (2.0, 2.0)])
@pytest.mark.parametrize(("lead", "tail"), [(0.1, 0.1), (0.0, 0.5), (0.3, 0.0)])
def test_trimmed_silence_has_exactly_the_set_length(sine, silence, before, after, lead, tail):
    audio = np.concatenate([silence(before), sine(1.0), silence(after)])
    trimmed = trim(audio, 24_000, lead=lead, tail=tail)
    assert len(trimmed) / 24_000 == pytest.approx(lead + 1.0 + tail, abs=0.011)
    begin, end = sound_span(trimmed, 24_000)
    assert begin / 24_000 == pytest.approx(lead, abs=0.011)
    assert (len(trimmed) - end) / 24_000 == pytest.approx(tail, abs=0.011)


def test_trimming_cuts_without_a_click(sine, noise):
    audio = np.concatenate([noise(1.0, level=0.001), sine(1.0, frequency=200), noise(1.0, level=0.001)])
    trimmed = trim(audio, 24_000, lead=0.05, tail=0.05)
    assert abs(trimmed[0]) < 1e-4 and abs(trimmed[-1]) < 1e-4


def test_trimming_silence_leaves_the_set_silence(silence):
    assert trim(silence(3), 24_000, lead=0.1, tail=0.2).tolist() == [0.0] * 7200


def test_nothing_changes_its_argument(voice):
    audio = voice(1.0)
    kept = audio.copy()
    fade(audio, 24_000)
    trim(audio, 24_000)
    limit_band(audio, 24_000)
    dither(audio, 16, np.random.default_rng(0))
    join([audio, audio], [0.1], 24_000)
    np.testing.assert_array_equal(audio, kept)


def test_fades_rise_and_fall_and_leave_the_middle():
    faded = fade(np.ones(1000, dtype=np.float32), 1000, seconds_in=0.1, seconds_out=0.2)
    assert (np.diff(faded[:100]) > 0).all() and (np.diff(faded[800:]) < 0).all()
    assert (faded[100:800] == 1).all() and faded[0] < 0.01 and faded[-1] < 0.01
    assert len(fade(np.ones(1, dtype=np.float32), 1000)) == 1
    assert len(fade(np.ones(0, dtype=np.float32), 1000)) == 0
    short = fade(np.ones(10, dtype=np.float32), 1000, seconds_in=1, seconds_out=1)
    assert short[0] < 0.1 and short[-1] < 0.1


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    pauses=st.lists(st.floats(0, 0.5), min_size=6, max_size=6),
    last=st.booleans(),
)
def test_joined_parts_stand_where_the_pauses_put_them(lengths, pauses, last):
    clips = [np.full(length, index + 1, dtype=np.float32) for index, length in enumerate(lengths)]
    used = pauses[: len(clips) if last else len(clips) - 1]
    joined = join(clips, used, 1000)
    assert len(joined) == sum(lengths) + sum(round(pause * 1000) for pause in used)
    np.testing.assert_array_equal(joined[joined != 0], np.concatenate(clips))


def test_join_wants_a_pause_between_any_two():
    clip = np.ones(10, dtype=np.float32)
    for pauses in ([], [0.1, 0.1, 0.1]):
        with pytest.raises(ValueError, match="2 clips"):
            join([clip, clip], pauses, 1000)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_the_telephone_band(sine, rate):
    for frequency, least, most in ((1000, -6.3, -5.8), (60, -200, -60), (150, -200, -35), (2500, -6.6, -5.8)):
        level = power_at(limit_band(sine(1.0, rate, frequency=frequency), rate), rate, frequency)
        assert least < level < most, frequency
    if rate > 8_000:
        assert power_at(limit_band(sine(1.0, rate, frequency=6000), rate), rate, 6000) < -55


def test_the_band_of_very_short_audio():
    for count in (0, 1, 2, 30):
        assert len(limit_band(np.ones(count, dtype=np.float32), 8_000)) == count


def test_dither_lands_on_the_grid_and_frees_the_error_of_the_signal(sine):
    quiet = sine(2.0, level=1.5 / 32768, frequency=440)
    dithered = dither(quiet, 16, np.random.default_rng(0))
    np.testing.assert_array_equal(dithered * 32768, np.rint(dithered * 32768))
    plain = (np.rint(quiet * 32768) / 32768).astype(np.float32)
    third = 3 * 440  # plain rounding of so quiet a tone makes harmonics
    assert power_at(dithered, 24_000, third) < power_at(plain, 24_000, third) - 10
    error = dithered - quiet
    assert abs(error.mean()) < 0.02 / 32768
    assert error.std() * 32768 == pytest.approx(0.5, abs=0.02)  # TPDF: 1/6 + 1/12 of a step squared


def test_dither_keeps_silence_and_the_range(silence):
    assert not dither(silence(1), 16, np.random.default_rng(0)).any()
    loud = dither(np.array([1.0, -1.0, 0.99999] * 100, dtype=np.float32), 16, np.random.default_rng(0))
    assert loud.max() <= 32767 / 32768 and loud.min() >= -1


def test_dither_is_the_same_for_the_same_seed(voice):
    one, two = (dither(voice(0.5), 16, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
