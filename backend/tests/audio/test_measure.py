from __future__ import annotations

import tracemalloc
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.loudness import set_loudness
from app.audio.measure import (
    MODEL_WEIGHTS,
    TAKE_SCALES,
    measure_sample,
    measure_take,
    score_model,
    syllables_in,
)
from app.audio.shape import limit_band

RATE = 24_000


def padded(audio, silence, lead=0.2, tail=0.2):
    return np.concatenate([silence(lead), audio, silence(tail)])


def spoken(voice, silence, seconds=4.0):
    """A take as it is delivered: at its loudness, a tenth of silence at both ends."""
    return padded(set_loudness(voice(seconds), RATE).audio, silence, 0.1, 0.1)


def test_syllables():
    assert syllables_in("안녕하세요, 고객님.") == 8
    assert syllables_in("") == 0
    assert syllables_in("ARS 1번") == 1 + round(1.5 * 4)


def test_a_clean_recording_is_good(voice, noise, silence):
    audio = padded(voice(4.0), silence)
    audio = audio + noise(4.4, level=0.0002)[: len(audio)]
    report = measure_sample(audio, RATE, "가" * 16)
    assert (report.verdict, report.reasons) == ("good", ())
    assert report.seconds == pytest.approx(4.4)
    assert report.lead_silence == pytest.approx(0.2, abs=0.1)
    assert report.tail_silence == pytest.approx(0.2, abs=0.1)
    assert report.peak_db == pytest.approx(20 * np.log10(0.3), abs=0.2)
    assert report.true_peak_db >= report.peak_db - 0.01
    assert report.pitch_median == pytest.approx(120, rel=0.12)
    assert 100 < report.pitch_low < report.pitch_median < report.pitch_high < 140
    assert report.bandwidth_hz > 7000
    assert report.snr_db > 30


@pytest.mark.parametrize("pitch", [90.0, 130.0, 210.0, 300.0])
def test_pitch_is_the_speakers(voice, pitch):
    assert measure_sample(voice(3.0, pitch=pitch), RATE).pitch_median == pytest.approx(pitch, rel=0.12)


@pytest.mark.parametrize("wanted", [5, 15, 30, 45])
def test_noise_is_measured(voice, noise, silence, wanted):
    speech = padded(voice(4.0, level=0.5), silence, 0.5, 0.5)
    loud = speech[np.abs(speech) > 0.01]
    level = float(np.sqrt(np.mean(loud**2))) * 10 ** (-wanted / 20)
    report = measure_sample(speech + noise(5.0, level=level)[: len(speech)], RATE)
    assert report.snr_db == pytest.approx(wanted, abs=5)


@pytest.mark.parametrize("edge", [3400, 5500, 8000])
def test_bandwidth_is_where_the_sound_ends(voice, edge):
    narrow = limit_band(voice(3.0, 48_000), 48_000, (50.0, float(edge)))
    assert measure_sample(narrow, 48_000).bandwidth_hz == pytest.approx(edge, rel=0.45)
    assert measure_sample(narrow, 48_000).bandwidth_hz >= edge * 0.95


BAD = {
    "no_speech": ("rejected", lambda voice, noise, silence: noise(3.0, level=0.1)),
    "too_short": ("rejected", lambda voice, noise, silence: padded(voice(0.25), silence)),
    "too_quiet": ("rejected", lambda voice, noise, silence: voice(3.0, level=0.004)),
    "clipped": ("rejected", lambda voice, noise, silence: np.clip(voice(3.0) * 12, -0.9, 0.9)),
    "noisy": ("rejected", lambda voice, noise, silence: voice(3.0) + noise(3.0, level=0.06)),
    "narrow_band": ("usable", lambda voice, noise, silence: limit_band(voice(3.0), RATE)),
    "mostly_silence": ("rejected", lambda voice, noise, silence: padded(voice(1.5), silence, 15, 15)),
}


@pytest.mark.parametrize("code", BAD)
def test_what_is_wrong_is_said_in_two_languages(voice, noise, silence, code):
    verdict, make = BAD[code]
    report = measure_sample(make(voice, noise, silence).astype(np.float32), RATE)
    assert report.verdict == verdict
    reason = next(each for each in report.reasons if each.code == code)
    assert any("가" <= each <= "힣" for each in reason.ko)
    assert reason.ko.endswith(".") and reason.en.endswith(".")
    assert "{" not in reason.ko + reason.en


def test_a_transcript_that_is_not_of_this_recording(voice):
    assert measure_sample(voice(3.0), RATE, "가" * 100).reasons[-1].code == "text_too_long"
    assert measure_sample(voice(20.0), RATE, "가").reasons[-1].code == "text_too_short"
    assert not {"text_too_long", "text_too_short"} & {
        each.code for each in measure_sample(voice(3.0), RATE).reasons
    }


def test_empty_and_silent_samples_are_measured_too(silence):
    for seconds in (0.0, 0.001, 0.5, 2.0):
        report = measure_sample(silence(seconds), RATE)
        assert report.verdict == "rejected"
        assert all(np.isfinite(value) for value in asdict(report).values() if isinstance(value, float))


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 6000),
    level=st.floats(0, 1),
    rate=st.sampled_from([8000, 48000]),
)
def test_any_audio_gets_finite_figures(seed, count, level, rate):
    audio = (level * np.random.default_rng(seed).uniform(-1, 1, count)).astype(np.float32)
    sample, take = measure_sample(audio, rate, "가나다"), measure_take(audio, rate, "가나다")
    for report in (sample, take):
        assert all(np.isfinite(value) for value in asdict(report).values() if isinstance(value, float))
    assert 0 <= take.quality_score <= 100


def test_a_good_take(voice, silence):
    report = measure_take(spoken(voice, silence), RATE, "가" * 16, similarity=0.85)
    assert report.flags == ()
    assert report.quality_score > 95
    assert [part.name for part in report.parts] == list(TAKE_SCALES)
    assert report.lufs == pytest.approx(-19, abs=0.3)
    assert not report.simulated


def test_the_score_is_the_weighted_mean_of_its_parts(voice, silence):
    for similarity in (None, -0.2, 0.55, 0.9):
        report = measure_take(spoken(voice, silence) * 0.3, RATE, "가" * 30, similarity=similarity)
        assert sum(part.weight for part in report.parts) == pytest.approx(1.0, abs=1e-3)
        assert report.quality_score == pytest.approx(
            sum(part.score * part.weight for part in report.parts), abs=0.2
        )


def test_similarity_counts_only_where_an_engine_can_say(voice, silence):
    audio = spoken(voice, silence)
    unknown, alike, unlike = (measure_take(audio, RATE, "가" * 16, each) for each in (None, 0.9, 0.2))
    assert "similarity" not in {part.name for part in unknown.parts}
    assert unlike.quality_score < unknown.quality_score - 20
    assert alike.quality_score >= unknown.quality_score - 1


@pytest.mark.parametrize(
    ("syllables", "flag"), [(16, None), (45, "too_fast"), (60, "cut_off"), (6, "too_slow"), (2, "ran_on")]
)
def test_duration_is_held_against_the_text(voice, silence, syllables, flag):
    report = measure_take(spoken(voice, silence), RATE, "가" * syllables)
    assert report.flags == ((flag,) if flag else ())
    if flag:
        assert report.quality_score < measure_take(spoken(voice, silence), RATE, "가" * 16).quality_score - 10


def test_speed_is_allowed_for(voice, silence):
    audio = spoken(voice, silence)
    assert measure_take(audio, RATE, "가" * 42).flags == ("too_fast",)
    assert measure_take(audio, RATE, "가" * 42, speed=2.0).flags == ()


def test_loudness_that_is_known_is_not_measured_again(voice):
    levelled = set_loudness(voice(3.0), RATE)
    measured = measure_take(levelled.audio, RATE, "가" * 16)
    told = measure_take(levelled.audio, RATE, "가" * 16, levelled=levelled)
    assert told.lufs == pytest.approx(measured.lufs, abs=0.01)
    assert told.true_peak_db == pytest.approx(measured.true_peak_db, abs=0.01)
    assert told.quality_score == pytest.approx(measured.quality_score, abs=0.1)
    other = measure_take(levelled.audio, RATE, "가" * 16, levelled=replace(levelled, lufs=-33.0))
    assert other.lufs == -33.0


def test_other_faults_of_a_take(voice, silence):
    audio = set_loudness(voice(2.0), RATE).audio
    paused = np.concatenate([audio, silence(2.0), audio])
    assert "long_pause" in measure_take(paused, RATE, "가" * 16).flags
    assert measure_take(paused, RATE, "가" * 16).longest_inner_silence == pytest.approx(2.0, abs=0.2)
    clipped = np.clip(voice(4.0) * 20, -0.95, 0.95)
    assert "clipped" in measure_take(clipped, RATE, "가" * 16).flags
    silent = measure_take(silence(3.0), RATE, "가" * 10, similarity=0.9)
    assert (silent.flags, silent.quality_score) == (("silent",), 0.0)


def test_a_mocks_scores_say_so(voice, silence):
    take = measure_take(spoken(voice, silence), RATE, "가" * 16, simulated=True)
    assert take.simulated and score_model([], [take]).simulated


def test_a_model_is_scored_by_its_samples_and_takes(voice, noise, silence):
    sample = measure_sample(padded(voice(4.0), silence) + noise(4.4, level=0.0002), RATE)
    take = measure_take(spoken(voice, silence), RATE, "가" * 16, similarity=0.85)
    many = score_model([sample] * 40, [take] * 3)
    assert many.score > 90 and [part.name for part in many.parts] == list(MODEL_WEIGHTS)
    assert sum(part.weight for part in many.parts) == pytest.approx(1.0, abs=1e-3)
    few = score_model([sample], [take] * 3)
    assert few.score < many.score
    poor = score_model([replace(sample, verdict="usable")] * 40, [take] * 3)
    assert poor.score < many.score
    unlike = score_model([sample] * 40, [replace(take, similarity=0.3)] * 3)
    assert unlike.score < many.score - 10


def test_a_model_nothing_is_known_of():
    nothing = score_model([], [])
    assert (nothing.score, nothing.parts) == (0.0, ())


def test_long_recordings_are_measured_in_bounded_memory(voice):
    """Ten minutes here: the oversampled whole alone would be sixteen copies of it."""
    audio = np.tile(voice(4.0), 150)
    audio[len(audio) // 3] = 0.8  # one click, outside of what stands for the whole
    tracemalloc.start()
    report = measure_sample(audio, RATE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    short = measure_sample(voice(4.0), RATE)
    assert report.seconds == 600 and report.peak_db == pytest.approx(20 * np.log10(0.8), abs=0.01)
    assert report.lufs == pytest.approx(short.lufs, abs=0.2)
    assert report.pitch_median == pytest.approx(short.pitch_median, rel=0.05)
    assert peak < 6 * audio.nbytes
