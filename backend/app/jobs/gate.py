"""Many jobs side by side, or one alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks here, and no processes that share a gate
    fcntl = None  # type: ignore[assignment]


class Gate:
    """A lock with a shared and an exclusive side. Who waits for the exclusive side holds newcomers back.

    Processes that are given the same `folder` share one gate; what a process held is free when it ends, however it ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False
        self._waiting_alone = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting_alone)
            self._inside += 1
        try:
            with self._among_processes(alone=False):
                yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting_alone += 1
            self._changed.wait_for(lambda: not self._alone and not self._inside)
            self._waiting_alone -= 1
            self._alone = True
        try:
            with self._among_processes(alone=True):
                yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    @contextmanager
    def _among_processes(self, *, alone: bool) -> Iterator[None]:
        """Through a door, which one that waits to be alone keeps shut, into a room."""
        if self._folder is None:
            yield
            return
        with _opened(self._folder / "room") as room:
            with _opened(self._folder / "door") as door:
                for file in (door, room):
                    fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """An open file to be locked; what locks there are end with it."""
    path.parent.mkdir(parents=True, exist_ok=True)  # each time: somebody may tidy up
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)
