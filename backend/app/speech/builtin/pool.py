"""Worker processes and who gets one next."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from app.speech import pipe
from app.speech.builtin.espeak import EngineCrashed
from app.speech.interface import EngineUnavailable, SpeechError
from app.speech.packing import unpack_error

log = structlog.get_logger()
Answer = tuple[dict[str, Any], list[bytes]]
Ask = Callable[..., Answer]

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Job(Protocol):
    """Work for one process: `run` asks it things; `fail` hears why that did not end well."""

    def run(self, ask: Ask) -> None:
        """Do the work. `ask(header, *blobs)` answers a message."""

    def fail(self, error: SpeechError) -> None:
        """The work ended with this error."""


@dataclass(order=True)
class _Place:
    rank: int
    number: int
    job: Job | None = field(compare=False)


class Pool:
    """`size` processes, each with a thread that hands it one job at a time.

    A process that dies fails the job it had with EngineCrashed and is started anew at the next one.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._waiting: queue.PriorityQueue[_Place] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._closing = False
        self._lock = threading.Lock()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._threads = [
            threading.Thread(target=self._serve, name=f"builtin-{index}", daemon=True)
            for index in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job, *, first: bool = False) -> None:
        """Queue a job, before all that are not `first` where it is. Thread-safe."""
        self._waiting.put(_Place(0 if first else 1, next(self._numbers), job))

    def close(self) -> None:
        """End the processes and threads; jobs at work or waiting fail."""
        with self._lock:
            self._closing = True
            for child in self._children.values():
                child.kill()
        for _ in self._threads:
            self._waiting.put(_Place(2, next(self._numbers), None))
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        child: subprocess.Popen[bytes] | None = None
        while (job := self._waiting.get().job) is not None:
            try:
                if child is None or child.poll() is not None:
                    child = self._start()
                job.run(_asker(child))
            except SpeechError as error:
                job.fail(error)
            except pipe.PipeClosed:
                job.fail(EngineCrashed("The engine's process died.", "Try again, or change the text."))
                if child is not None:
                    self._end(child)
                child = None
            except Exception as error:  # a mistake of ours: the next job finds this thread all the same
                log.error("tts.builtin.failed", error=type(error).__name__, exc_info=error)
                job.fail(SpeechError(f"The engine failed: {type(error).__name__}."))
        if child is not None:
            self._end(child)

    def _start(self) -> subprocess.Popen[bytes]:
        root = Path(__file__).parents[3]
        with self._lock:
            if self._closing:
                raise EngineUnavailable("The engine is closing.")
            try:
                child = subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-m", "app.speech.builtin.child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd=root,
                    env={**os.environ, **_ONE_THREAD},
                    start_new_session=True,  # Ctrl-C is for the service, which then closes the engine
                )
            except OSError as error:
                unavailable = EngineUnavailable(
                    f"The system starts no process: {error.strerror}.", "Free memory or processes."
                )
                unavailable.retry = True
                raise unavailable from error
            self._children[child.pid] = child
        try:
            pipe.receive(child.stdout)  # type: ignore[arg-type]
        except pipe.PipeClosed as error:
            self._end(child)
            raise EngineUnavailable(
                "The engine's process does not start.", "Install the backend's packages (make setup)."
            ) from error
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._children.pop(child.pid, None)
        child.kill()
        with contextlib.suppress(OSError, ValueError):
            child.communicate()


def _asker(child: subprocess.Popen[bytes]) -> Ask:
    def ask(header: dict[str, Any], *blobs: bytes) -> Answer:
        pipe.send(child.stdin, header, *blobs)  # type: ignore[arg-type]
        answer, arrays = pipe.receive(child.stdout)  # type: ignore[arg-type]
        if "error" in answer:
            raise unpack_error(answer)
        return answer, arrays

    return ask
