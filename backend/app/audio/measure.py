"""Measured reports on samples, takes and models. Every figure comes from the audio; none is made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from app.audio import signals
from app.audio.loudness import TAKE_LUFS, Levelled, loudness_lufs, true_peak_db
from app.audio.rules import Reason, Verdict, judge
from app.audio.shape import Audio


def syllables_in(text: str) -> int:
    """How many syllables Korean text needs: its Hangul; a digit or Latin letter counts as one and a half."""
    hangul = sum("가" <= each <= "힣" for each in text)
    others = sum(each.isascii() and each.isalnum() for each in text)
    return hangul + round(1.5 * others)


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What one recording of an actor is like. Levels in dB, times in seconds, frequencies in Hz."""

    seconds: float
    sample_rate: int
    sound_seconds: float
    lufs: float
    peak_db: float
    true_peak_db: float
    clipping_ratio: float
    snr_db: float
    bandwidth_hz: float
    silence_ratio: float
    lead_silence: float
    tail_silence: float
    pitch_median: float
    pitch_low: float
    pitch_high: float
    voiced_ratio: float
    syllables_per_second: float | None
    verdict: Verdict
    reasons: tuple[Reason, ...]


def measure_sample(audio: Audio, rate: int, text: str = "") -> SampleReport:
    """Measure a decoded recording, (samples,) at `rate` Hz, and its transcript where there is one.

    Of a recording over five minutes, ten half minutes give loudness, true peak, noise, bandwidth and pitch.
    """
    seconds = len(audio) / rate
    some = signals.representative(audio, rate)
    silences = signals.silences(audio, rate)
    pitch = signals.pitch_range(some, rate)
    sound_seconds = seconds * (1 - silences.ratio)
    syllables = syllables_in(text)
    figures: dict[str, float | None] = {
        "seconds": seconds,
        "sample_rate": rate,
        "sound_seconds": sound_seconds,
        "lufs": loudness_lufs(some, rate),
        "peak_db": signals.peak_db(audio),
        "true_peak_db": max(true_peak_db(some), signals.peak_db(audio)),
        "clipping_ratio": signals.clipping_ratio(audio),
        "snr_db": signals.noise_snr_db(some, rate),
        "bandwidth_hz": signals.bandwidth_hz(some, rate),
        "silence_ratio": silences.ratio,
        "lead_silence": silences.lead,
        "tail_silence": silences.tail,
        "pitch_median": pitch.median,
        "pitch_low": pitch.low,
        "pitch_high": pitch.high,
        "voiced_ratio": pitch.voiced,
        "syllables_per_second": syllables / sound_seconds if syllables and sound_seconds else None,
    }
    verdict, reasons = judge(figures)
    return SampleReport(**figures, verdict=verdict, reasons=reasons)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Part:
    """One measured part of a score: 0–100, and its share of the whole (weights add up to 1)."""

    name: str
    score: float
    weight: float
    value: float


@dataclass(frozen=True, slots=True)
class TakeReport:
    """What one take is like. `flags` name what a listener would object to; `similarity` is a cosine."""

    seconds: float
    syllables: int
    syllables_per_second: float
    lead_silence: float
    tail_silence: float
    longest_inner_silence: float
    clipping_ratio: float
    lufs: float
    peak_db: float
    true_peak_db: float
    similarity: float | None
    flags: tuple[str, ...]
    quality_score: float
    parts: tuple[Part, ...]
    simulated: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """A figure's way to a score: 100 within `good`, falling straight to 0 at the `bad` on either side."""

    weight: float
    bad_low: float
    good_low: float
    good_high: float
    bad_high: float

    def score(self, value: float) -> float:
        return float(np.interp(value, self._points(), (0.0, 100.0, 100.0, 0.0)))

    def _points(self) -> tuple[float, float, float, float]:
        return self.bad_low, self.good_low, self.good_high, self.bad_high


_NONE = -1e9  # a side that has no bound

# quality_score = sum(weight · score) / sum(weight), over the parts that could be measured.
# Korean announcers speak 4 to 6 syllables a second, pauses left out, and conversation reaches 8; below 2 or
# above 11 something was added, left out or drawn out.
TAKE_SCALES: Mapping[str, Scale] = {
    "pace": Scale(0.25, 1.2, 2.8, 8.5, 12.0),
    "edges": Scale(0.10, _NONE, _NONE + 1, 0.6, 2.5),
    "pauses": Scale(0.10, _NONE, _NONE + 1, 0.9, 3.0),
    "clipping": Scale(0.15, _NONE, _NONE + 1, 0.0, 0.002),
    "level": Scale(0.10, _NONE, _NONE + 1, 1.0, 12.0),
    "similarity": Scale(0.30, 0.3, 0.8, 1.0, 1e9),
}
_TOO_SLOW, _TOO_FAST = 2.0, 10.0
_RAN_ON, _CUT_OFF = 1.2, 13.0  # syllables a second of the whole take, pauses included
_LONG_PAUSE = 1.5
_SILENT_LUFS = -60.0


def measure_take(
    audio: Audio,
    rate: int,
    spoken_text: str,
    similarity: float | None = None,
    simulated: bool = False,
    *,
    speed: float = 1.0,
    lufs: float = TAKE_LUFS,
    levelled: Levelled | None = None,
) -> TakeReport:
    """Measure a take, (samples,) at `rate` Hz, of the text as it was spoken (normalised), at `speed`.

    `similarity` is the engine's own, None where it cannot say: then the score has no such part. `lufs` is
    the loudness that the take should have; with `levelled`, which says how loud `audio` is, that is not measured.
    """
    seconds = len(audio) / rate
    silences = signals.silences(audio, rate)
    sound_seconds = seconds * (1 - silences.ratio)
    syllables = syllables_in(spoken_text)
    pace = syllables / sound_seconds / speed if sound_seconds else 0.0
    loudness = levelled.lufs if levelled else loudness_lufs(audio, rate)
    clipping = signals.clipping_ratio(audio)
    flags = _take_flags(pace, syllables / seconds / speed if seconds else 0.0, silences, clipping, loudness)
    measured = {
        "pace": pace,
        "edges": max(silences.lead, silences.tail),
        "pauses": silences.longest_inner * speed,
        "clipping": clipping,
        "level": abs(loudness - lufs),
    }
    if similarity is not None:
        measured["similarity"] = similarity
    score, parts = _weighed(
        {
            name: (TAKE_SCALES[name].score(value), TAKE_SCALES[name].weight, value)
            for name, value in measured.items()
        }
    )
    return TakeReport(
        seconds=seconds,
        syllables=syllables,
        syllables_per_second=pace,
        lead_silence=silences.lead,
        tail_silence=silences.tail,
        longest_inner_silence=silences.longest_inner,
        clipping_ratio=clipping,
        lufs=loudness,
        peak_db=signals.peak_db(audio),
        true_peak_db=levelled.true_peak_db if levelled else true_peak_db(audio),
        similarity=similarity,
        flags=flags,
        quality_score=0.0 if "silent" in flags else score,
        parts=parts,
        simulated=simulated,
    )


def _take_flags(
    pace: float, whole_pace: float, silences: signals.Silences, clipping: float, loudness: float
) -> tuple[str, ...]:
    if loudness < _SILENT_LUFS:
        return ("silent",)
    flags = {
        "cut_off": whole_pace > _CUT_OFF,
        "too_fast": pace > _TOO_FAST and whole_pace <= _CUT_OFF,
        "ran_on": 0 < whole_pace < _RAN_ON,
        "too_slow": 0 < pace < _TOO_SLOW and whole_pace >= _RAN_ON,
        "long_pause": silences.longest_inner > _LONG_PAUSE,
        "clipped": clipping > 0.0002,
    }
    return tuple(flag for flag, raised in flags.items() if raised)


@dataclass(frozen=True, slots=True)
class ModelQuality:
    """A voice model's score, 0–100, its parts, and whether any of its takes was simulated."""

    score: float
    parts: tuple[Part, ...]
    simulated: bool


# A model is as good as the recordings behind it and as the lines it spoke.
MODEL_WEIGHTS: Mapping[str, float] = {
    "sample_quality": 0.25,
    "sample_amount": 0.15,
    "takes": 0.40,
    "similarity": 0.20,
}
_VERDICT_SCORES: Mapping[Verdict, float] = {"good": 100.0, "usable": 60.0, "rejected": 0.0}
_LITTLE_SECONDS, _ENOUGH_SECONDS = 3.0, 120.0  # of sound; each doubling between them counts alike


def score_model(samples: Sequence[SampleReport], takes: Sequence[TakeReport]) -> ModelQuality:
    """Score a model by its samples' verdicts (by their seconds), their amount, and its test takes.

    A part that nothing was measured for is left out and the others' weights grow in proportion.
    """
    measured: dict[str, tuple[float, float, float]] = {}
    sound = sum(sample.sound_seconds for sample in samples)
    if sound:
        quality = sum(_VERDICT_SCORES[each.verdict] * each.sound_seconds for each in samples) / sound
        measured["sample_quality"] = (quality, MODEL_WEIGHTS["sample_quality"], quality)
        amount = 100 * log(sound / _LITTLE_SECONDS) / log(_ENOUGH_SECONDS / _LITTLE_SECONDS)
        measured["sample_amount"] = (min(100.0, max(0.0, amount)), MODEL_WEIGHTS["sample_amount"], sound)
    if takes:
        mean = sum(take.quality_score for take in takes) / len(takes)
        measured["takes"] = (mean, MODEL_WEIGHTS["takes"], mean)
    alike = [take.similarity for take in takes if take.similarity is not None]
    if alike:
        mean = sum(alike) / len(alike)
        measured["similarity"] = (TAKE_SCALES["similarity"].score(mean), MODEL_WEIGHTS["similarity"], mean)
    score, parts = _weighed(measured)
    return ModelQuality(score, parts, any(take.simulated for take in takes))


def _weighed(measured: Mapping[str, tuple[float, float, float]]) -> tuple[float, tuple[Part, ...]]:
    """The weighted mean of (score, weight, value) by name, and its parts with weights that add up to 1."""
    total = sum(weight for _, weight, _ in measured.values())
    parts = tuple(
        Part(name, round(score, 1), round(weight / total, 4), round(value, 4))
        for name, (score, weight, value) in measured.items()
    )
    mean = sum(score * weight for score, weight, _ in measured.values()) / total if total else 0.0
    return round(mean, 1), parts
