from __future__ import annotations

import asyncio
import queue
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.speech.interface import (
    Clip,
    EngineUnavailable,
    Failure,
    Recording,
    SpeechEngine,
    SpeechError,
    Utterance,
    VoiceState,
)
from app.speech.speaker import EngineStopped, Speaker
from app.speech.xtts import XttsEngine, has_gpu
from tests.speech.xtts.checkpoints import recording

TEXT = "안녕하세요, 고객님."


@pytest.fixture
def engine(ending_folder: Path) -> Iterator[XttsEngine]:
    engine = XttsEngine(ending_folder, precision="fp32", slots=3, threads=1)
    yield engine
    engine.close()


async def these(utterances: Sequence[Utterance]) -> AsyncIterator[Utterance]:
    for utterance in utterances:
        yield utterance


async def collect(engine: XttsEngine, utterances: Sequence[Utterance]) -> list[Clip | Failure]:
    return [event async for event in engine.synthesize(these(utterances))]


def some(voice: VoiceState, count: int, **changes: Any) -> list[Utterance]:
    return [replace(Utterance(f"{n}", TEXT, voice, seed=n), **changes) for n in range(count)]


def test_is_an_engine(engine: XttsEngine) -> None:
    assert isinstance(engine, SpeechEngine)
    assert (engine.name, engine.simulated, engine.sample_rate) == ("xtts", False, 24000)


def test_speaks_everything_once(engine: XttsEngine) -> None:
    voice = engine.condition([Recording(recording(0, 2.0, 22050), 22050)])
    events = asyncio.run(collect(engine, some(voice, 8)))
    assert sorted(event.utterance_id for event in events) == sorted(str(n) for n in range(8))
    clips = [event for event in events if isinstance(event, Clip)]
    assert len(clips) > 3
    assert all(
        clip.audio.dtype == np.float32 and np.abs(clip.audio).max() <= 1 for clip in clips if clip.audio.size
    )
    first = {clip.utterance_id: clip.audio for clip in clips}
    again = asyncio.run(collect(engine, some(voice, 8)[::-1]))
    for event in again:
        if isinstance(event, Clip):
            np.testing.assert_allclose(event.audio, first[event.utterance_id], atol=1e-4)


def test_what_cannot_be_spoken_is_a_failure_in_its_place(engine: XttsEngine, voice: VoiceState) -> None:
    utterances = some(voice, 3)
    utterances[1] = replace(utterances[1], voice=replace(voice, engine="mock"))
    utterances.append(replace(utterances[0], id="en", language="tlh"))
    events = {event.utterance_id: event for event in asyncio.run(collect(engine, utterances))}
    assert len(events) == 4
    for name, code in (("1", "voice_unusable"), ("en", "language_unsupported")):
        event = events[name]
        assert isinstance(event, Failure)
        assert event.error.code == code


def test_cancelling_ends_the_wait(engine: XttsEngine, voice: VoiceState) -> None:
    async def scenario() -> list[str]:
        heard = []
        async for event in engine.synthesize(these(some(voice, 8, text="네", stream=True))):
            heard.append(event.utterance_id)
            for n in range(8):
                engine.cancel(str(n))
        return heard

    heard = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert len(set(heard)) < 8
    engine.cancel("nobody")


def test_leaving_early_frees_the_engine(engine: XttsEngine, voice: VoiceState) -> None:
    async def scenario() -> None:
        events = engine.synthesize(these(some(voice, 9)))
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        assert len(await collect(engine, some(voice, 2))) == 2

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_source_that_breaks_is_heard_of(engine: XttsEngine, voice: VoiceState) -> None:
    async def breaking() -> AsyncIterator[Utterance]:
        yield some(voice, 1)[0]
        raise ConnectionError("gone")

    async def scenario() -> None:
        async for _ in engine.synthesize(breaking()):
            pass

    with pytest.raises(ConnectionError):
        asyncio.run(scenario())


def test_it_takes_all_there_is_so_that_interactive_ones_overtake(
    engine: XttsEngine, voice: VoiceState
) -> None:
    taken: list[int] = []
    batch, now = some(voice, 12), some(voice, 13, interactive=True)[-1]

    async def counting() -> AsyncIterator[Utterance]:
        for utterance in (*batch, now):
            taken.append(len(taken))
            yield utterance

    async def scenario() -> list[str]:
        ended = []
        async for event in engine.synthesize(counting()):
            assert len(taken) == 13
            ended.append(event.utterance_id)
        return ended

    ended = asyncio.run(scenario())
    assert len(ended) == 13
    assert ended.index(now.id) < 6  # of the three that were being spoken, perhaps, and of those as short


def test_a_step_that_breaks_once_costs_nobody_anything(
    engine: XttsEngine, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.load()
    assert engine._worker is not None
    batch = engine._worker.batch
    original, calls = batch._runner.start, 0

    def fail(some: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("broken")
        original(some)

    monkeypatch.setattr(batch._runner, "start", fail)
    events = asyncio.run(collect(engine, some(voice, 8)))
    assert len(events) == 8
    assert not [event for event in events if isinstance(event, Failure) and event.error.retry]
    assert calls > 3


def test_what_cannot_be_mended_fails_and_the_next_work_finds_a_new_engine(
    engine: XttsEngine, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.load()
    assert engine._worker is not None
    broken = engine._worker

    def fail(*_: object) -> None:
        raise RuntimeError("a kernel broke, and the device with it")

    monkeypatch.setattr(broken.batch._runner, "admit", fail)
    monkeypatch.setattr(broken.batch._runner, "resize", fail)
    speaker = Speaker(engine)
    came: queue.SimpleQueue[Clip | Failure] = queue.SimpleQueue()
    for each in some(voice, 8):
        speaker.submit(each, came.put)
    events = [came.get(timeout=60) for _ in range(8)]
    assert sorted(event.utterance_id for event in events) == sorted(map(str, range(8)))
    assert all(isinstance(event, Failure) and event.error.retry for event in events)
    assert not broken.alive
    with pytest.raises(SpeechError, match="closed"):
        broken.add(some(voice, 1)[0], lambda _: None)
    # One more may still come to the broken one, and is to be tried again like the others.
    with suppress(EngineStopped):
        speaker.speak(some(voice, 1))
    assert len(speaker.speak(some(voice, 2))) == 2
    assert engine._worker is not broken
    speaker.close()


def test_a_cancel_between_the_end_of_decoding_and_the_audio_breaks_nothing(
    engine: XttsEngine, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's thread has decoded it and not yet voiced it when the cancel comes."""
    engine.load()
    assert engine._worker is not None
    batch = engine._worker.batch
    step, cancelled = batch.step, []

    def stepped() -> list[Clip | Failure]:
        events = step()
        for event in events:
            if not cancelled:
                engine.cancel(event.utterance_id)
                cancelled.append(event.utterance_id)
                batch._events.append(event)  # and comes out once more, after the cancel
        return [event for event in events if event.utterance_id not in cancelled]

    monkeypatch.setattr(batch, "step", stepped)
    events = asyncio.run(asyncio.wait_for(collect(engine, some(voice, 5)), 60))
    assert len(events) == 4
    assert cancelled[0] not in {event.utterance_id for event in events}


def test_closing_fails_what_waits_and_loading_follows(engine: XttsEngine, voice: VoiceState) -> None:
    async def scenario() -> list[Clip | Failure]:
        events = []
        async for event in engine.synthesize(these(some(voice, 6))):
            if not events:
                await asyncio.to_thread(engine.close)
            events.append(event)
        return events

    events = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert len(events) == 6
    assert any(isinstance(event, Failure) and event.error.retry for event in events)
    assert len(asyncio.run(collect(engine, some(voice, 1)))) == 1


def test_ping_says_what_to_do(engine: XttsEngine, tmp_path: Path) -> None:
    assert engine.ping().available
    assert "fp32" in engine.ping().detail
    nowhere = XttsEngine(None).ping()
    assert not nowhere.available
    assert "weights fetch" in nowhere.fix
    (tmp_path / "config.json").write_text("{}")
    assert "vocab.json, model.pth" in XttsEngine(tmp_path).ping().detail
    with pytest.raises(EngineUnavailable):
        XttsEngine(None).load()
    with pytest.raises(EngineUnavailable):
        XttsEngine(tmp_path).load()


@pytest.mark.parametrize(
    ("text", "cuda"),
    [("cuda: Optional[str] = '13.2'", "13.2"), ("cuda: Optional[str] = None", None), (None, None)],
)
def test_ping_says_which_cuda_pytorch_was_built_for(
    text: str | None, cuda: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert XttsEngine(None).ping().versions.get("cuda") == torch.version.cuda
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('It was imported.')")
    if text is not None:
        (tmp_path / "torch" / "version.py").write_text(f"from typing import Optional\n{text}\n")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)
    assert XttsEngine(None).ping().versions.get("cuda") == cuda


def test_pytorch_is_imported_no_sooner_than_needed(ending_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from app.speech.xtts import XttsEngine;"
        f"assert XttsEngine(Path({str(ending_folder)!r})).ping().available; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize(
    ("driver", "visible", "works", "found"),
    [
        (True, None, True, True),
        (True, "", True, False),
        (False, None, True, False),
        (True, "0", False, False),
    ],
)
def test_a_gpu_is_one_that_pytorch_can_use(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    driver: bool,
    visible: str | None,
    works: bool,
    found: bool,
) -> None:
    monkeypatch.setattr("app.speech.xtts.engine._DEVICES", [str(tmp_path) if driver else "/no/such/device"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: works)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert has_gpu() is found


@pytest.fixture
def broken_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is installed and lacks a library of CUDA's."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcublas.so.12: cannot open')")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("broken_torch")
def test_a_pytorch_that_breaks_is_told_and_is_no_gpu(
    engine: XttsEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.speech.xtts.engine._DEVICES", [str(tmp_path)])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not has_gpu()
    (told,) = caplog.records
    assert told.message == "tts.xtts.gpu_unusable"
    assert "libcublas" in told.__dict__["error"]
    with pytest.raises(EngineUnavailable, match=r"OSError: libcublas\.so\.12") as refusal:
        engine.load()
    assert "install" in refusal.value.fix


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "out_of_memory", True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), "out_of_memory", True),
        (torch.AcceleratorError("CUDA error: no kernel image\nA hint."), "engine_unavailable", False),
        (OSError("a file that breaks off"), "engine_unavailable", False),
    ],
)
@pytest.mark.parametrize("place", ["model.Gpt", "batch.Batch.prepare"])
def test_what_breaks_while_it_is_loaded_says_what_to_do_and_loading_may_follow(
    place: str, error: Exception, code: str, retry: bool, engine: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"app.speech.xtts.{place}", fail)
        with pytest.raises(SpeechError) as refusal:
            engine.load()
    assert (refusal.value.code, refusal.value.retry) == (code, retry)
    assert refusal.value.fix
    assert "hint" not in str(refusal.value)
    engine.load()
    assert engine.ping().available


def test_a_similarity_takes_a_core_where_there_is_no_gpu(engine: XttsEngine) -> None:
    assert not engine.measures_elsewhere
    assert not XttsEngine(None).measures_elsewhere
