"""How many threads decode a step, and how they wait for each other.

A step of one utterance is some 180 short parallel stretches, and after each of them all threads meet. While
the cores are free that pays; as soon as other work holds one of them, everybody waits for the thread that
lost its core, and one thread alone is faster. The operating system does not tell, so it is tried out.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

# How often a waiting thread looks before it sleeps; a sleeping one takes longer to wake than the stretch
# lasts. Measured on two cores, one utterance: 7.8 s asleep at once, 5.6 s with 5,000, no better with more,
# which only takes time from others.
_SPIN = "5000"
_TRIAL = 3  # steps; the first one with another number of threads also prepares the kernels
_SOON, _LATE = 16, 512  # steps between trials
_BETTER = 0.95
_HOPELESS = 1.25  # as long as usual: such a step ends a trial, even the first one


def wait_briefly() -> None:
    """Let waiting threads look for a while before they sleep. To be called before PyTorch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN)


@contextmanager
def alone() -> Iterator[None]:
    """Let PyTorch compute in this thread alone what it asks for; other threads keep what they have.

    `torch.set_num_threads` would change them too. Where OpenMP is not GCC's, nothing changes.
    """
    openmp = _openmp()
    before = openmp.omp_get_max_threads() if openmp else 1
    if openmp:
        openmp.omp_set_num_threads(1)
    try:
        yield
    finally:
        if openmp:
            openmp.omp_set_num_threads(before)


@cache
def _openmp() -> Any:
    """The library that PyTorch has loaded, whatever its file is called."""
    with suppress(OSError, ValueError):  # no Linux, or no such library
        lines = Path("/proc/self/maps").read_text().splitlines()
        found = [line.split(maxsplit=5)[5] for line in lines if "/libgomp" in line]
        return ctypes.CDLL(max(found, key=lambda path: "/torch/" in path))  # others may bring theirs
    return None


class Threads:
    """`with threads(rows): …` around a step. Steps of about as many rows are compared; the fastest number
    stays. In between, all `most` threads are in use."""

    def __init__(
        self, most: int, use: Callable[[int], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._most, self._use, self._clock = most, use, clock
        self.number = most
        self._size = 0  # of the batch: rows in powers of two
        self._usual = 0.0  # seconds of a step with `number` threads; 0: not known
        self._wait = self._left = _SOON
        self._fewer = True  # than `number`, in the next trial
        self._tried: int | None = None
        self._times: list[float] = []
        self._start = 0.0

    def __call__(self, rows: int) -> Threads:
        if rows.bit_length() != self._size:
            self._size, self._usual, self._tried = rows.bit_length(), 0.0, None
            self._left = min(self._left, _SOON)
        return self

    def __enter__(self) -> None:
        if self._most > 1:
            self._use(self.number if self._tried is None else self._tried)
            self._start = self._clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._most == 1:
            return
        seconds = self._clock() - self._start
        self._use(self._most)
        if self._tried is not None:
            self._times.append(seconds)
            if seconds > _HOPELESS * self._usual:
                self._decide(self._tried, seconds)
            elif len(self._times) == _TRIAL:
                self._decide(self._tried, sum(self._times[1:]) / (_TRIAL - 1))
            return
        self._usual = 0.75 * self._usual + 0.25 * seconds if self._usual else seconds
        self._left -= 1
        if self._left <= 0:
            self._tried, self._times = self._other(), []

    def _other(self) -> int:
        """Half or twice as many, in turns."""
        other = max(1, self.number // 2) if self._fewer else min(self._most, self.number * 2)
        if other == self.number:
            other = min(self._most, self.number * 2) if self._fewer else max(1, self.number // 2)
        self._fewer = not self._fewer
        return other

    def _decide(self, tried: int, seconds: float) -> None:
        if seconds < _BETTER * self._usual:
            self.number, self._usual, self._wait = tried, seconds, _SOON
        else:
            self._wait = min(_LATE, self._wait * 2)
        self._left, self._tried = self._wait, None
