"""The runner over pages: a few utterances by the kernels, and whatever comes and goes by a stand-in for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.gpt import Gpt
from app.speech.xtts.gpu.cache import PAGE, PagedCache
from app.speech.xtts.linear import Precision
from app.speech.xtts.runner import Job, Runner
from app.speech.xtts.sampling import Sampling
from tests.speech.xtts.gpu.devices import CPU, CUDA, error
from tests.speech.xtts.test_runner import spoken

Reference = dict[str, NDArray[Any]]
Spoken = dict[str, tuple[list[int], Tensor]]
CAPS = (6, 3, 5, 1, 4)


def job(reference: Reference, number: int, cap: int | None = None) -> Job:
    """Short ones, some of which end in another page than they begin in."""
    tokens = reference["text/usual/tokens"][: 1 + 2 * number % 5].tolist()
    latents = reference["voice/one/latents"][:24]
    return Job(f"job {number}", tokens, "one", latents, number, CAPS[number % 5] if cap is None else cap)


def same(some: Spoken, others: Spoken) -> bool:
    """Codes, and states to the bit."""
    return all(
        codes == others[name][0] and torch.equal(states, others[name][1])
        for name, (codes, states) in some.items()
    )


def left(runner: Runner) -> int:
    """Positions of the room that nobody has."""
    assert isinstance(runner._cache, PagedCache)
    return PAGE * len(runner._cache._free)


@pytest.fixture(scope="module")
def alone(gpt: Gpt, reference: Reference) -> Spoken:
    """One after the other, nothing recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "_recording", False)
        return spoken(Runner(gpt, 1, Sampling()), [job(reference, number) for number in range(5)])


def test_codes_as_pytorch(
    alone: Spoken, precision: Precision, tiny_folder: Path, reference: Reference
) -> None:
    opened = open_checkpoint(tiny_folder)
    plain = Runner(Gpt(opened.weights, opened.settings, "fp32", CPU), 1, Sampling())
    expected = spoken(plain, [job(reference, number) for number in range(5)])
    for name, (codes, states) in expected.items():
        if precision == "fp32":
            assert alone[name][0] == codes
            torch.testing.assert_close(alone[name][1].cpu(), states, atol=1e-4, rtol=0)
        else:  # codes may differ soon
            assert error(alone[name][1][0], states[0]) < 0.02


def test_the_same_bits_alone_and_in_a_batch_joining_late(
    gpt: Gpt, reference: Reference, alone: Spoken
) -> None:
    """On a GPU also recorded and not, and recorded beside others that are being spoken."""
    runner = Runner(gpt, 3, Sampling())
    assert same(spoken(runner, [job(reference, number) for number in range(5)], late=1), alone)
    assert left(runner) == runner.room
    assert not runner._cache.table.any()


def test_the_same_bits_in_recordings_for_more(
    gpt: Gpt, reference: Reference, alone: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are recorded for some numbers of rows, and prompts for some numbers of tokens."""
    runner, sizes = Runner(gpt, 8, Sampling()), set()

    def recorded(size: int, work: Any) -> Any:
        sizes.add((work.__name__, size))
        return SimpleNamespace(replay=lambda: work(size))

    if CUDA:
        runner.prepare()
        graphs = dict(runner._graphs)
    else:
        monkeypatch.setattr(Runner, "_recording", True)
        monkeypatch.setattr(Runner, "_lot", staticmethod(lambda tokens: -(-tokens // 16) * 16))
        monkeypatch.setattr(runner, "_record", recorded)
        runner._ahead = 1
    assert same(spoken(runner, [job(reference, number) for number in range(3)]), alone)
    assert left(runner) == runner.room
    if CUDA:
        assert runner._graphs == graphs, "something was left to be recorded"
    else:
        assert sizes == {("_read", 32), ("_decode", 4), ("_decode", 2), ("_decode", 1)}


if CUDA:

    def test_recording_changes_nothing_of_what_is_spoken(
        gpt: Gpt, reference: Reference, alone: Spoken
    ) -> None:
        runner = Runner(gpt, 8, Sampling())
        runner.admit([job(reference, 0), job(reference, 2)])
        runner.step()
        buffers = [runner._code, runner._count, runner._lengths, runner._seen, runner._draws]
        kept = [buffer.clone() for buffer in buffers]
        with torch.inference_mode():
            for rows in (8, 4):
                runner._recorded(rows, runner._decode)
        assert all(torch.equal(buffer, old) for buffer, old in zip(buffers, kept, strict=True))
        assert same(spoken(runner, []), alone)


@pytest.fixture(scope="module")
def each(paged: Gpt, reference: Reference) -> Spoken:
    out: Spoken = {}
    for number in range(10):
        out |= spoken(Runner(paged, 1, Sampling()), [job(reference, number, 12 + 9 * number)])
    assert len({len(codes) for codes, _ in out.values()}) > 5
    return out


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_whatever_comes_and_goes_each_has_pages_of_its_own(
    data: st.DataObject, paged: Gpt, reference: Reference, each: Spoken
) -> None:
    runner = Runner(paged, 4, Sampling(), 0)
    runner._ahead = data.draw(st.integers(0, 1), label="ahead")
    waiting = [job(reference, number, 12 + 9 * number) for number in range(10)]
    while waiting or runner.rows:
        for number in reversed(range(len(runner.rows))):
            row = runner.rows[number]
            if row.ended:
                codes, states = each[row.job.id]
                assert row.codes == codes
                torch.testing.assert_close(runner.states(number), states, atol=1e-5, rtol=0)
                runner.release(number)
        if runner.rows and data.draw(st.integers(0, 9), label="cancel") == 0:
            runner.release(data.draw(st.integers(0, len(runner.rows) - 1)))
        room = runner.room - sum(runner.takes(row.job) for row in runner.rows)
        if runner._allocated:
            assert left(runner) == room
        if waiting and len(runner.rows) < 4 and runner.takes(waiting[-1]) <= room:
            runner.admit([waiting.pop()])
        if not any(row.ended for row in runner.rows):
            runner.step()
    assert left(runner) == runner.room


def test_a_job_takes_what_is_reserved_for_it(paged: Gpt, reference: Reference) -> None:
    runner = Runner(paged, 4, Sampling(), 0)
    sizes = [runner.takes(job(reference, number, cap)) for number, cap in ((0, 122), (1, 90), (3, 1))]
    assert sizes == [5 * PAGE, 4 * PAGE, PAGE]
    assert runner.room == 9 * PAGE
    runner.admit([job(reference, 0, 122), job(reference, 1, 90)])
    assert left(runner) == 0
    with pytest.raises(ValueError, match="0 are free"):
        runner._cache.reserve(2, [1])
    runner.release(0)
    assert left(runner) == 5 * PAGE
    runner.admit([job(reference, 3, 1)])
    assert left(runner) == 4 * PAGE


def test_the_longest_has_room_in_any_number_of_slots(paged: Gpt, reference: Reference) -> None:
    most = paged.settings
    longest = Job("", [5] * (most.max_text - 1), "one", reference["voice/one/latents"], 0, most.max_codes)
    for slots, room in ((8, 8 * 640), (8, 0), (8, None), (1, 0)):
        runner = Runner(paged, slots, Sampling(), room)
        before, size = runner.room, runner.takes(longest)
        assert before >= (room or size)
        while slots > 1:
            slots //= 2
            runner.resize(slots)
            assert runner.room == max(runner._longest, before * slots // 8)
            assert runner.room >= size
    runner.admit([longest])


def test_resize_gives_all_pages_back(paged: Gpt, reference: Reference, each: Spoken) -> None:
    runner = Runner(paged, 4, Sampling(), 4 * 640)
    runner.admit([job(reference, number, 12 + 9 * number) for number in range(4)])
    runner.step()
    runner.resize(2)
    assert same(spoken(runner, [job(reference, 3, 12 + 27)]), each)
    assert left(runner) == runner.room == 2 * 640


def test_without_pages_there_is_no_room_to_share(tiny_folder: Path, reference: Reference) -> None:
    opened = open_checkpoint(tiny_folder)
    runner = Runner(Gpt(opened.weights, opened.settings, "fp32", CPU), 4, Sampling(), 4 * 640)
    assert (runner.room, runner.takes(job(reference, 0))) == (0, 0)
