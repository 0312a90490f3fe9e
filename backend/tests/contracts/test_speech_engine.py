"""One suite over every twin of the `SpeechEngine` seam that runs without weights."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from app.speech.apart import EngineApart, Host
from app.speech.builtin import BuiltinEngine
from app.speech.builtin.espeak import Espeak
from app.speech.interface import (
    BadVoice,
    Clip,
    Failure,
    Recording,
    SpeechEngine,
    SpeechError,
    Utterance,
    VoiceState,
)
from app.speech.mock import MockEngine
from app.speech.speaker import Speaker


def apart(engine: SpeechEngine) -> SpeechEngine:
    """The engine as one of another process."""
    ours, theirs = socket.socketpair()
    threading.Thread(target=Host(Speaker(engine)).serve, args=(ours,), daemon=True).start()
    return EngineApart(engine, theirs, lost=lambda: None)


TWINS: dict[str, Callable[[], SpeechEngine]] = {
    "mock": MockEngine,
    "builtin": lambda: BuiltinEngine(processes=2),
    "mock apart": lambda: apart(MockEngine()),
}
TEXT = "안녕하세요, 고객님. 잠시만 기다려 주세요."


@pytest.fixture(scope="module", params=TWINS)
def engine(request: pytest.FixtureRequest) -> Iterator[SpeechEngine]:
    engine = TWINS[request.param]()
    engine.load()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Some seconds of speech that is nobody's."""
    with Espeak() as espeak:
        spoken = [
            espeak.say(text, voice="en", rate=150, pitch=90)
            for text in ("Thank you for calling, please hold the line.", "Your account number is seven.")
        ]
    return [Recording(one.audio, one.sample_rate) for one in spoken]


@pytest.fixture(scope="module")
def voice(engine: SpeechEngine, recordings: list[Recording]) -> VoiceState:
    return engine.condition(recordings)


def speak(engine: SpeechEngine, *utterances: Utterance) -> list[Clip | Failure]:
    async def collect() -> list[Clip | Failure]:
        return [result async for result in engine.synthesize(arriving(utterances))]

    return asyncio.run(collect())


async def arriving(utterances: Sequence[Utterance]) -> AsyncIterator[Utterance]:
    for utterance in utterances:
        yield utterance


def clip(engine: SpeechEngine, utterance: Utterance) -> Clip:
    (result,) = speak(engine, utterance)
    assert isinstance(result, Clip)
    return result


def test_fits_the_seam(engine: SpeechEngine):
    assert isinstance(engine, SpeechEngine)
    assert engine.simulated == (engine.name == "mock")


@pytest.mark.parametrize("name", TWINS)
def test_ping_answers_at_once_without_loading(name: str):
    engine = TWINS[name]()
    start = time.perf_counter()
    status = engine.ping()
    assert time.perf_counter() - start < 1
    assert status.available
    assert status.engine == engine.name == name.partition(" ")[0]
    assert status.detail


def test_loads_again_after_closing(engine: SpeechEngine, voice: VoiceState):
    engine.load()
    engine.close()
    engine.close()
    engine.load()
    assert clip(engine, Utterance("a", TEXT, voice)).audio.any()


def test_a_voice_is_plain_data(engine: SpeechEngine, voice: VoiceState):
    assert voice.engine == engine.name
    assert json.loads(json.dumps(dict(voice.metadata)))
    assert all(array.dtype.kind in "fiu" for array in voice.arrays.values())


@pytest.mark.parametrize("audio", [None, np.zeros(40_000, np.float32)], ids=["none", "silence"])
def test_a_voice_needs_speech(engine: SpeechEngine, audio):
    with pytest.raises(SpeechError) as caught:
        engine.condition([] if audio is None else [Recording(audio, 16_000)])
    assert caught.value.fix


def test_a_clip_is_mono_sound_within_full_scale(engine: SpeechEngine, voice: VoiceState):
    said = clip(engine, Utterance("a", TEXT, voice))
    assert (said.utterance_id, said.engine, said.sample_rate) == ("a", engine.name, engine.sample_rate)
    assert said.final
    assert said.audio.dtype == np.float32
    assert said.audio.ndim == 1
    assert 2 < len(said.audio) / said.sample_rate < 8
    assert 0.1 < np.abs(said.audio).max() <= 1
    assert np.abs(said.audio[[0, -1]]).max() < 1e-3


def test_every_utterance_ends_once(engine: SpeechEngine, voice: VoiceState):
    texts = {f"{i}": TEXT[: 8 + i] for i in range(12)}
    results = speak(engine, *(Utterance(name, text, voice) for name, text in texts.items()))
    assert sorted(result.utterance_id for result in results) == sorted(texts)
    assert all(isinstance(result, Clip) for result in results)


def test_streamed_clips_join_to_the_whole(engine: SpeechEngine, voice: VoiceState):
    whole = clip(engine, Utterance("a", TEXT, voice, seed=3))
    parts = speak(engine, Utterance("a", TEXT, voice, seed=3, stream=True))
    assert len(parts) > 1
    assert [part.final for part in parts] == [False] * (len(parts) - 1) + [True]
    np.testing.assert_array_equal(np.concatenate([part.audio for part in parts]), whole.audio)


def test_the_same_seed_gives_the_same_samples_whatever_else_is_spoken(
    engine: SpeechEngine, voice: VoiceState
):
    said = Utterance("a", TEXT, voice, seed=5)
    alone = clip(engine, said)
    others = [Utterance(f"{i}", TEXT[i:], voice, seed=i) for i in range(6)]
    (among,) = [r for r in speak(engine, *others[:3], said, *others[3:]) if r.utterance_id == "a"]
    np.testing.assert_array_equal(among.audio, alone.audio)
    assert not np.array_equal(clip(engine, replace(said, seed=6)).audio, alone.audio)


def test_speed_sets_the_duration(engine: SpeechEngine, voice: VoiceState):
    usual, slow, fast = (
        len(clip(engine, Utterance("a", TEXT, voice, speed=speed)).audio) for speed in (1.0, 0.5, 2.0)
    )
    assert slow / usual == pytest.approx(2, rel=0.15)
    assert fast / usual == pytest.approx(0.5, rel=0.15)


@pytest.mark.parametrize(
    "change",
    [{"text": ""}, {"text": " .,! "}, {"speed": 0.4}, {"speed": float("nan")}, {"speed": 2.1}],
    ids=str,
)
def test_what_cannot_be_spoken_fails_alone(engine: SpeechEngine, voice: VoiceState, change):
    good = Utterance("good", TEXT, voice)
    results = {r.utterance_id: r for r in speak(engine, replace(good, id="bad", **change), good)}
    assert isinstance(results["good"], Clip)
    assert isinstance(results["bad"], Failure)
    assert not results["bad"].error.retry
    assert results["bad"].error.fix


def test_the_voice_of_another_engine_is_refused(engine: SpeechEngine, voice: VoiceState):
    (result,) = speak(engine, Utterance("a", TEXT, replace(voice, engine="other")))
    assert isinstance(result, Failure)
    assert isinstance(result.error, BadVoice)


def test_a_damaged_voice_is_refused(engine: SpeechEngine, voice: VoiceState):
    (result,) = speak(engine, Utterance("a", TEXT, replace(voice, arrays={})))
    assert isinstance(result, Failure)
    assert isinstance(result.error, BadVoice)


def test_speaks_before_the_utterances_end(engine: SpeechEngine, voice: VoiceState):
    async def one_by_one() -> list[str]:
        arrived: asyncio.Queue[Utterance | None] = asyncio.Queue()

        async def utterances() -> AsyncIterator[Utterance]:
            while (utterance := await arrived.get()) is not None:
                yield utterance

        spoken = []
        arrived.put_nowait(Utterance("0", TEXT, voice))
        async for result in engine.synthesize(utterances()):
            spoken.append(result.utterance_id)
            arrived.put_nowait(Utterance(f"{len(spoken)}", TEXT, voice) if len(spoken) < 3 else None)
        return spoken

    assert asyncio.run(one_by_one()) == ["0", "1", "2"]


def test_a_cancelled_utterance_does_not_end_and_its_neighbours_do(engine: SpeechEngine, voice: VoiceState):
    async def cancel_at_the_first_clip() -> list[Clip | Failure]:
        long = Utterance("long", ", ".join([TEXT] * 8), voice, stream=True)
        results = []
        async for result in engine.synthesize(arriving([long, Utterance("next", TEXT, voice)])):
            results.append(result)
            if result.utterance_id == "long":
                engine.cancel("long")
        return results

    results = asyncio.run(cancel_at_the_first_clip())
    assert any(result.utterance_id == "next" for result in results)
    assert not any(result.utterance_id == "long" and result.final for result in results)


def test_leaving_early_leaves_the_engine_usable(engine: SpeechEngine, voice: VoiceState):
    async def take_one() -> None:
        spoken = engine.synthesize(arriving([Utterance(f"{i}", TEXT, voice) for i in range(9)]))
        await anext(spoken)
        await spoken.aclose()

    asyncio.run(take_one())
    assert clip(engine, Utterance("a", TEXT, voice)).audio.any()


def test_similarity_is_a_cosine_or_not_known(engine: SpeechEngine, voice: VoiceState):
    said = clip(engine, Utterance("a", TEXT, voice))
    score = engine.similarity(said.audio, said.sample_rate, voice)
    assert score is None or -1 <= score <= 1
