"""From states to audio: which frames of which utterance are due, and many of them at once.

A track is cut into windows of frames with context on both sides. Windows of one length go through the
vocoder together. What was spoken once is never spoken again; only context is, as far as the vocoder sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts.layout import SPEAKER
from app.speech.xtts.vocoder import CONTEXT, HOP, Frames, Vocoder

FIRST_CODES = 8  # before the first audio of a stream, and as many more as it takes for so much audio,
_FIRST_FRAMES = 12  # which lasts until the next piece: at speeds from 1.1 on
_LEAST_CODES, _MOST_CODES = 8, 32  # between later pieces


@dataclass(frozen=True, slots=True)
class Window:
    """Frames (length, channels) of one utterance, of which `take` from `skip` on are wanted."""

    frames: Tensor
    speaker: Tensor
    skip: int
    take: int


class Track:
    """How much of one utterance was spoken already. `speaker` is (512,)."""

    def __init__(self, speaker: Tensor, speed: float) -> None:
        self._speaker = speaker
        self._frames = Frames(speed)
        self._spoken = 0
        enough = CONTEXT + _FIRST_FRAMES
        self._due = next(codes for codes in count(FIRST_CODES) if self._frames.ready(codes) >= enough)

    @property
    def begun(self) -> bool:
        return self._spoken > 0

    def due(self, states: int) -> bool:
        """Whether a stream has enough new states for its next piece; pieces grow with what was spoken."""
        return states >= self._due

    def windows(self, states: Tensor, ended: bool, length: int, alike: bool = False) -> list[Window]:
        """All that is new in states (count, channels), in windows of at most `length` frames.

        Of an utterance that goes on, what still misses context is left for later. With `alike`, windows of
        an ended utterance are as long as `length` where they can be, to go through the vocoder together
        with others; else they share what there is evenly, and nothing but context is computed twice.
        """
        codes = states.shape[0]
        self._due = codes + min(max(codes // 2, _LEAST_CODES), _MOST_CODES)
        known = self._frames.total(codes) if ended else self._frames.ready(codes)
        stop = known if ended else known - CONTEXT
        most = max(1, length - 2 * CONTEXT)
        if not alike and stop > self._spoken:
            most = math.ceil((stop - self._spoken) / math.ceil((stop - self._spoken) / most))
        if stop <= self._spoken:
            return []
        # The last of windows that are alike reaches back to be as long as the others.
        first = max(0, min(self._spoken - CONTEXT, known - length if alike and ended else known))
        frames = self._frames(states, first, known)
        windows = []
        while self._spoken < stop:
            end = min(stop, self._spoken + most)
            high = min(known, end + CONTEXT)
            low = max(0, self._spoken - CONTEXT)
            if alike and ended:
                low = max(0, min(low, high - length))
            part = frames[low - first : high - first]
            windows.append(Window(part, self._speaker, self._spoken - low, end - self._spoken))
            self._spoken = end
        return windows


class Spoken:
    """Audio of some windows, perhaps still on its way."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows  # a GPU reads their frames yet
        self._waves: dict[int, Tensor] = {}
        self._through: torch.cuda.Event | None = None

    @property
    def ready(self) -> bool:
        return self._through is None or self._through.query()

    def audio(self) -> list[NDArray[np.float32]]:
        """The wanted audio of each window, in their order; waits for it."""
        if self._through is not None:
            self._through.synchronize()
        parts = []
        for number, window in enumerate(self._windows):
            wave = self._waves[number]
            parts.append(wave[window.skip * HOP : (window.skip + window.take) * HOP].numpy())
        return parts

    def put(self, number: int, wave: Tensor) -> None:
        self._waves[number] = wave

    def end(self, stream: torch.cuda.Stream) -> None:
        """It is all there when what the stream has to do by now is done."""
        self._through = stream.record_event()


class Voicing:
    """Windows in, audio out. On a GPU beside the decoding, on a stream of its own."""

    def __init__(self, vocoder: Vocoder, device: torch.device) -> None:
        self._vocoder = vocoder
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None
        # A GPU wants many windows at once; a CPU is busy with one, and saves context with a long one.
        self._window_frames, self._batch = (156, 32) if device.type == "cuda" else (508, 1)

    @property
    def batch(self) -> int:
        """How many windows are spoken at once."""
        return self._batch

    def kernels(self) -> list[Callable[[], object]]:
        """As Runner.kernels."""
        return self._vocoder.kernels()

    def prepare(self, channels: int) -> None:
        """On a GPU, record the shapes that come most often: whole windows, and the first piece of a stream."""
        if self._stream is None:
            return
        shapes = [(1, Frames().ready(FIRST_CODES))]
        while (count := 1 << len(shapes) - 1) <= self._batch:
            shapes.append((count, self._window_frames))
        with torch.cuda.stream(self._stream):
            for count, length in 2 * shapes:  # what comes again is recorded
                frames = torch.zeros(count, length, channels, device=self._stream.device)
                self._vocoder(frames, frames.new_zeros(count, SPEAKER))
        self._stream.synchronize()

    def cut(self, track: Track, states: Tensor, ended: bool) -> list[Window]:
        """What is new of a track, in windows that suit the device."""
        return track.windows(states, ended, self._window_frames, alike=self._batch > 1)

    def shrink(self) -> None:
        """Take half as many windows at once: memory was short."""
        self._batch = max(1, self._batch // 2)

    def settle(self) -> None:
        """Windows made until now will be spoken: on a GPU, what is begun after this is not waited for."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())

    def __call__(self, windows: Sequence[Window]) -> Spoken:
        """Begin to speak windows."""
        spoken = Spoken(windows)
        if self._stream is None:
            self._speak(windows, spoken)
        else:
            with torch.cuda.stream(self._stream):
                self._speak(windows, spoken)
            spoken.end(self._stream)
        return spoken

    def _speak(self, windows: Sequence[Window], spoken: Spoken) -> None:
        order = sorted(range(len(windows)), key=lambda number: windows[number].frames.shape[0])
        while order:
            length = windows[order[0]].frames.shape[0]
            group = [n for n in order[: self._batch] if windows[n].frames.shape[0] == length]
            del order[: len(group)]
            waves = self._vocoder(
                torch.stack([windows[n].frames for n in group]),
                torch.stack([windows[n].speaker for n in group]),
            )
            if self._stream is not None:  # memory that a GPU writes to by itself
                waves = torch.empty(waves.shape, pin_memory=True).copy_(waves, non_blocking=True)
            for number, wave in zip(group, waves, strict=True):
                spoken.put(number, wave)
