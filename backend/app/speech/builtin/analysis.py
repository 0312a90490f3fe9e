"""Speech taken apart: pitch, spectral envelope and breathiness, a row every 5 ms (WORLD)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyworld
import soxr
from numpy.typing import NDArray

from app.speech.interface import Audio

RATE = 22_050  # Hz; what espeak-ng speaks at, so that the source is never resampled
FRAME = 0.005  # seconds from one row to the next
FFT = 1024
BINS = FFT // 2 + 1
MELS = 80  # points of an envelope, evenly spaced on the mel scale from 0 to RATE / 2
BANDS = 2  # of aperiodicity: WORLD codes it every 3 kHz
F0_FLOOR, F0_CEIL = 65.0, 500.0
FLOOR = -14.0  # of a log envelope, below full scale by some 120 dB: silence, and what lies past a band limit

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frames:
    """Speech in rows of 5 ms.

    f0: (n,) Hz, 0 where unvoiced. envelope: (n, MELS) natural log of the amplitude.
    aperiodicity: (n, BANDS) dB, 0 for pure noise and where it was not measured.
    """

    f0: Floats
    envelope: Floats
    aperiodicity: Floats

    def __len__(self) -> int:
        return len(self.f0)


def mel_to_hz(mel: NDArray[Any]) -> NDArray[Any]:
    """Hz of O'Shaughnessy's mel scale, 2595 log10(1 + f/700)."""
    return 700 * (10 ** (mel / 2595) - 1)


def hz_to_mel(hz: float) -> float:
    """The inverse of `mel_to_hz`."""
    return float(2595 * np.log10(1 + hz / 700))


@cache
def grid_hz() -> NDArray[np.float64]:
    """The frequencies of an envelope's points in Hz, (MELS,)."""
    return mel_to_hz(np.linspace(0, hz_to_mel(RATE / 2), MELS))


@cache
def _from_grid() -> Floats:
    """(MELS, BINS): linear interpolation from the mel points to the FFT's bins."""
    return np.array(
        [np.interp(np.linspace(0, RATE / 2, BINS), grid_hz(), row) for row in np.eye(MELS)], np.float32
    )


@cache
def _to_grid() -> Floats:
    """(BINS, MELS): triangular means of the bins around each mel point."""
    weights = _from_grid().T.copy()
    weights /= np.maximum(weights.sum(axis=0), 1e-9)
    hz = np.linspace(0, RATE / 2, BINS)
    point = np.array([np.interp(grid_hz(), hz, row) for row in np.eye(BINS)], np.float32)
    narrow = np.diff(grid_hz(), append=RATE / 2 + 1e4) < 2 * hz[1]  # no whole bin inside: interpolate
    weights[:, narrow] = point[:, narrow]
    return weights


def to_bins(envelope: Floats) -> Floats:
    """Envelopes at the FFT's bins: (n, MELS) to (n, BINS), both natural log amplitudes."""
    return envelope @ _from_grid()


def resample(audio: Audio, rate: int, to: int = RATE) -> Audio:
    """Audio at another rate; bit for bit the same every time."""
    if rate == to:
        return audio
    return np.asarray(soxr.resample(audio, rate, to, quality="HQ"), np.float32)


def analyze(audio: Audio, *, breath: bool = False) -> Frames:
    """Take mono audio at RATE apart; with `breath`, aperiodicity too (D4C takes as long as the rest)."""
    x = np.ascontiguousarray(audio, np.float64)
    f0, at = pyworld.dio(x, RATE, f0_floor=F0_FLOOR, f0_ceil=F0_CEIL, frame_period=1000 * FRAME)
    f0 = pyworld.stonemask(x, f0, at, RATE)
    power = pyworld.cheaptrick(x, f0, at, RATE, f0_floor=3 * RATE / (FFT - 3), fft_size=FFT)
    bands = np.zeros((len(f0), BANDS), np.float32)
    if breath:
        noise = pyworld.d4c(x, f0, at, RATE, fft_size=FFT)
        bands = pyworld.code_aperiodicity(noise, RATE).astype(np.float32)
    log = 0.5 * np.log(power + 1e-20)
    envelope = np.maximum(log.astype(np.float32) @ _to_grid(), FLOOR)
    return Frames(f0.astype(np.float32), envelope, bands)


def synthesize(frames: Frames) -> Audio:
    """Put speech together again: (n * RATE * FRAME,) samples."""
    power = np.exp(2 * to_bins(frames.envelope).astype(np.float64))
    noise = pyworld.decode_aperiodicity(frames.aperiodicity.astype(np.float64), RATE, FFT)
    audio = pyworld.synthesize(frames.f0.astype(np.float64), power, noise, RATE, 1000 * FRAME)
    return np.asarray(audio, np.float32)
