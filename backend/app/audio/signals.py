"""Single figures of a piece of audio: levels, noise, bandwidth, silence, pitch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import stft

from app.audio.shape import Audio, loud_frames, resample

FLOOR_DB = -120.0  # stands for digital silence
_PITCH_RATE = 16_000
_PITCH_SECONDS = 60.0  # enough for a range; the longest recordings are not searched whole
_SPECTRUM_SECONDS = 120.0
_PIECE = 1 << 20  # samples looked at together
_LONG_SECONDS, _PARTS = 300.0, 10


def decibels(amplitude: float) -> float:
    """20 log10, no less than -120 dB."""
    return float(20 * np.log10(max(amplitude, 10 ** (FLOOR_DB / 20))))


def peak_db(audio: Audio) -> float:
    """Sample peak, dBFS."""
    return decibels(_loudest(audio))


def _loudest(audio: Audio) -> float:
    return max(float(audio.max(initial=0.0)), -float(audio.min(initial=0.0)))


def clipping_ratio(audio: Audio) -> float:
    """Share of samples in flat tops: three or more alike in a row, at the loudest level there is.

    That level must be above -6 dBFS: audio clipped before its level was lowered has flat tops as well.
    """
    loudest = _loudest(audio)
    if loudest < 0.5:
        return 0.0
    flat = 0
    for start in range(0, len(audio), _PIECE):
        piece = audio[start : start + _PIECE]
        for top in (piece >= loudest * 0.9995, piece <= -loudest * 0.9995):
            edges = np.diff(np.concatenate([[0], top.astype(np.int8), [0]]))
            lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
            flat += int(lengths[lengths >= 3].sum())
    return flat / len(audio)


@dataclass(frozen=True, slots=True)
class Silences:
    """Seconds of silence before, after and, at most in one piece, between sounds; and the share of all."""

    lead: float
    tail: float
    longest_inner: float
    ratio: float


def silences(audio: Audio, rate: int) -> Silences:
    """Where nothing sounds; all of it is `lead` where nothing ever does."""
    loud = loud_frames(audio, rate)
    seconds = len(audio) / rate
    sounding = np.flatnonzero(loud)
    if not len(sounding):
        return Silences(seconds, 0.0, 0.0, 1.0)
    frame = max(1, rate // 100) / rate
    gaps = np.diff(sounding) - 1
    return Silences(
        lead=float(sounding[0]) * frame,
        tail=max(0.0, seconds - float(sounding[-1] + 1) * frame),
        longest_inner=float(gaps.max(initial=0)) * frame,
        ratio=1.0 - len(sounding) / len(loud),
    )


def noise_snr_db(audio: Audio, rate: int) -> float:
    """How far speech lies above the noise between its words, dB, 0–80.

    The loud 20 ms frames' mean power over that of the quietest tenth of frames, digital silence left out
    where there are others. Speech without a pause is underestimated, by design: no pause, no proof.
    """
    hop = max(1, rate // 50)
    count = len(audio) // hop
    if count < 5:
        return 0.0
    power = np.mean(audio[: count * hop].reshape(count, hop).astype(np.float64) ** 2, axis=1)
    heard = np.sort(power[power > 1e-10])
    if not len(heard):
        return 0.0
    if len(heard) < count / 2:
        heard = np.sort(power)
    noise = float(heard[: max(1, len(heard) // 10)].mean())
    speech = float(heard[heard > heard[-1] * 1e-3].mean())
    return float(np.clip(10 * np.log10(speech / max(noise, 1e-12)), 0.0, 80.0))


def bandwidth_hz(audio: Audio, rate: int) -> float:
    """The highest frequency at which speech still has power, Hz.

    In the 95th percentile over time of the spectrum, smoothed over 200 Hz, the last frequency within 65 dB of
    its peak: an `s` lies 30 to 50 dB below the vowels, a resampler's or a codec's stop band 80 or more.
    """
    audio = _excerpt(audio, rate, _SPECTRUM_SECONDS)
    size = 1 << int(np.ceil(np.log2(max(rate * 0.03, 64))))
    if len(audio) < size:
        return 0.0
    frequencies, _, spectrum = stft(
        audio, rate, nperseg=size, noverlap=size // 2, boundary=None, padded=False
    )
    power = np.percentile(np.abs(spectrum) ** 2, 95, axis=1)
    width = max(1, round(200 / (rate / size)))
    smooth = np.convolve(power, np.ones(width) / width, mode="same")
    if smooth.max() <= 1e-12:
        return 0.0
    present = np.flatnonzero(smooth > max(smooth.max() * 10**-6.5, 1e-13))
    return float(frequencies[present[-1]])


@dataclass(frozen=True, slots=True)
class Pitch:
    """Fundamental frequency, Hz: median, 5th and 95th percentile; `voiced` is the share of voiced sound."""

    median: float
    low: float
    high: float
    voiced: float


def pitch_range(audio: Audio, rate: int) -> Pitch:
    """Of the frames that sound; WORLD's DIO at 10 ms, 60–600 Hz. All zero where nothing is voiced."""
    import pyworld  # half a second to import; most of the service never measures

    audio = resample(_excerpt(audio, rate, _PITCH_SECONDS), rate, _PITCH_RATE)
    nothing = Pitch(0.0, 0.0, 0.0, 0.0)
    if len(audio) < _PITCH_RATE // 10:
        return nothing
    f0, _ = pyworld.dio(
        audio.astype(np.float64), _PITCH_RATE, f0_floor=60.0, f0_ceil=600.0, frame_period=10.0
    )
    loud = loud_frames(audio, _PITCH_RATE, below_peak_db=30.0)
    count = min(len(f0), len(loud))
    f0, loud = f0[:count], loud[:count]
    voiced: NDArray[np.float64] = f0[loud & (f0 > 0)]
    if not len(voiced):
        return nothing
    low, median, high = np.percentile(voiced, (5, 50, 95))
    return Pitch(float(median), float(low), float(high), len(voiced) / max(1, int(loud.sum())))


def representative(audio: Audio, rate: int) -> Audio:
    """What stands for a recording: over five minutes, ten half minutes evenly spread; else all of it."""
    if len(audio) <= _LONG_SECONDS * rate:
        return audio
    part = int(_LONG_SECONDS / _PARTS * rate)
    starts = np.linspace(0, len(audio) - part, _PARTS).astype(int)
    return np.concatenate([audio[start : start + part] for start in starts])


def _excerpt(audio: Audio, rate: int, seconds: float) -> Audio:
    """The middle of what is longer than `seconds`."""
    extra = len(audio) - int(seconds * rate)
    return audio if extra <= 0 else audio[extra // 2 : extra // 2 + int(seconds * rate)]
