"""An engine in another process, seen from both ends of its socket."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import numpy as np
import pytest

from app.speech import pipe
from app.speech.apart import EngineApart, Host
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
from app.speech.mock import MockEngine
from app.speech.speaker import EngineStopped, Speaker, SpeakingCancelled

VOICE = MockEngine().condition([Recording(np.ones(100, np.float32), 16_000)])
PATIENCE = 20


class Held(MockEngine):
    """Says what it is asked for, but nothing whose text has "wait" in it before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []
        self.cancelled: list[str] = []
        self.go = threading.Event()

    async def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        async for utterance in utterances:
            self.taken.append(utterance.id)
            if "wait" in utterance.text:
                await asyncio.to_thread(self.go.wait, PATIENCE)
            async for event in super().synthesize(_one(utterance)):
                yield event

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        self.taken.append("condition")
        self.go.wait(PATIENCE)
        return super().condition(recordings)

    def cancel(self, utterance_id: str) -> None:
        self.cancelled.append(utterance_id)
        super().cancel(utterance_id)


class OnGpu(MockEngine):
    """Once it is loaded."""

    loaded = False

    def load(self) -> None:
        self.loaded = True

    def ping(self) -> EngineStatus:
        device = "cuda" if self.loaded else "cpu"
        return EngineStatus("mock", True, "It hums.", "Nothing.", device, {"torch": "2.15.0", "cuda": "13.2"})


class Refusing(MockEngine):
    def load(self) -> None:
        raise EngineUnavailable("There are no weights.", "Fetch them.")

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        raise ZeroDivisionError("a text that nobody may log")


async def _one(utterance: Utterance) -> AsyncIterator[Utterance]:
    yield utterance


class House:
    """A host, and guests of it, each behind a socket of its own."""

    def __init__(self, engine: MockEngine) -> None:
        self.engine = engine
        self._host = Host(Speaker(engine))
        self._stack = ExitStack()
        self._stack.callback(self._host._speaker.close)
        self.lost = threading.Event()

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        served = threading.Thread(target=self._host.serve, args=(ours,), daemon=True)
        served.start()
        self._stack.callback(served.join, PATIENCE)
        self._stack.callback(hang_up, theirs)
        return theirs

    def guest(self, lost: Callable[[], None] | None = None) -> tuple[Speaker, socket.socket]:
        connection = self.connect()
        speaker = Speaker(EngineApart(self.engine, connection, lost or self.lost.set))
        self._stack.callback(speaker.close)
        return speaker, connection

    def close(self) -> None:
        if isinstance(self.engine, Held):
            self.engine.go.set()
        self._stack.close()


def hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@pytest.fixture
def house() -> Iterator[House]:
    made = House(Held())
    yield made
    made.close()


def said(name: str, text: str = "안녕하세요 여러분", **settings: bool) -> Utterance:
    return Utterance(name, text, VOICE, **settings)


def until(condition) -> None:
    end = threading.Event()
    for _ in range(PATIENCE * 200):
        if condition():
            return
        end.wait(0.005)
    raise AssertionError("it never came to that")


def speaking(speaker: Speaker, *utterances: Utterance) -> tuple[threading.Thread, list[Clip | Exception]]:
    came: list[Clip | Exception] = []

    def run() -> None:
        try:
            came.extend(speaker.speak(utterances))
        except SpeechError as error:
            came.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, came


def test_many_guests_share_one_engine(house: House) -> None:
    guests = [house.guest()[0] for _ in range(3)]
    at_work = [speaking(guest, said(f"u{number}")) for number, guest in enumerate(guests * 4)]
    for thread, _ in at_work:
        thread.join(PATIENCE)
    clips = [came[0] for _, came in at_work]
    assert [clip.utterance_id for clip in clips if isinstance(clip, Clip)] == [f"u{n}" for n in range(12)]
    alone = Speaker(MockEngine())
    [expected] = alone.speak([said("u0")])
    alone.close()
    assert all(isinstance(clip, Clip) and np.array_equal(clip.audio, expected.audio) for clip in clips)


def test_voices_and_similarities_are_the_engines(house: House) -> None:
    engine = house.guest()[0].engine
    recordings = [Recording(np.sin(np.arange(4000, dtype=np.float32)), 16_000, "가")]
    house.engine.go.set()
    voice = engine.condition(recordings)
    expected = MockEngine().condition(recordings)
    assert (voice.engine, voice.metadata) == (expected.engine, expected.metadata)
    assert np.array_equal(voice.arrays["hertz"], expected.arrays["hertz"])
    audio: Audio = recordings[0].audio
    assert engine.similarity(audio, 16_000, voice) == MockEngine().similarity(audio, 16_000, voice)


def test_as_many_recordings_as_there_are_make_a_voice(house: House) -> None:
    house.engine.go.set()
    recordings = [Recording(np.ones(4, np.float32), 16_000, "안녕하세요. " * 40) for _ in range(2000)]
    assert house.guest()[0].engine.condition(recordings).engine == "mock"


def test_its_state_is_the_other_processs() -> None:
    with closing(House(OnGpu())) as house:
        apart = EngineApart(MockEngine(), house.connect(), house.lost.set)
        assert apart.ping().device == "cpu"
        apart.load()
        assert apart.ping() == house.engine.ping()
        assert apart.ping().device == "cuda"


def test_errors_keep_what_they_say() -> None:
    with closing(House(Refusing())) as house:
        speaker, _ = house.guest()
        with pytest.raises(EngineUnavailable, match="no weights") as caught:
            speaker.load()
        assert caught.value.fix == "Fetch them."
        with pytest.raises(SpeechError, match="ZeroDivisionError") as failed:
            speaker.engine.condition([])
        assert "nobody" not in str(failed.value)


def test_one_failure_is_its_utterances_alone(house: House) -> None:
    speaker, _ = house.guest()
    thread, came = speaking(speaker, said("u1"))
    with pytest.raises(SpeechError, match="can be spoken"):
        speaker.speak([said("u0", "...")])
    thread.join(PATIENCE)
    assert isinstance(came[0], Clip)


def test_a_guest_that_leaves_leaves_nothing_to_speak(house: House) -> None:
    (leaving, connection), (staying, _) = house.guest(), house.guest()
    first, _ = speaking(leaving, said("held", "wait 하세요"))
    until(lambda: house.engine.taken == ["held"])
    second, _ = speaking(leaving, said("behind"))
    third, came = speaking(staying, said("other"))
    until(lambda: len(house._host._speaker._sinks) == 3)
    hang_up(connection)
    until(lambda: sorted(house.engine.cancelled) == ["behind", "held"])
    house.engine.go.set()
    for thread in (first, second, third):
        thread.join(PATIENCE)
    assert isinstance(came[0], Clip)
    assert house.engine.taken == ["held", "other"]


def test_when_the_engine_is_gone_all_that_waits_fails_and_it_is_told(house: House) -> None:
    speaker, connection = house.guest()
    thread, came = speaking(speaker, said("u0", "wait 하세요"))
    until(lambda: house.engine.taken == ["u0"])
    with ThreadPoolExecutor() as pool:
        voice = pool.submit(speaker.engine.condition, [])
        until(lambda: house.engine.taken == ["u0", "condition"])
        connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(EngineStopped):
            voice.result(PATIENCE)
    thread.join(PATIENCE)
    assert isinstance(came[0], EngineStopped)
    assert came[0].retry
    assert house.lost.wait(PATIENCE)
    with pytest.raises(EngineStopped):
        speaker.engine.similarity(np.zeros(10, np.float32), 16_000, VOICE)
    with pytest.raises(EngineStopped):
        speaker.speak([said("late")])


def test_nobody_learns_that_the_engine_is_gone_before_it_is_told(house: House) -> None:
    """It may be that it ends this process: nothing should come of what fails before."""
    waiting: list[int] = []

    def lost() -> None:
        waiting.append(len(engine._posts))
        house.lost.set()

    speaker, connection = house.guest(lost)
    engine = speaker.engine
    assert isinstance(engine, EngineApart)
    # Of several parts each: the first one's failure cancels the others while these fail too.
    at_work = [
        speaking(speaker, *(said(f"{number}.{part}", "wait 하세요") for part in range(3)))
        for number in range(40)
    ]
    until(lambda: len(house._host._speaker._sinks) == 120)
    hang_up(connection)
    assert house.lost.wait(PATIENCE)
    for thread, came in at_work:
        thread.join(PATIENCE)
        assert isinstance(came[0], EngineStopped)
    assert waiting == [120]


def test_an_engine_that_cannot_be_loaded_again_is_its_utterances_failure() -> None:
    class Once(MockEngine):
        def load(self) -> None:
            raise RuntimeError("no memory, and a text that nobody may log")

    with closing(House(Once())) as house:
        speaker, _ = house.guest()
        engine = speaker.engine
        assert isinstance(engine, EngineApart)
        answers: queue.SimpleQueue[Clip | Failure | None] = queue.SimpleQueue()
        for number in range(2):
            engine._speak(said(f"u{number}"), answers.put)
            failed = answers.get(timeout=PATIENCE)
            assert isinstance(failed, Failure)
            assert "RuntimeError" in str(failed.error)
            assert "nobody" not in str(failed.error)
        assert not house.lost.is_set()


def test_what_is_cancelled_here_is_cancelled_there(house: House) -> None:
    speaker, _ = house.guest()
    thread, came = speaking(speaker, said("u0", "wait 하세요"))
    until(lambda: house.engine.taken == ["u0"])
    speaker.cancel(["u0"])
    thread.join(PATIENCE)
    assert isinstance(came[0], SpeakingCancelled)
    until(lambda: house.engine.cancelled == ["u0"])


def test_a_guest_that_reads_nothing_holds_up_nobody(house: House) -> None:
    """Its socket is full long before the last of what it asked for is said."""
    deaf, stream = house.connect(), "가" * 200
    out = deaf.makefile("wb")
    packed = {"engine": VOICE.engine, "metadata": dict(VOICE.metadata), "arrays": [["hertz", "<f4", [1]]]}
    for number in range(8):
        told = {"id": f"deaf{number}", "text": stream, "language": "ko", "speed": 1.0, "seed": 0}
        told |= {"interactive": False, "stream": False}
        pipe.send(out, {"do": "speak", "utterance": told, "voice": packed}, VOICE.arrays["hertz"].tobytes())
    until(lambda: len(house.engine.taken) == 8)
    speaker, _ = house.guest()
    [clip] = speaker.speak([said("heard")])
    assert clip.final
    out.close()


def test_interactive_ones_of_any_guest_go_first(house: House) -> None:
    (one, _), (other, _) = house.guest(), house.guest()
    threads = [speaking(one, said("held", "wait 하세요"))[0]]
    until(lambda: house.engine.taken == ["held"])
    for number in range(3):
        threads.append(speaking(one, said(f"batch{number}"))[0])
    until(lambda: len(house._host._speaker._sinks) == 4)
    threads.append(speaking(other, said("now", interactive=True))[0])
    until(lambda: len(house._host._speaker._sinks) == 5)
    house.engine.go.set()
    for thread in threads:
        thread.join(PATIENCE)
    # The engine had taken one, and Speaker one more at most, when the interactive one came.
    assert house.engine.taken.index("now") <= 2
