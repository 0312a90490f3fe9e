"""Speaker embeddings of takes on a GPU: those that many threads ask for, together.

One by one, each take's some four hundred operations would cost the thread that steps the batch its turns, and a
convolution of a length that was not there before takes milliseconds to prepare.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Generic, TypeVar

import torch
from torch import Tensor

from app.speech.xtts.speaker import RATE, SpeakerEncoder
from app.speech.xtts.spectrum import resample

T = TypeVar("T")
R = TypeVar("R")
PAUSE = 0.05  # seconds between two times: what comes meanwhile is computed together
_COUNTS = (1, 4, 16)  # clips of a pass: few different ones, so that few have to be prepared
_GRAIN = 2.0  # and lengths are whole multiples of so many seconds
_MOST_SECONDS = 128.0  # of a pass of several, silence included: some 300 MB


class Together(Generic[T, R]):
    """Calls of many threads, worked on together: at once if nothing was for `pause` seconds, else when those are over.

    What breaks is tried again one by one, so that nobody fails for a neighbour.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], most: int, pause: float = PAUSE) -> None:
        self._work, self._most, self._pause = work, most, pause
        self._lock = threading.Lock()
        self._waiting: list[tuple[T, Future[R]]] = []
        self._running = False
        self._last = -math.inf

    def __call__(self, item: T) -> R:
        answer = Future[R]()
        with self._lock:
            if not self._running:  # if no thread can be had, this call fails and the next one tries again
                threading.Thread(target=self._run, name="together", daemon=True).start()
                self._running = True
            self._waiting.append((item, answer))
        return answer.result()

    def _run(self) -> None:
        while True:
            time.sleep(max(0.0, self._last + self._pause - time.monotonic()))
            with self._lock:
                now, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                if not now:
                    self._running = False
                    return
            self._last = time.monotonic()
            self._answer(now)

    def _answer(self, asked: Sequence[tuple[T, Future[R]]]) -> None:
        try:
            results = self._work([item for item, _ in asked])
        except Exception as error:
            if len(asked) == 1:
                asked[0][1].set_exception(error)
                return
            for each in asked:
                self._answer([each])
            return
        for (_, answer), result in zip(asked, results, strict=True):
            answer.set_result(result)


class Measuring:
    """`measuring(audio, rate)` is the embedding, (512,) on the CPU, of audio (samples,) at `rate` Hz."""

    def __init__(self, encoder: SpeakerEncoder, device: torch.device) -> None:
        self._encoder, self._device = encoder, device
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None  # beside the batch's
        self._together = Together(self._embed, _COUNTS[-1])

    def __call__(self, audio: Tensor, rate: int) -> Tensor:
        return self._together((audio, rate))

    @torch.inference_mode()
    def _embed(self, clips: Sequence[tuple[Tensor, int]]) -> list[Tensor]:
        found: list[Tensor | None] = [None] * len(clips)
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            for numbers, rate in _passes([(len(audio) / rate, rate) for audio, rate in clips]):
                embeddings = self._pass([clips[number][0] for number in numbers], rate)
                for number, embedding in zip(numbers, embeddings.cpu(), strict=False):
                    found[number] = embedding
        return [each for each in found if each is not None]

    def _pass(self, clips: Sequence[Tensor], rate: int) -> Tensor:
        """(clips and more, 512)."""
        count = next(each for each in _COUNTS if each >= len(clips))
        grain = int(_GRAIN * rate)
        samples = -(-max(map(len, clips)) // grain) * grain
        padded = torch.zeros(count, samples)
        for row, clip in zip(padded, clips, strict=False):
            row[: len(clip)] = clip
        # Rows that are nobody's are as long as the first.
        rows = [*clips, *[clips[0]] * (count - len(clips))]
        lengths = torch.tensor([math.ceil(len(clip) * RATE / rate) for clip in rows])
        heard = resample(padded.to(self._device), rate, RATE)
        return self._encoder.measure_together(heard, lengths)


def _passes(clips: Sequence[tuple[float, int]]) -> list[tuple[list[int], int]]:
    """Which clips, by their seconds and rates, go together: of one rate, and of like length."""
    passes: list[tuple[list[int], int]] = []
    for rate in sorted({rate for _, rate in clips}):
        mine = sorted((seconds, number) for number, (seconds, of) in enumerate(clips) if of == rate)
        while mine:
            longest = math.ceil(mine[-1][0] / _GRAIN) * _GRAIN
            fitting = [each for each in _COUNTS if each * longest <= _MOST_SECONDS]
            count = fitting[-1] if fitting else 1
            passes.append(([number for _, number in mine[-count:]], rate))
            del mine[-count:]
    return passes
