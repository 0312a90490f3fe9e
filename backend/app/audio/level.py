"""Setting the level of audio while it is still being made: a running gain and a look-ahead limiter.

The loudness of a whole (`loudness.set_loudness`) is known at its end. Here the gain follows what has been
heard so far: the first chunk sets it, and every chunk of the first seconds makes it surer. Speech of one
voice keeps its level, so what comes out is about at the set loudness from the first word on, and the same
chunks always give the same samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.audio.loudness import (
    LOOK_SECONDS,
    MAX_LIMITING_DB,
    TAKE_LUFS,
    TAKE_TRUE_PEAK_DB,
    limiter_gain,
    loudness_lufs,
    oversampled_peaks,
)
from app.audio.shape import Audio
from app.audio.signals import FLOOR_DB, decibels

HEARD_SECONDS = 12.0  # after so much speech its loudness is known well enough
PIECE_SECONDS = 0.25
_RAMP_SECONDS = 0.05  # a change of the gain takes so long
_FILTER_REACH = 64  # samples; the oversampling filter reaches 10 to either side


class Leveller:
    """Chunks in, the same audio at about `lufs` out, its true peak at most `true_peak_db`.

    The limiter looks some 10 ms ahead, so a little stays behind, which `end` gives.
    """

    def __init__(self, rate: int, lufs: float = TAKE_LUFS, true_peak_db: float = TAKE_TRUE_PEAK_DB) -> None:
        self._rate, self._lufs, self._true_peak_db = rate, lufs, true_peak_db
        self._heard: Audio = np.zeros(0, np.float32)
        self._gain: float | None = None
        self._limiter = Limiter(rate, true_peak_db)

    def feed(self, audio: Audio) -> Iterator[Audio]:
        """The next stretch, in pieces of a quarter of a second: the first need not wait for the last."""
        wanted = self._wanted_gain(audio)
        gain = np.full(len(audio), 1.0 if wanted is None else wanted)
        if wanted is not None and self._gain is not None:
            ramp = min(len(audio), round(_RAMP_SECONDS * self._rate))
            gain[:ramp] = np.linspace(self._gain, wanted, ramp, endpoint=False)
        self._gain = wanted
        step = round(PIECE_SECONDS * self._rate)
        for start in range(0, len(audio), step):
            piece = slice(start, start + step)
            given = self._limiter.feed(audio[piece].astype(np.float64) * gain[piece])
            if len(given):
                yield given

    def end(self) -> Audio:
        return self._limiter.end()

    def _wanted_gain(self, audio: Audio) -> float | None:
        room = round(HEARD_SECONDS * self._rate) - len(self._heard)
        if room <= 0:
            return self._gain
        self._heard = np.concatenate([self._heard, audio[:room]])
        loudness = loudness_lufs(self._heard, self._rate)
        if loudness <= FLOOR_DB:
            return self._gain
        peak = decibels(float(np.abs(self._heard).max()))
        most = self._true_peak_db + MAX_LIMITING_DB - peak
        return float(10 ** (min(self._lufs - loudness, most) / 20))


class Limiter:
    """Holds the true peak of a stream under `true_peak_db` dBTP.

    What comes out is the same however the audio is cut into chunks: each sample leaves once everything
    that its gain depends on is here.
    """

    def __init__(self, rate: int, true_peak_db: float) -> None:
        self._rate = rate
        # A changing gain bends the wave between the samples by under 0.001 dB.
        self._ceiling = 10 ** ((true_peak_db - 0.002) / 20)
        self._reach = 2 * max(1, int(LOOK_SECONDS * rate)) + _FILTER_REACH
        self._held: NDArray[np.float64] = np.zeros(0)  # what went out last, as context, and what has not
        self._context = 0

    def feed(self, audio: NDArray[np.float64]) -> Audio:
        self._held = np.concatenate([self._held, audio])
        return self._give(max(self._context, len(self._held) - self._reach))

    def end(self) -> Audio:
        """The rest; the limiter is done then."""
        return self._give(len(self._held))

    def _give(self, stop: int) -> Audio:
        if stop <= self._context:
            return np.zeros(0, np.float32)
        gain = limiter_gain(oversampled_peaks(self._held), self._rate, self._ceiling)
        given: Audio = (self._held * gain)[self._context : stop].astype(np.float32)
        kept = max(0, stop - self._reach)
        self._held, self._context = self._held[kept:], stop - kept
        return given
