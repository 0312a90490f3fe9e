"""Loudness and true peak by ITU-R BS.1770, and bringing audio to a set one of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyloudnorm
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d
from scipy.signal import resample_poly
from scipy.signal.windows import hann

from app.audio.shape import Audio
from app.audio.signals import FLOOR_DB, decibels

# Speech is delivered at -18 to -20 LUFS where it stands alone (AES TD1008, 2021); mono played through one
# ear of a phone is as loud at -19 as the -16 that podcasts use for stereo.
TAKE_LUFS = -19.0
TAKE_TRUE_PEAK_DB = -1.5
_BLOCK_SECONDS = 0.4  # BS.1770's gating block
MAX_LIMITING_DB = 6.0  # more than this would be heard; such audio comes out quieter instead
_OVERSAMPLING = 8  # BS.1770 asks for four times at 48 kHz; speech mostly comes at half that rate
LOOK_SECONDS = 0.005
_STRETCH, _STRETCHES = 16, 48  # samples in one row of a product, and rows: too few for BLAS to share out
_PIECE = 16 * _STRETCH * _STRETCHES  # samples looked at together, for memory's sake


def loudness_lufs(audio: Audio, rate: int) -> float:
    """Integrated loudness, LUFS, no less than -120. Audio under 0.4 s is measured as if repeated to that."""
    if not len(audio) or float(np.abs(audio).max()) == 0.0:
        return FLOOR_DB
    needed = int(_BLOCK_SECONDS * rate) + 1
    if len(audio) < needed:
        audio = np.tile(audio, -(-needed // len(audio)))
    with np.errstate(divide="ignore", invalid="ignore"):  # blocks of digital silence have no logarithm
        measured = float(pyloudnorm.Meter(rate).integrated_loudness(audio.astype(np.float64)))
    return max(measured, FLOOR_DB) if np.isfinite(measured) else FLOOR_DB


def true_peak_db(audio: Audio) -> float:
    """Peak between the samples as well, dBTP: oversampled four times or more (BS.1770, annex 2)."""
    return decibels(float(oversampled_peaks(audio).max(initial=0.0)))


@dataclass(frozen=True, slots=True)
class Levelled:
    """Audio, (samples,), with its integrated loudness, LUFS, and its true peak, dBTP."""

    audio: Audio
    lufs: float
    true_peak_db: float


def set_loudness(
    audio: Audio, rate: int, lufs: float = TAKE_LUFS, true_peak_db: float = TAKE_TRUE_PEAK_DB
) -> Levelled:
    """(samples,) at `lufs`, its true peak at most `true_peak_db`; silence stays silence.

    Peaks are held down by a look-ahead limiter, by at most 6 dB: audio that would need more, because it has
    a click or a very wide range, comes out below `lufs` and not distorted.
    """
    before = loudness_lufs(audio, rate)
    ceiling = 10 ** (true_peak_db / 20)
    peaks = oversampled_peaks(audio)
    highest = float(peaks.max(initial=0.0))
    if before <= FLOOR_DB:
        return Levelled(np.array(audio, dtype=np.float32), FLOOR_DB, decibels(highest))
    most = (true_peak_db + MAX_LIMITING_DB) - decibels(highest)
    gain_db = min(lufs - before, most)
    gain = 10 ** (gain_db / 20)
    if highest * gain <= ceiling:  # nothing is to be limited, so nothing has to be measured again
        louder = (audio.astype(np.float64) * gain).astype(np.float32)
        return Levelled(louder, before + gain_db, decibels(highest * gain))
    shaped: NDArray[np.float64] = audio.astype(np.float64)
    after = before
    for _ in range(4):
        gain = 10 ** (gain_db / 20)
        shaped = audio.astype(np.float64) * gain * limiter_gain(peaks * gain, rate, ceiling)
        after = loudness_lufs(shaped.astype(np.float32), rate)
        missing = lufs - after
        if abs(missing) < 0.05 or gain_db >= most:
            break
        gain_db = min(gain_db + missing, most)
    # A changing gain bends the wave between the samples by under 0.001 dB: that is taken off the whole.
    peak = float(oversampled_peaks(shaped).max(initial=0.0))
    over = max(1.0, peak / ceiling)
    held = (shaped / over).astype(np.float32)
    return Levelled(held, after - decibels(over), decibels(peak / over))


def oversampled_peaks(audio: NDArray[np.floating]) -> NDArray[np.float64]:
    """The largest magnitude at and just around each sample, (samples,), to a millionth of the loudest one."""
    filters = _oversampling()
    reach, together = (len(filters) - _STRETCH) // 2, _STRETCH * _STRETCHES
    whole = -(-len(audio) // together) * together
    padded = np.zeros(whole + 2 * reach, np.float32)
    padded[reach : reach + len(audio)] = audio
    # Each sample's magnitude, or what lies between it and the next.
    after = np.empty(whole, np.float32)
    for start in range(0, whole, _PIECE):
        stop = min(whole, start + _PIECE)
        seen = sliding_window_view(padded[start : stop + 2 * reach], len(filters))[::_STRETCH]
        fine = seen.reshape(-1, _STRETCHES, len(filters)) @ filters
        np.abs(fine, out=fine)
        after[start:stop] = fine.reshape(-1, _OVERSAMPLING, _STRETCH).max(axis=1).ravel()
    peaks: NDArray[np.float64] = np.abs(audio).astype(np.float64)
    np.maximum(peaks, after[: len(audio)], out=peaks)
    np.maximum(peaks[1:], after[: len(audio) - 1], out=peaks[1:])
    return peaks


@cache
def _oversampling() -> NDArray[np.float32]:
    """What makes the values between the samples of a stretch out of it and of its neighbours.

    (neighbours + stretch + neighbours, _OVERSAMPLING × stretch): `resample_poly`'s filter as a matrix, all
    values of one phase together. A product with it takes a tenth of the filter's time.
    """
    size = 4 * _STRETCH
    responses = resample_poly(np.eye(size), _OVERSAMPLING, 1, axis=1).reshape(size, size, _OVERSAMPLING)
    middle = responses[:, size // 2 - _STRETCH // 2 :][:, :_STRETCH]  # (heard, made of it, phase)
    heard = np.flatnonzero(np.abs(middle).max(axis=(1, 2)))
    kept = middle[heard[0] : heard[-1] + 1].transpose(0, 2, 1)
    matrix: NDArray[np.float32] = kept.reshape(len(kept), -1).astype(np.float32)
    return matrix


def limiter_gain(peaks: NDArray[np.float64], rate: int, ceiling: float) -> NDArray[np.float64]:
    """A smooth gain, (samples,), nowhere above what each peak allows.

    The minimum over a window, then its mean over a window of the same length, weighted: every value in that
    mean is a minimum that saw the peak, so the mean is no more than it either.
    """
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-12))
    if float(needed.min(initial=1.0)) >= 1.0:
        return np.ones_like(needed)
    half = max(1, int(LOOK_SECONDS * rate))
    width = 2 * half + 1
    held = minimum_filter1d(needed, width, mode="nearest")
    window = hann(width, sym=True)
    padded = np.pad(held, half, mode="edge")
    smooth: NDArray[np.float64] = np.convolve(padded, window / window.sum(), mode="valid")
    return smooth
