"""The engine that needs nothing but pip packages: espeak-ng reshaped toward the actor by WORLD."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from concurrent.futures import Future

import numpy as np

from app.kit import limits
from app.speech import packages, packing
from app.speech.builtin.espeak import library
from app.speech.builtin.pool import Ask, Pool
from app.speech.interface import (
    Audio,
    Clip,
    EngineStatus,
    EngineUnavailable,
    Failure,
    Recording,
    SpeechError,
    Utterance,
    VoiceState,
)

RATE = 22_050
_IN_HAND = 4  # utterances taken in for each process: none ever idles, an interactive one soon gets in


class BuiltinEngine:
    """Korean by espeak-ng, in the timbre and pitch of the recordings; processes do the work.

    `processes` of them share it (default: one a core). They start at `load`, or at the first use.
    """

    name = "builtin"
    simulated = False
    sample_rate = RATE
    measures_elsewhere = False

    def __init__(self, processes: int | None = None) -> None:
        self._size = processes or limits.cores()
        self._pool: Pool | None = None
        self._lock = threading.Lock()
        self._speaking: dict[str, set[_Speaking]] = {}

    def load(self) -> None:
        """Start the processes. Raises EngineUnavailable with what to do."""
        with self._lock:
            if self._pool is not None:
                return
            status = self.ping()
            if not status.available:
                raise EngineUnavailable(status.detail, status.fix)
            self._pool = Pool(self._size)

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        """Compute a voice from recordings. Raises SpeechError where they hold too little speech."""
        job = _Conditioning(recordings)
        self._ready().submit(job, first=True)
        return job.voice.result()

    async def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        """Speak utterances as they arrive, interactive ones first, until the iterable ends."""
        pool = self._ready()
        loop = asyncio.get_running_loop()
        spoken: asyncio.Queue[Clip | Failure | _Speaking | BaseException | None] = asyncio.Queue()
        room = asyncio.Semaphore(_IN_HAND * pool.size)
        at_work: set[_Speaking] = set()

        def tell(what: Clip | Failure | _Speaking) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and so is the one who asked
                loop.call_soon_threadsafe(spoken.put_nowait, what)

        async def take() -> None:
            try:
                async for utterance in utterances:
                    await room.acquire()
                    job = _Speaking(utterance, tell)
                    at_work.add(job)
                    with self._lock:
                        self._speaking.setdefault(utterance.id, set()).add(job)
                    pool.submit(job, first=utterance.interactive)
                spoken.put_nowait(None)
            except Exception as error:
                spoken.put_nowait(error)

        taking = asyncio.create_task(take())
        more = True
        try:
            while more or at_work:
                match await spoken.get():
                    case None:
                        more = False
                    case _Speaking() as job:
                        at_work.discard(job)
                        self._forget(job)
                        room.release()
                    case BaseException() as error:
                        raise error
                    case result:
                        yield result
        finally:
            taking.cancel()
            for job in at_work:
                job.cancelled.set()
                self._forget(job)

    def cancel(self, utterance_id: str) -> None:
        """Stop speaking an utterance: its place is free after the phrase at work. Thread-safe."""
        with self._lock:
            for job in self._speaking.get(utterance_id, ()):
                job.cancelled.set()

    def similarity(self, audio: Audio, sample_rate: int, voice: VoiceState) -> float | None:
        """None: without a trained speaker encoder there is no honest figure."""
        return None

    def ping(self) -> EngineStatus:
        """Whether espeak-ng's library and WORLD are there."""
        versions = packages.versions("espeakng-loader", "pyworld", "numpy", "scipy", "soxr")
        if "pyworld" not in versions:
            return EngineStatus(
                self.name, False, "pyworld is missing.", "Install the backend's packages.", versions=versions
            )
        if not _loadable(library()[0]):
            return EngineStatus(
                self.name,
                False,
                "espeak-ng's library is missing.",
                "Install the Python package espeakng-loader, or Debian's libespeak-ng1.",
                versions=versions,
            )
        return EngineStatus(
            self.name, True, f"espeak-ng and WORLD in {self._size} processes", versions=versions
        )

    def _ready(self) -> Pool:
        self.load()
        pool = self._pool
        if pool is None:
            raise EngineUnavailable("The engine is closed.", "Load it again.")
        return pool

    def _forget(self, job: _Speaking) -> None:
        with self._lock:
            jobs = self._speaking.get(job.utterance.id, set())
            jobs.discard(job)
            if not jobs:
                self._speaking.pop(job.utterance.id, None)


class _Speaking:
    """An utterance on its way through the pool; tells clips, at last itself."""

    def __init__(self, utterance: Utterance, tell: Callable[[Clip | Failure | _Speaking], None]) -> None:
        self.utterance = utterance
        self.cancelled = threading.Event()
        self._tell = tell

    def run(self, ask: Ask) -> None:
        if self.cancelled.is_set():
            self._tell(self)
            return
        said = self.utterance
        state, arrays = packing.pack_voice(said.voice)
        request = {
            "do": "speak",
            "voice": packing.voice_key(state, arrays),
            "text": said.text,
            "language": said.language,
            "speed": said.speed,
            "seed": said.seed,
        }
        answer, blobs = ask(request)
        if "missing" in answer:
            answer, blobs = ask({**request, "state": state}, *arrays)
        parts: list[Audio] = []
        while not self.cancelled.is_set():
            parts.append(np.frombuffer(blobs[0], np.float32))
            if said.stream or answer["final"]:
                self._tell(Clip(said.id, np.concatenate(parts), RATE, "builtin", answer["final"]))
                parts = []
            if answer["final"]:
                break
            answer, blobs = ask({"do": "more"})
        self._tell(self)

    def fail(self, error: SpeechError) -> None:
        if not self.cancelled.is_set():
            self._tell(Failure(self.utterance.id, error))
        self._tell(self)


class _Conditioning:
    """Recordings on their way through the pool."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.voice: Future[VoiceState] = Future()
        self._recordings = recordings

    def run(self, ask: Ask) -> None:
        audio = [np.ascontiguousarray(r.audio, np.float32).tobytes() for r in self._recordings]
        answer, blobs = ask({"do": "condition", "rates": [r.sample_rate for r in self._recordings]}, *audio)
        self.voice.set_result(packing.unpack_voice(answer["state"], blobs))

    def fail(self, error: SpeechError) -> None:
        self.voice.set_exception(error)


def _loadable(path: str) -> bool:
    """Whether the loader could find a library: a file that is there, or a name the system knows."""
    if os.path.sep in path:
        return os.path.exists(path)  # noqa: PTH110
    import ctypes.util

    return ctypes.util.find_library("espeak-ng") is not None
