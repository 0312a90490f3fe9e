from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from app.speech.interface import (
    BadVoice,
    Clip,
    Failure,
    RunawayGeneration,
    SpeechError,
    Utterance,
    VoiceState,
)
from app.speech.xtts.batch import Batch, TextTooLong, TooLittleMemory, _Piece, cap_of
from app.speech.xtts.model import Model
from app.speech.xtts.scheduler import Scheduler
from app.speech.xtts.vocoder import CONTEXT, HOP, RATE
from app.speech.xtts.voicing import FIRST_CODES, Spoken, Voicing, Window

TEXT = "안녕하세요, 고객님. 반갑습니다."


def utterance(voice: VoiceState, name: str = "a", **changes: Any) -> Utterance:
    return replace(Utterance(name, TEXT, voice), **changes)


def run(batch: Batch, utterances: Sequence[Utterance]) -> list[Clip | Failure]:
    for item in utterances:
        batch.add(item)
    events = []
    while batch.busy:
        events += batch.step()
    return events


def audio_of(events: Sequence[Clip | Failure]) -> dict[str, np.ndarray[Any, Any]]:
    parts = defaultdict(list)
    for event in events:
        assert isinstance(event, Clip), event
        parts[event.utterance_id].append(event.audio)
    return {name: np.concatenate(some) for name, some in parts.items()}


# Seeds that end by themselves at the first attempt.
@pytest.fixture(scope="module")
def seeds(ending: Model, voice: VoiceState) -> list[int]:
    batch = ending.batch(16)
    batch.exact_codes = None
    good = []
    for seed in range(14):
        batch.add(utterance(voice, str(seed), seed=seed))
    while batch.busy:
        ended = batch.step()
        good += [
            int(event.utterance_id)
            for event in ended
            if isinstance(event, Clip) and 15 * 1115 < len(event.audio) < 100 * 1115
        ]
    assert len(good) >= 6
    return good


def test_streamed_equals_whole(ending: Model, voice: VoiceState, seeds: list[int]) -> None:
    for speed in (0.5, 1.0):
        some = [utterance(voice, str(seed), seed=seed, speed=speed) for seed in seeds[:2]]
        whole = audio_of(run(ending.batch(4), some))
        events = run(ending.batch(4), [replace(item, stream=True) for item in some])
        streamed = audio_of(events)
        assert len(events) > len(some) + 2
        for name, audio in whole.items():
            assert len(audio) > 0
            np.testing.assert_allclose(streamed[name], audio, atol=1e-4)
        for name in whole:
            finals = [e.final for e in events if isinstance(e, Clip) and e.utterance_id == name]
            assert finals == [False] * (len(finals) - 1) + [True]


def test_first_audio_after_eight_codes(ending: Model, voice: VoiceState, seeds: list[int]) -> None:
    batch = ending.batch(4)
    batch.add(utterance(voice, seed=seeds[0], stream=True))
    steps = 0
    events: list[Clip | Failure] = []
    while not events:
        events = batch.step()
        steps += 1
    assert steps <= FIRST_CODES
    (clip,) = events
    assert isinstance(clip, Clip)
    assert not clip.final
    assert (len(clip.audio), clip.sample_rate, clip.engine) == (16 * HOP, RATE, "xtts")
    assert len(clip.audio) > CONTEXT * HOP


@pytest.mark.parametrize(("speed", "codes"), [(0.5, 8), (1.0, 8), (1.1, 9), (1.3, 11), (1.6, 13), (2.0, 16)])
def test_a_fast_stream_begins_as_soon_as_it_can_go_on(
    speed: float, codes: int, tiny: Model, voice: VoiceState
) -> None:
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    batch, steps = tiny.batch(1), 0
    batch.exact_codes = 40
    batch.add(utterance(same, speed=speed, stream=True))
    while not (events := batch.step()):
        steps += 1
    assert steps + 2 == codes  # the first code comes with the admission
    assert isinstance(events[0], Clip)
    assert len(events[0].audio) >= 12 * HOP


def test_in_a_batch_as_alone(ending: Model, voice: VoiceState, seeds: list[int]) -> None:
    some = [utterance(voice, str(seed), seed=seed) for seed in seeds]
    together = audio_of(run(ending.batch(4), some))
    for item in some[:3]:
        alone = audio_of(run(ending.batch(1), [item]))[item.id]
        np.testing.assert_allclose(together[item.id], alone, atol=1e-4)


def test_a_run_away_is_tried_twice_more_and_then_fails(tiny: Model, voice: VoiceState) -> None:
    """The tiny model without its bias never ends."""
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    batch, seeds = tiny.batch(2), set()
    batch.add(utterance(same, text="네"))
    events: list[Clip | Failure] = []
    while batch.busy:
        events += batch.step()
        seeds |= {row.job.seed for row in batch._runner.rows}
    (failure,) = events
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, RunawayGeneration)
    assert not failure.error.retry  # nobody does the same again
    assert len(seeds) == 3
    assert batch._runner.rows == []


def test_another_seed_may_end(ending: Model, voice: VoiceState) -> None:
    """Where the first attempt runs away, a later one often does not."""
    batch, again, events = ending.batch(16), set(), []
    for n in range(16):
        batch.add(utterance(voice, str(n), seed=n, text="네, 네"))
    while batch.busy:
        events += batch.step()
        again |= {name for name, speech in batch._speeches.items() if speech.attempt > 0}
    failed = {event.utterance_id for event in events if isinstance(event, Failure)}
    assert again - failed
    assert len(failed) < 5


def test_a_stream_that_was_heard_is_not_begun_again(tiny: Model, voice: VoiceState) -> None:
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    events = run(tiny.batch(2), [utterance(same, text="네", stream=True)])
    assert isinstance(events[0], Clip)
    assert isinstance(events[-1], Failure)
    assert "1 attempts" in str(events[-1].error)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [("", "ko", 40), ("네", "ko", 52), ("네.", "ko-KR", 58), ("yes", "en", 52), ("가" * 200, "ko", 602)],
)
def test_cap(text: str, language: str, expected: int) -> None:
    assert cap_of(text, language, 602) == expected


def test_cancel_frees_its_place(ending: Model, voice: VoiceState, seeds: list[int]) -> None:
    batch = ending.batch(1)
    batch.add(utterance(voice, "first", seed=seeds[0]))
    batch.add(utterance(voice, "second", seed=seeds[1]))
    batch.step()
    assert batch.cancel("first")
    assert not batch.cancel("first")
    events = run(batch, [])
    assert [event.utterance_id for event in events] == ["second"]
    expected = audio_of(run(ending.batch(1), [utterance(voice, "second", seed=seeds[1])]))
    np.testing.assert_allclose(audio_of(events)["second"], expected["second"], atol=1e-4)


def test_interactive_ones_go_first(ending: Model, voice: VoiceState, seeds: list[int]) -> None:
    batch = ending.batch(1)
    batch.add(utterance(voice, "running", seed=seeds[0]))
    batch.step()
    batch.add(utterance(voice, "waiting", seed=seeds[1]))
    batch.add(utterance(voice, "urgent", seed=seeds[2], interactive=True))
    batch.step()
    assert [row.job.id for row in batch._runner.rows] == ["urgent"]
    events = run(batch, [])
    assert [event.utterance_id for event in events] == ["urgent", "running", "waiting"]
    # Whoever gave way is spoken as if it had not.
    expected = audio_of(run(ending.batch(1), [utterance(voice, "running", seed=seeds[0])]))
    np.testing.assert_allclose(audio_of(events)["running"], expected["running"], atol=1e-4)


@pytest.mark.parametrize("able", [True, False])
def test_while_somebody_waits_the_others_take_part_now_and_then(
    able: bool, tiny: Model, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tiny.gpt), "compiled", property(lambda gpt: able and gpt._fast is not None))
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    some = [utterance(same, str(seed), seed=seed) for seed in range(6)]
    urgent = [utterance(same, str(seed), seed=seed, interactive=True, stream=seed == 7) for seed in (7, 8)]
    alone = tiny.batch(1)
    alone.exact_codes = 60
    expected = audio_of(run(alone, [*some, *urgent]))
    batch = tiny.batch(5)
    batch.exact_codes = 60
    for item in some:
        batch.add(item)
    for _ in range(10):
        batch.step()
    for item in urgent:
        batch.add(item)
    steps, events = 0, []
    while {"7", "8"} & batch._speeches.keys():
        before = {row.job.id: row.states for row in batch._runner.rows}
        events += batch.step()
        steps += any(row.job.id in "012" and row.states > before[row.job.id] for row in batch._runner.rows)
    # One of 16 of the first forty, then one of four. (Where all take part in all, those that had begun end before.)
    assert steps == (2 + 5 if batch._runner.can_step_some else 48)
    events += run(batch, [])
    ended_once(events, list(expected))
    for name, audio in audio_of(events).items():
        np.testing.assert_allclose(audio, expected[name], atol=1e-4)


def test_while_somebody_waits_others_are_heard_in_steps_of_everybody(tiny: Model, voice: VoiceState) -> None:
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    batch = tiny.batch(6)
    batch.exact_codes = 30
    for name in "abcd":
        batch.add(utterance(same, name))
    batch.step()
    batch.add(utterance(same, "later"))
    while batch._runner.rows[0].states < 29:
        batch.step()
    batch.add(utterance(same, "urgent", interactive=True, stream=True))
    events, heard = [], 0
    while "urgent" in batch._speeches:
        events += (new := batch.step())
        if others := [event for event in new if event.utterance_id != "urgent"]:
            heard += len(others)
            assert not batch._hurried
    assert heard
    ended_once([*events, *run(batch, [])], [*"abcd", "later", "urgent"])


@pytest.mark.parametrize("when", ["decoding", "voicing"])
def test_out_of_memory_halves_the_batch(
    when: str, ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [utterance(voice, str(seed), seed=seed, stream=True) for seed in seeds[:5]]
    expected = audio_of(run(ending.batch(8), some))
    batch, calls = ending.batch(8), 0
    if when == "decoding":
        original = batch._runner.start

        def fail(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 20:
                raise torch.OutOfMemoryError("no memory")
            return original(*arguments)

        monkeypatch.setattr(batch._runner, "start", fail)
    else:
        vocoder = batch._voicing._vocoder

        def fail(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise torch.OutOfMemoryError("no memory")
            return vocoder(*arguments)

        monkeypatch.setattr(batch._voicing, "_vocoder", fail)
    got = audio_of(run(batch, some))
    assert batch.slots == 4
    assert got.keys() == expected.keys()
    for name, audio in expected.items():
        np.testing.assert_allclose(got[name], audio, atol=1e-4)


def test_no_memory_at_all_fails_what_was_running(
    ending: Model, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ending.batch(2)

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(batch._runner, "start", fail)
    events = run(batch, [utterance(voice, name) for name in "abc"])
    assert sorted(event.utterance_id for event in events) == ["a", "b", "c"]
    assert all(isinstance(event, Failure) for event in events)


def test_refused(ending: Model, voice: VoiceState) -> None:
    batch = ending.batch(2)
    with pytest.raises(TextTooLong, match="tokens"):
        batch.add(utterance(voice, text="가나다라 " * 60))
    with pytest.raises(SpeechError, match="Speed"):
        batch.add(utterance(voice, speed=3.0))
    with pytest.raises(BadVoice, match="engine"):
        batch.add(utterance(replace(voice, engine="builtin")))
    with pytest.raises(BadVoice, match="another checkpoint"):
        batch.add(utterance(replace(voice, metadata={})))
    for damaged in (np.zeros((31, 64), np.float32), np.full((32, 64), np.inf, np.float32)):
        with pytest.raises(BadVoice, match="latents"):
            batch.add(utterance(replace(voice, arrays={**voice.arrays, "latents": damaged})))
    assert not batch.busy
    batch.add(utterance(voice))
    with pytest.raises(SpeechError, match="already"):
        batch.add(utterance(voice))


def test_exact_codes_for_benchmarks(tiny: Model, voice: VoiceState) -> None:
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    batch = tiny.batch(2)
    batch.exact_codes = 30
    (clip,) = run(batch, [utterance(same)])
    assert isinstance(clip, Clip)
    assert len(clip.audio) == 130 * HOP


def test_a_voice_of_another_size_is_no_crash(tiny: Model, voice: VoiceState) -> None:
    same = VoiceState("xtts", {**voice.arrays, "speaker": np.zeros(3)}, {"checkpoint": tiny.fingerprint})
    with pytest.raises(BadVoice, match="speaker"):
        tiny.batch(2).add(utterance(same))


def ended_once(events: Sequence[Clip | Failure], names: Sequence[str]) -> dict[str, Clip | Failure]:
    """The end of each utterance; exactly one, and nothing after it."""
    ends: dict[str, Clip | Failure] = {}
    for event in events:
        assert event.utterance_id not in ends, "audio after the end"
        if isinstance(event, Failure) or event.final:
            ends[event.utterance_id] = event
    assert sorted(ends) == sorted(names)
    return ends


class Trouble:
    """Stands before a function and raises in its place, at the calls (counted from 0) that it is given."""

    def __init__(self, function: Callable[..., Any], error: Exception, *calls: int) -> None:
        self.function, self.error, self.calls, self.count = function, error, calls, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        if self.count - 1 in self.calls or not self.calls:
            raise self.error
        return self.function(*arguments, **options)


PLACES = ("admit", "start", "finish", "release", "voicing")
NO_MEMORY = (torch.OutOfMemoryError("no memory"), MemoryError(), RuntimeError("can't allocate memory: 1"))


@pytest.mark.parametrize(
    ("where", "error"),
    [*((place, NO_MEMORY[0]) for place in PLACES), *(("voicing", error) for error in NO_MEMORY[1:])],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_memory_that_runs_out_anywhere_loses_and_doubles_nothing(
    where: str,
    error: Exception,
    ending: Model,
    voice: VoiceState,
    seeds: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = [utterance(voice, str(seed), seed=seed, stream=seed % 2 == 0) for seed in seeds[:6]]
    expected = audio_of(run(ending.batch(4), some))
    batch = ending.batch(4)
    at = (0, 2) if where in ("admit", "release", "voicing") else (5, 23)
    part, name = (batch, "_voicing") if where == "voicing" else (batch._runner, where)
    trouble = Trouble(getattr(part, name), error, *at)
    if where == "voicing":
        trouble.cut, trouble.settle, trouble.shrink = (  # type: ignore[attr-defined]
            getattr(batch._voicing, each) for each in ("cut", "settle", "shrink")
        )
    monkeypatch.setattr(part, name, trouble)
    events = run(batch, some)
    ended_once(events, list(expected))
    for name, audio in audio_of(events).items():
        np.testing.assert_allclose(audio, expected[name], atol=1e-4)
    assert trouble.count > at[-1]
    assert batch.slots == 1
    assert batch._runner.rows == []


@pytest.mark.parametrize("where", PLACES)
def test_memory_that_stays_short_fails_each_once(
    where: str, ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ending.batch(4)
    part, name = (batch._voicing, "_vocoder") if where == "voicing" else (batch._runner, where)
    with monkeypatch.context() as patch:
        patch.setattr(part, name, Trouble(getattr(part, name), NO_MEMORY[0]))
        names = [str(seed) for seed in seeds[:6]]
        some = [utterance(voice, name, seed=int(name), stream=name == names[0]) for name in names]
        for end in ended_once(run(batch, some), names).values():
            # What was released after its last piece had been cut is spoken all the same.
            if isinstance(end, Failure):
                assert end.error.code == "out_of_memory"
            else:
                assert where == "release"
    # There is memory again.
    assert set(audio_of(run(batch, [replace(some[0], stream=False)]))) == {names[0]}


def test_memory_that_is_short_when_it_is_added_may_be_there_later(
    ending: Model, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ending.batch(1)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "from_numpy", Trouble(torch.from_numpy, NO_MEMORY[0]))
        with pytest.raises(TooLittleMemory) as short:
            batch.add(utterance(voice, "a"))
    assert short.value.retry
    assert not batch.busy
    batch.add(utterance(voice, "a"))


def test_run_aways_of_a_step_that_breaks_are_heard_of(
    tiny: Model, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that run away in one step, memory ends while the second is given up."""
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    batch = tiny.batch(2)
    monkeypatch.setattr(batch._runner, "release", Trouble(batch._runner.release, NO_MEMORY[0], 5))
    ended_once(run(batch, [utterance(same, name, text="네") for name in "ab"]), "ab")


def test_cancelled_while_its_last_piece_waits(ending: Model, voice: VoiceState, seeds: list[int]) -> None:
    batch = ending.batch(2)
    batch.add(utterance(voice, "a", seed=seeds[0]))
    batch._speak = lambda: None  # type: ignore[method-assign]
    while batch._speeches:
        batch.step()
    assert batch.busy
    assert batch.cancel("a")
    assert not batch.cancel("a")
    assert not batch.busy
    assert run(batch, []) == []


def test_a_crowd_that_ends_together_delays_a_listener_by_one_each_step(
    ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, spoken = ending.batch(8), []
    speak = batch._voicing._speak
    monkeypatch.setattr(
        batch._voicing, "_speak", lambda windows, to: spoken.append(len(windows)) or speak(windows, to)
    )
    some = [utterance(voice, str(n), seed=seeds[0]) for n in range(6)]
    batch.add(utterance(voice, "listener", seed=seeds[-1], stream=True))
    events = run(batch, some)
    ended_once(events, ["listener", *(item.id for item in some)])
    waiting = [event.utterance_id for event in events]
    assert waiting[0] == "listener"
    listened = [n for n, name in enumerate(waiting) if name == "listener"]
    if listened[-1] > waiting.index("0"):  # it went on beside those that ended at once
        assert max(spoken) <= 3


class Late(Spoken):
    """Audio that is not there yet when it is looked for, so many times."""

    def __init__(self, spoken: Spoken, looks: int) -> None:
        self.spoken, self.looks, self.waited = spoken, looks, False

    @property
    def ready(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def audio(self) -> list[Any]:
        self.waited = self.looks >= 0
        return self.spoken.audio()


class LateVoicing(Voicing):
    """Audio comes later than it was begun, as from a GPU."""

    def __init__(self, voicing: Voicing, looks: int) -> None:
        self.__dict__.update(vars(voicing))
        self.looks, self.spoken = looks, list[Late]()

    def __call__(self, windows: Sequence[Window]) -> Spoken:
        self.spoken.append(Late(super().__call__(windows), self.looks))
        return self.spoken[-1]


def late(model: Model, looks: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Batch, LateVoicing]:
    batch = model.batch(4)
    voicing = LateVoicing(batch._voicing, looks)
    monkeypatch.setattr(batch, "_voicing", voicing)
    return batch, voicing


FOR_EVER = 10**6


@pytest.mark.parametrize("looks", [1, 4, FOR_EVER])
def test_audio_that_is_late_comes_in_order_and_once(
    looks: int, ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [utterance(voice, str(seed), seed=seed, stream=seed != seeds[0]) for seed in seeds[:4]]
    expected = run(ending.batch(4), some)
    batch, voicing = late(ending, looks, monkeypatch)
    events = run(batch, some)
    ended_once(events, [item.id for item in some])
    assert len(events) == len(expected)
    for name, audio in audio_of(expected).items():
        np.testing.assert_allclose(audio_of(events)[name], audio, atol=1e-4)
    # It is waited for when there is nothing else to do.
    assert voicing.spoken[-1].waited
    assert sum(spoken.waited for spoken in voicing.spoken) <= 2 or looks == FOR_EVER


def test_nobody_waits_for_audio_while_others_are_decoded(
    ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, voicing = late(ending, FOR_EVER, monkeypatch)
    for seed in seeds[:2]:
        batch.add(utterance(voice, str(seed), seed=seed, stream=True))
    while batch.busy:
        decoding = bool(batch._speeches)
        events = batch.step()
        assert not (decoding and batch._speeches and events)
        assert decoding or len(events) > 0  # else this would go on for ever
    assert all(spoken.waited for spoken in voicing.spoken)


def test_cancelled_while_its_audio_is_under_way(
    ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, _ = late(ending, 3, monkeypatch)
    for seed in seeds[:2]:
        batch.add(utterance(voice, str(seed), seed=seed, stream=True))
    while not batch._underway:
        batch.step()
    assert batch.cancel(str(seeds[0]))
    events = run(batch, [])
    ended_once(events, [str(seeds[1])])
    assert {event.utterance_id for event in events} == {str(seeds[1])}


def test_a_step_that_breaks_while_audio_is_under_way(
    ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is spoken all the same, and once."""
    some = [utterance(voice, str(seed), seed=seed, stream=True) for seed in seeds[:3]]
    expected = audio_of(run(ending.batch(4), some))
    batch, _ = late(ending, FOR_EVER, monkeypatch)
    for item in some:
        batch.add(item)
    while len(batch._speeches) == 3:
        assert batch.step() == []
    assert batch.recover(RuntimeError("broken")) == []
    assert batch.slots == 1
    events = run(batch, [])
    ended_once(events, list(expected))
    for name, audio in audio_of(events).items():
        np.testing.assert_allclose(audio, expected[name], atol=1e-4)


def recovering(batch: Batch, utterances: Sequence[Utterance]) -> list[Clip | Failure]:
    """As the engine does it."""
    for item in utterances:
        batch.add(item)
    events: list[Clip | Failure] = []
    while batch.busy:
        try:
            events += batch.step()
        except Exception as error:
            events += batch.recover(error)
    return events


@pytest.mark.parametrize("where", ["admit", "start", "voicing"])
def test_one_that_breaks_steps_takes_nobody_along(
    where: str, ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(seed) for seed in seeds[:5]]
    some = [utterance(voice, name, seed=int(name), stream=name == names[1]) for name in names]
    expected = audio_of(run(ending.batch(4), some))
    batch = ending.batch(4)
    marked = VoiceState("xtts", voice.arrays | {"speaker": voice.arrays["speaker"] + 1}, voice.metadata)
    bad = utterance(marked, "bad", seed=seeds[0])
    admit, start, voicing = batch._runner.admit, batch._runner.start, batch._voicing._vocoder

    def admitting(jobs: Sequence[Any]) -> None:
        if any(job.id == "bad" for job in jobs):
            raise IndexError
        admit(jobs)

    def starting(some: Sequence[int]) -> None:
        if any(row.job.id == "bad" and len(row.codes) > 9 for row in batch._runner.rows):
            raise IndexError
        start(some)

    def speaking(frames: torch.Tensor, speakers: torch.Tensor) -> torch.Tensor:
        if torch.isclose(speakers, torch.from_numpy(marked.arrays["speaker"])).all(1).any():
            raise IndexError
        return voicing(frames, speakers)

    if where == "voicing":
        monkeypatch.setattr(batch._voicing, "_vocoder", speaking)
    else:
        monkeypatch.setattr(batch._runner, where, admitting if where == "admit" else starting)
    events = recovering(batch, [*some[:3], bad, *some[3:]])

    (failed,) = [event for event in events if isinstance(event, Failure)]
    assert (failed.utterance_id, str(failed.error)) == ("bad", "Speaking failed: IndexError.")
    assert not failed.error.retry
    spoken = audio_of([event for event in events if event is not failed])
    assert sorted(spoken) == sorted(names)
    for name, audio in spoken.items():
        np.testing.assert_allclose(audio, expected[name], atol=1e-4)
    # All slots are there again.
    assert set(audio_of(run(batch, [replace(some[0], id="after")]))) == {"after"}
    assert batch.slots == 4


@pytest.mark.parametrize("where", ["admit", "start", "finish", "release", "voicing"])
def test_what_stays_broken_fails_each_once(
    where: str, ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ending.batch(4)
    part, name = (batch._voicing, "_vocoder") if where == "voicing" else (batch._runner, where)
    names = [str(seed) for seed in seeds[:6]]
    with monkeypatch.context() as patch:
        patch.setattr(part, name, Trouble(getattr(part, name), ValueError("broken")))
        some = [utterance(voice, name, seed=int(name), stream=name == names[0]) for name in names]
        ends = ended_once(recovering(batch, some), names)
    # What was released after its last piece had been cut is spoken all the same.
    assert all(isinstance(end, Failure) for end in ends.values()) or where == "release"
    assert set(audio_of(run(batch, [replace(some[0], stream=False)]))) == {names[0]}


def test_a_step_without_anybody_that_breaks_fails_all(
    ending: Model, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ending.batch(1)
    with monkeypatch.context() as patch:
        patch.setattr(batch._scheduler, "schedule", Trouble(batch._scheduler.schedule, ValueError()))
        ended_once(recovering(batch, [utterance(voice)]), ["a"])


def test_no_audio_is_a_failure(tiny: Model, voice: VoiceState, seeds: list[int]) -> None:
    arrays = voice.arrays | {"speaker": np.full(512, 1e38, np.float32)}
    loud = VoiceState("xtts", arrays, {"checkpoint": tiny.fingerprint})
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    batch = tiny.batch(2)
    batch.exact_codes = 20
    ends = ended_once(
        run(batch, [utterance(loud, "loud", stream=True), utterance(same, "good")]), ["loud", "good"]
    )
    assert isinstance(ends["good"], Clip)
    assert isinstance(ends["loud"], Failure)
    assert isinstance(ends["loud"].error, BadVoice)


def test_those_that_do_not_fit_the_room_wait(
    ending: Model, voice: VoiceState, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, most = ending.batch(4), 0
    batch._scheduler = Scheduler(4, room=5)
    monkeypatch.setattr(batch._runner, "takes", lambda job: 2)
    for seed in seeds[:5]:
        batch.add(utterance(voice, str(seed), seed=seed))
    events: list[Clip | Failure] = []
    while batch.busy:
        events += batch.step()
        most = max(most, len(batch._runner.rows))
    ended_once(events, [str(seed) for seed in seeds[:5]])
    assert most == 2


@pytest.mark.parametrize(
    ("others", "windows", "spoken"), [(True, 3, ""), (True, 4, "abc"), (False, 3, "abc")]
)
def test_a_gpu_speaks_many_at_once_but_lets_none_wait_for_what_does_not_come(
    others: bool, windows: int, spoken: str, ending: Model
) -> None:
    """Beside a listener: what nobody waits for is gathered while more of it is on its way."""
    batch = ending.batch(4)
    batch._device = SimpleNamespace(type="cuda")  # type: ignore[assignment]
    batch._voicing._batch = 4
    window: Any = None
    batch._pieces = [
        _Piece(name, [window] * (windows - 2 if name == "a" else 1), True, False) for name in "abc"
    ]

    def speech(urgent: bool) -> Any:
        return SimpleNamespace(utterance=SimpleNamespace(stream=urgent, interactive=False))

    batch._speeches = {"listener": speech(True)} | ({"another": speech(False)} if others else {})
    assert "".join(piece.utterance_id for piece in batch._turn()) == spoken


def test_nothing_follows_a_failure_of_a_run_away(
    tiny: Model, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even audio that is still under way."""
    batch, _ = late(tiny, FOR_EVER, monkeypatch)
    same = VoiceState("xtts", voice.arrays, {"checkpoint": tiny.fingerprint})
    ended_once(run(batch, [utterance(same, "a", text="네", stream=True)]), "a")


def test_nothing_follows_a_failure_for_want_of_memory(
    ending: Model, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, _ = late(ending, 3, monkeypatch)
    batch._runner.resize(1)
    batch._scheduler.resize(1)
    monkeypatch.setattr(batch._runner, "start", Trouble(batch._runner.start, NO_MEMORY[0], 9))
    ended_once(run(batch, [utterance(voice, "a", stream=True)]), "a")
