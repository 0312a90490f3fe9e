"""One engine, kept busy: utterances of all waiting work flow into it, interactive ones first.

Work arrives from many threads and waits for its clips; the engine runs in a thread of its own with one
endless `synthesize`, so that it sees everything there is to speak and can batch as it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import Future

import structlog

from app.speech.interface import Clip, Failure, SpeechEngine, SpeechError, Utterance

log = structlog.get_logger()
Sink = Callable[[Clip | Failure], None]
LISTENING_SECONDS = 0.1  # how often it is looked whether anybody still listens
ASKING_SECONDS = 4.0  # and whether other work is still wanted: dozens wait at once, and to ask is a query


class EngineStopped(SpeechError):
    """The engine ended under its work; another try finds it started again."""

    code = "engine_stopped"
    retry = True


class SpeakingCancelled(SpeechError):
    code = "cancelled"


class Speaker:
    """A loaded engine behind a queue. Thread-safe."""

    def __init__(self, engine: SpeechEngine) -> None:
        self.engine = engine
        self._order = itertools.count()
        self._loading = threading.Lock()
        self._lock = (
            threading.Lock()
        )  # around who waits, and whether the engine's thread still takes anything
        self._sinks: dict[str, Sink] = {}
        self._running = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: asyncio.PriorityQueue[tuple[int, int, Utterance | None]]
        self._thread: threading.Thread | None = None

    def load(self) -> None:
        """Load the engine and start its thread; idempotent. Raises what the engine's `load` raises."""
        with self._loading:
            if self._running:
                return
            self.engine.load()
            started: Future[None] = Future()
            self._thread = threading.Thread(
                target=lambda: asyncio.run(self._run(started)), name="speaker", daemon=True
            )
            self._thread.start()
            started.result()

    def close(self) -> None:
        """End the engine; what is still waiting fails as EngineStopped."""
        with self._loading:
            thread, self._thread = self._thread, None
            with self._lock:
                if self._running:
                    self._post(2, None)
            if thread:
                thread.join(timeout=30)
            self.engine.close()

    def submit(self, utterance: Utterance, sink: Sink) -> None:
        """Queue an utterance; `sink` gets its clips, or its Failure, on the engine's thread.

        Where that has just ended, the Failure comes at once, on this one.
        """
        self.load()
        with self._lock:
            running = self._running
            if running:
                self._sinks[utterance.id] = sink
                self._post(0 if utterance.interactive else 1, utterance)
        if not running:
            sink(Failure(utterance.id, EngineStopped("The engine stopped.")))

    def cancel(self, utterance_ids: Sequence[str]) -> None:
        for utterance_id in utterance_ids:
            self._deliver(Failure(utterance_id, SpeakingCancelled("It was cancelled.")))
            self.engine.cancel(utterance_id)

    def speak(
        self, utterances: Sequence[Utterance], cancelled: Callable[[], bool] = lambda: False
    ) -> list[Clip]:
        """Speak whole utterances; their clips in the order given. The first failure ends them all."""
        clips: dict[str, Clip] = {}
        for clip in self.stream(utterances, cancelled):
            clips[clip.utterance_id] = clip
        return [clips[utterance.id] for utterance in utterances]

    def stream(
        self, utterances: Sequence[Utterance], cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Clip]:
        """Clips as they are made, of all the utterances. Left early, it cancels what remains."""
        arrived: queue.SimpleQueue[Clip | Failure] = queue.SimpleQueue()
        open_ids = {utterance.id for utterance in utterances}
        try:
            for utterance in utterances:
                self.submit(utterance, arrived.put)
            while open_ids:
                try:
                    item = arrived.get(timeout=ASKING_SECONDS)
                except queue.Empty:
                    if cancelled():
                        raise SpeakingCancelled("It was cancelled.") from None
                    continue
                if isinstance(item, Failure):
                    open_ids.discard(item.utterance_id)
                    raise item.error
                if item.final:
                    open_ids.discard(item.utterance_id)
                yield item
        finally:
            if open_ids:
                self.cancel(sorted(open_ids))

    def in_order(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[], bool] = lambda: False,
        ahead: int = 2,
    ) -> Generator[Clip, None, None]:
        """Clips in the utterances' order, each as soon as it can be given, for somebody who listens.

        Only `ahead` utterances are at work beyond the one that is heard, so that many listeners share the
        engine and one who leaves has cost little. Left early, it cancels what is at work.
        """
        arrived: queue.SimpleQueue[Clip | Failure] = queue.SimpleQueue()
        early: dict[str, deque[Clip]] = {}
        open_ids: set[str] = set()
        try:
            for number, utterance in enumerate(utterances):
                for other in utterances[number : number + ahead + 1]:
                    if other.id not in early:
                        early[other.id] = deque()
                        open_ids.add(other.id)
                        self.submit(other, arrived.put)
                clip = None
                while clip is None or not clip.final:
                    while not early[utterance.id]:
                        item = _arrival(arrived, cancelled)
                        if isinstance(item, Failure):
                            open_ids.discard(item.utterance_id)
                            raise item.error
                        if item.final:
                            open_ids.discard(item.utterance_id)
                        early[item.utterance_id].append(item)
                    clip = early[utterance.id].popleft()
                    yield clip
        finally:
            if open_ids:
                self.cancel(sorted(open_ids))

    def _post(self, priority: int, utterance: Utterance | None) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._waiting.put_nowait, (priority, next(self._order), utterance))

    def _deliver(self, item: Clip | Failure) -> None:
        last = isinstance(item, Failure) or item.final
        sink = self._sinks.pop(item.utterance_id, None) if last else self._sinks.get(item.utterance_id)
        if sink:
            sink(item)

    async def _utterances(self) -> AsyncIterator[Utterance]:
        while True:
            _, _, utterance = await self._waiting.get()
            if utterance is None:
                return
            if utterance.id in self._sinks:  # else cancelled while it waited
                yield utterance

    async def _run(self, started: Future[None]) -> None:
        self._waiting = asyncio.PriorityQueue()
        self._loop = asyncio.get_running_loop()
        self._running = True
        started.set_result(None)
        reason = "The engine was closed."
        try:
            async for item in self.engine.synthesize(self._utterances()):
                self._deliver(item)
        except Exception as error:
            # A fault of the engine as a whole: what was in it fails, and the next work starts it again.
            reason = f"The engine failed: {type(error).__name__}."
            log.error(
                "tts.engine_failed", engine=self.engine.name, error=type(error).__name__, exc_info=error
            )
        with self._lock:
            self._running = False
            left, self._sinks = self._sinks, {}
        for utterance_id, sink in left.items():
            sink(Failure(utterance_id, EngineStopped(reason)))


def _arrival(arrived: queue.SimpleQueue[Clip | Failure], cancelled: Callable[[], bool]) -> Clip | Failure:
    """The next of what the engine makes. Raises SpeakingCancelled once it is wanted no more."""
    while not cancelled():
        with contextlib.suppress(queue.Empty):
            return arrived.get(timeout=LISTENING_SECONDS)
    raise SpeakingCancelled("It was cancelled.")
