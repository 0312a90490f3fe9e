"""Similarities measured together are those measured one by one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.measuring import _COUNTS, _GRAIN, _MOST_SECONDS, Measuring, Together, _passes
from app.speech.xtts.speaker import RATE, SpeakerEncoder
from app.speech.xtts.spectrum import resample
from tests.speech.xtts.checkpoints import recording

CPU = torch.device("cpu")
# Shorter than a frame's half, odd, as long as a multiple of what lengths are rounded to, and longer.
SECONDS = (0.1, 0.37, 1.999, 2.0, 3.3, 5.3)


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> SpeakerEncoder:
    return SpeakerEncoder(open_checkpoint(tiny_folder).weights.under("hifigan_decoder.speaker_encoder"), CPU)


@pytest.mark.parametrize("rate", [24_000, 22_050, RATE])
def test_each_clip_is_as_if_it_were_alone(encoder: SpeakerEncoder, rate: int) -> None:
    clips = [torch.from_numpy(recording(n, seconds, rate)) for n, seconds in enumerate(SECONDS)]
    with torch.inference_mode():
        alone = [encoder(resample(clip, rate, RATE)) for clip in clips]
    measuring = Measuring(encoder, CPU)
    with ThreadPoolExecutor(len(clips)) as pool:
        together = list(pool.map(lambda clip: measuring(clip, rate), clips))
    for one, other in zip(together, alone, strict=True):
        assert (one - other).norm() < 1e-5


def test_clips_of_different_rates_are_not_mixed_up(encoder: SpeakerEncoder) -> None:
    clips = [
        (torch.from_numpy(recording(n, 1.0 + n / 7, rate)), rate) for n, rate in enumerate((RATE, 24_000) * 9)
    ]
    with torch.inference_mode():
        alone = [encoder(resample(clip, rate, RATE)) for clip, rate in clips]
    for one, other in zip(Measuring(encoder, CPU)._embed(clips), alone, strict=True):
        assert (one - other).norm() < 1e-5


@given(st.lists(st.tuples(st.floats(0.05, 200.0), st.sampled_from([16_000, 24_000])), max_size=60))
def test_every_clip_is_in_one_pass_and_passes_are_small(clips: list[tuple[float, int]]) -> None:
    passes = _passes(clips)
    assert sorted(number for numbers, _ in passes for number in numbers) == list(range(len(clips)))
    for numbers, rate in passes:
        assert {clips[number][1] for number in numbers} == {rate}
        count = next(each for each in _COUNTS if each >= len(numbers))
        longest = max(clips[number][0] for number in numbers)
        assert count == 1 or count * (longest // _GRAIN) * _GRAIN <= _MOST_SECONDS


def test_what_comes_while_one_is_worked_on_is_next_together() -> None:
    lots: list[list[int]] = []
    began, go = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        lots.append(list(items))
        began.set()
        assert go.wait(20)
        return [item * 10 for item in items]

    together = Together(work, most=4, pause=0.0)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(together, 0)
        assert began.wait(20)
        others = [pool.submit(together, number) for number in range(1, 7)]
        while len(together._waiting) < 6:
            pass
        go.set()
        assert [each.result(20) for each in (first, *others)] == [0, 10, 20, 30, 40, 50, 60]
    assert [len(lot) for lot in lots] == [1, 4, 2]


def test_nobody_fails_for_a_neighbour() -> None:
    go = threading.Event()

    def work(items: Sequence[int]) -> list[float]:
        assert go.wait(20)
        return [1 / item for item in items]

    together = Together(work, most=8, pause=0.0)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(together, number) for number in (1, 0, 2, 4)]
        go.set()
        with pytest.raises(ZeroDivisionError):
            asked[1].result(20)
        assert [asked[n].result(20) for n in (0, 2, 3)] == [1, 0.5, 0.25]


def test_without_a_thread_a_call_fails_and_the_next_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    together = Together(list, most=4, pause=0.0)

    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="new thread"):
        patched.setattr(threading.Thread, "start", refuse)
        together(1)
    assert together(2) == 2


def test_one_by_one_nobody_waits_for_others() -> None:
    together = Together(list, most=8, pause=0.0)
    assert [together(number) for number in range(3)] == [0, 1, 2]
