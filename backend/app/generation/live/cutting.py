"""Joining streamed clips as a take's are joined: the same edges and pauses, without waiting for the end."""

from __future__ import annotations

import numpy as np

from app.audio.shape import Audio, fade, sound_span
from app.generation.speaking import EDGE_SECONDS, JOINT_SECONDS
from app.text import Part

_FADE_SECONDS = 0.005


class Joints:
    """Clips of the parts, in order, in; audio to be heard out: silence cut at each part's ends, pauses between."""

    def __init__(self, parts: tuple[Part, ...], rate: int) -> None:
        self._parts, self._rate = parts, rate
        self._number = 0
        self._held: Audio | None = np.zeros(0, np.float32)  # silence before the part's first sound

    def feed(self, audio: Audio, *, final: bool) -> Audio:
        """A clip of the present part; `final` is its last."""
        first, last = self._number == 0, self._number == len(self._parts) - 1
        lead = None
        if self._held is not None:
            audio = np.concatenate([self._held, audio])
            lead = EDGE_SECONDS if first else JOINT_SECONDS
            begin, end = sound_span(audio, self._rate)
            if begin == end and not final:
                self._held = audio
                return np.zeros(0, np.float32)
            self._held = None
        if not final:
            return _cut(audio, self._rate, lead, None)
        cut = _cut(audio, self._rate, lead, EDGE_SECONDS if last else JOINT_SECONDS)
        pause = 0.0 if last else self._parts[self._number].pause
        self._number, self._held = self._number + 1, np.zeros(0, np.float32)
        return np.concatenate([cut, np.zeros(round(pause * self._rate), np.float32)])


def _cut(audio: Audio, rate: int, lead: float | None, tail: float | None) -> Audio:
    """Exactly so many seconds of silence before and after the sound; None leaves that end alone."""
    begin, end = sound_span(audio, rate)
    if begin == end:
        return np.zeros(0, np.float32)
    start = 0 if lead is None else begin - round(lead * rate)
    stop = len(audio) if tail is None else end + round(tail * rate)
    kept = fade(
        audio[max(0, start) : stop],
        rate,
        seconds_in=0.0 if lead is None else _FADE_SECONDS,
        seconds_out=0.0 if tail is None else _FADE_SECONDS,
    )
    return np.pad(kept, (max(0, -start), max(0, stop - len(audio))))
