"""What `BuiltinEngine` promises beyond the seam: its processes may die, and end with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence

import psutil
import pytest

from app.speech.builtin import BuiltinEngine, EngineCrashed
from app.speech.builtin.espeak import Espeak
from app.speech.interface import Clip, EngineUnavailable, Failure, Recording, Utterance, VoiceState

TEXT = "안녕하세요, 고객님. 잠시만 기다려 주세요."


@pytest.fixture(scope="module")
def engine() -> Iterator[BuiltinEngine]:
    engine = BuiltinEngine(processes=1)
    engine.load()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def voice(engine: BuiltinEngine) -> VoiceState:
    with Espeak() as espeak:
        spoken = espeak.say("Thank you for calling, please hold the line.", voice="en", pitch=80)
    return engine.condition([Recording(spoken.audio, spoken.sample_rate)])


def workers(process: psutil.Process | None = None) -> list[psutil.Process]:
    children = (process or psutil.Process()).children()
    return [child for child in children if "app.speech.builtin.child" in child.cmdline()]


def speak(engine: BuiltinEngine, utterances: Sequence[Utterance], kill_at: int = -1) -> list[Clip | Failure]:
    async def arriving() -> AsyncIterator[Utterance]:
        for utterance in utterances:
            yield utterance

    async def collect() -> list[Clip | Failure]:
        results = []
        async for result in engine.synthesize(arriving()):
            results.append(result)
            if len(results) == kill_at:
                for worker in workers():
                    worker.kill()
        return results

    return asyncio.run(collect())


def test_a_crash_fails_what_was_being_spoken_and_nothing_else(engine: BuiltinEngine, voice: VoiceState):
    long = " ".join([TEXT] * 6)
    said = [Utterance("long", long, voice, stream=True), *(Utterance(f"{i}", TEXT, voice) for i in range(3))]
    results = speak(engine, said, kill_at=1)
    failures = [result for result in results if isinstance(result, Failure)]
    assert [failure.utterance_id for failure in failures] == ["long"]
    assert isinstance(failures[0].error, EngineCrashed)
    assert failures[0].error.retry
    assert {r.utterance_id for r in results if isinstance(r, Clip) and r.final} == {"0", "1", "2"}


def test_where_no_process_can_be_had_an_utterance_fails_and_the_next_is_spoken(
    voice: VoiceState, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    engine = BuiltinEngine(processes=1)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "Popen", refuse)
            [failed] = speak(engine, [Utterance("0", TEXT, voice)])
        assert isinstance(failed, Failure)
        assert isinstance(failed.error, EngineUnavailable)
        assert failed.error.retry
        assert isinstance(speak(engine, [Utterance("1", TEXT, voice)])[0], Clip)
    finally:
        engine.close()


def test_interactive_utterances_overtake(engine: BuiltinEngine, voice: VoiceState):
    waiting = [Utterance(f"{i}", TEXT, voice) for i in range(3)]
    results = speak(engine, [*waiting, Utterance("now", TEXT, voice, interactive=True)])
    assert [result.utterance_id for result in results].index("now") < 3


def test_closing_ends_the_processes(voice: VoiceState):
    before = {worker.pid for worker in workers()}
    engine = BuiltinEngine(processes=2)
    speak(engine, [Utterance(f"{i}", TEXT, voice) for i in range(4)])
    started = [worker for worker in workers() if worker.pid not in before]
    assert started
    engine.close()
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_the_processes_end_when_the_service_is_killed():
    program = (
        "import sys\n"
        "from app.speech.builtin import BuiltinEngine\n"
        "from app.speech.builtin.espeak import Espeak\n"
        "from app.speech.interface import Recording\n"
        "engine = BuiltinEngine(processes=1)\n"
        "engine.load()\n"
        "espeak = Espeak()\n"
        "spoken = espeak.say('Thank you for calling.', voice='en')\n"
        "engine.condition([Recording(spoken.audio, spoken.sample_rate)])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == b"ready\n"
        descendants = psutil.Process(service.pid).children(recursive=True)
        assert len(descendants) >= 3  # a worker, its espeak-ng, and the service's own
        service.kill()
        assert psutil.wait_procs(descendants, timeout=20)[1] == []


def test_many_voices_take_turns(engine: BuiltinEngine, voice: VoiceState):
    voices = [VoiceState(voice.engine, voice.arrays, {**voice.metadata, "seconds": i}) for i in range(6)]
    said = [Utterance(f"{turn}-{i}", TEXT, v) for turn in range(2) for i, v in enumerate(voices)]
    assert all(isinstance(result, Clip) for result in speak(engine, said))
