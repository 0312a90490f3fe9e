"""So many at a time, and whoever somebody waits for goes first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A semaphore with two lines. Its `places` are meant to be the cores that there are."""

    def __init__(self, places: int) -> None:
        self._changed = threading.Condition()
        self._free = places
        self._waiting_first = 0

    @contextmanager
    def turn(self, *, first: bool) -> Iterator[None]:
        """Wait for a place; those with `first` before all others."""
        with self._changed:
            self._waiting_first += first
            self._changed.wait_for(lambda: self._free and (first or not self._waiting_first))
            self._waiting_first -= first
            self._free -= 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()
