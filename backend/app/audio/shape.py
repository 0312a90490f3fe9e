"""Cutting, joining and converting audio. Nothing here changes its argument."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

Audio = NDArray[np.float32]

# The telephone band of ITU-T G.712: what a narrow-band channel passes.
NARROW_BAND = (300.0, 3400.0)


def resample(audio: Audio, rate: int, out_rate: int) -> Audio:
    """(samples,) at `out_rate` Hz; soxr's high quality. The very array when the rates are the same."""
    if rate == out_rate or len(audio) == 0:
        return audio
    converted: Audio = soxr.resample(audio, rate, out_rate, quality="HQ")
    return converted


def loud_frames(
    audio: Audio, rate: int, *, below_peak_db: float = 40.0, floor_db: float = -60.0
) -> NDArray[np.bool_]:
    """Which 10 ms frames hold sound, (frames,): louder than `floor_db` dBFS and than the loudest less 40 dB.

    Speech covers some 30 dB from its vowels to its weakest consonants; -60 dBFS is a quiet room.
    """
    hop = max(1, rate // 100)
    count = -(-len(audio) // hop)
    whole = len(audio) // hop
    frames, rest = audio[: whole * hop].reshape(whole, hop), audio[whole * hop :]
    power = np.zeros(count)
    power[:whole] = np.einsum("ij,ij->i", frames, frames) / hop  # no copy of an hour of audio
    power[whole:] = float(np.sum(rest**2)) / hop
    level = 10 * np.log10(power + 1e-12)
    threshold = max(floor_db, float(level.max(initial=-120.0)) - below_peak_db)
    loud: NDArray[np.bool_] = level > threshold
    return loud


def sound_span(audio: Audio, rate: int) -> tuple[int, int]:
    """Where sound begins and ends, in samples; (0, 0) where there is none."""
    loud = np.flatnonzero(loud_frames(audio, rate))
    if not len(loud):
        return 0, 0
    hop = max(1, rate // 100)
    return int(loud[0]) * hop, min(len(audio), (int(loud[-1]) + 1) * hop)


def trim(
    audio: Audio, rate: int, *, lead: float = 0.1, tail: float = 0.1, fade_seconds: float = 0.005
) -> Audio:
    """Exactly `lead` and `tail` seconds before and after the sound: cut, or filled with digital silence.

    What is kept of the recording's own silence is faded, so that no cut clicks. All silence: `lead + tail`
    seconds of it.
    """
    begin, end = sound_span(audio, rate)
    before, after = round(lead * rate), round(tail * rate)
    if begin == end:
        return np.zeros(before + after, dtype=np.float32)
    start, stop = max(0, begin - before), min(len(audio), end + after)
    kept = fade(audio[start:stop], rate, seconds_in=fade_seconds, seconds_out=fade_seconds)
    return np.concatenate(
        [
            np.zeros(before - (begin - start), dtype=np.float32),
            kept,
            np.zeros(after - (stop - end), dtype=np.float32),
        ]
    )


def fade(audio: Audio, rate: int, *, seconds_in: float = 0.005, seconds_out: float = 0.005) -> Audio:
    """Raised-cosine fades at both ends, each at most half of the audio."""
    faded = np.array(audio, dtype=np.float32)
    for seconds, backwards in ((seconds_in, False), (seconds_out, True)):
        count = min(round(seconds * rate), len(faded) // 2)
        if count:
            ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)).astype(np.float32)
            if backwards:
                faded[-count:] *= ramp[::-1]
            else:
                faded[:count] *= ramp
    return faded


def join(clips: Sequence[Audio], pauses: Sequence[float], rate: int) -> Audio:
    """Clips with `pauses[i]` seconds of digital silence after clip i; the last pause may be left out."""
    if not len(clips) - 1 <= len(pauses) <= len(clips):
        raise ValueError(f"{len(clips)} clips and {len(pauses)} pauses")
    parts: list[Audio] = []
    for index, clip in enumerate(clips):
        parts.append(np.asarray(clip, dtype=np.float32))
        if index < len(pauses) and pauses[index] > 0:
            parts.append(np.zeros(round(pauses[index] * rate), dtype=np.float32))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def limit_band(audio: Audio, rate: int, band: tuple[float, float] = NARROW_BAND) -> Audio:
    """Only `band` Hz, without shifting phases: 6th-order Butterworth, forwards and backwards.

    An upper edge at or above half the rate is left to the rate itself.
    """
    low, high = band
    if high < 0.95 * rate / 2:
        sos = butter(6, (low, high), "bandpass", fs=rate, output="sos")
    else:
        sos = butter(6, low, "highpass", fs=rate, output="sos")
    if len(audio) == 0:
        return audio
    padding = min(len(audio) - 1, rate // 10)
    narrow: Audio = sosfiltfilt(sos, audio, padlen=padding).astype(np.float32)
    return narrow


def dither(audio: Audio, bits: int, random: np.random.Generator) -> Audio:
    """Audio on the grid of `bits`-bit PCM, its rounding error made independent of it.

    TPDF: the sum of two uniform values of one step (Lipshitz, Wannamaker, Vanderkooy, "Quantization and
    Dither", 1992). Digital silence stays silence: the pause between two parts has no hiss of its own.
    """
    steps = float(1 << (bits - 1))
    count = len(audio)
    noise = random.random(count) - random.random(count)
    quantised = np.rint(audio.astype(np.float64) * steps + np.where(audio == 0, 0.0, noise)) / steps
    on_grid: Audio = np.clip(quantised, -1.0, 1.0 - 1.0 / steps).astype(np.float32)
    return on_grid
