from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.speech.xtts.model import Model
from app.speech.xtts.runner import Job, Runner
from app.speech.xtts.sampling import Sampling

Reference = dict[str, NDArray[Any]]


def job(reference: Reference, number: int, cap: int = 30) -> Job:
    """Jobs of different texts, voices, seeds."""
    text = ("short", "usual", "long")[number % 3]
    name = ("one", "several")[number % 2]
    tokens = reference[f"text/{text}/tokens"].tolist()
    return Job(f"job {number}", tokens, name, reference[f"voice/{name}/latents"], number, cap)


def spoken(runner: Runner, waiting: list[Job], late: int = 0) -> dict[str, tuple[list[int], torch.Tensor]]:
    """Speak jobs until all have ended: as many at once as fit, one more every `late` steps."""
    out, step = {}, 0
    waiting = list(waiting)
    while waiting or runner.rows:
        free = runner.slots - len(runner.rows)
        take = min(free, len(waiting) if not late else int(step % late == 0))
        runner.admit(waiting[:take])
        del waiting[:take]
        for number in reversed(range(len(runner.rows))):
            row = runner.rows[number]
            if row.ended:
                out[row.job.id] = (row.codes, runner.states(number).clone())
                runner.release(number)
        runner.step()
        step += 1
    return out


@pytest.fixture(scope="module")
def alone(ending: Model, reference: Reference) -> dict[str, tuple[list[int], torch.Tensor]]:
    out: dict[str, tuple[list[int], torch.Tensor]] = {}
    for number in range(32):
        out.update(spoken(Runner(ending.gpt, 1, Sampling()), [job(reference, number)]))
    return out


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize(("slots", "late"), [(32, 0), (32, 2), (3, 1)])
def test_the_same_alone_in_a_batch_and_joining_late(
    slots: int, late: int, ahead: int, ending: Model, reference: Reference, alone: dict[str, Any]
) -> None:
    runner = Runner(ending.gpt, slots, Sampling())
    runner._ahead = ahead  # as on a GPU
    batched = spoken(runner, [job(reference, n) for n in range(32)], late)
    assert {name: codes for name, (codes, _) in batched.items()} == {
        name: codes for name, (codes, _) in alone.items()
    }
    for name, (_, states) in batched.items():
        torch.testing.assert_close(states, alone[name][1], atol=1e-4, rtol=1e-4)


def test_seeds_matter_and_lengths_differ(alone: dict[str, Any]) -> None:
    assert len({tuple(codes) for codes, _ in alone.values()}) > 28
    assert len({len(codes) for codes, _ in alone.values()}) > 5


def test_one_pass_gives_coqui_tts_latents(tiny: Model, reference: Reference) -> None:
    """Greedy: codes and the latents that coqui-tts computes in a second pass, from the runner's one."""
    for text in ("short", "usual", "long", "longest"):
        codes = reference[f"text/{text}/codes"].tolist()
        wanted = Job(
            text,
            reference[f"text/{text}/tokens"].tolist(),
            "one",
            reference["voice/one/latents"],
            0,
            len(codes),
        )
        greedy = Sampling(temperature=0)
        ((given, states),) = spoken(Runner(tiny.gpt, 2, greedy), [wanted]).values()
        assert given == codes
        np.testing.assert_allclose(states, reference[f"text/{text}/states"], atol=1e-3)


def test_a_stop_has_a_state_of_its_own(ending: Model, reference: Reference) -> None:
    """coqui-tts speaks the state that predicted the stop as well."""
    runner = Runner(ending.gpt, 8, Sampling())
    runner.admit([job(reference, number, cap=120) for number in range(8)])
    while not any(row.stopped for row in runner.rows):
        runner.step()
    number = next(number for number, row in enumerate(runner.rows) if row.stopped)
    row = runner.rows[number]
    assert len(runner.states(number)) == len(row.codes) + 1
    assert ending.settings.stop_audio not in row.codes


def test_the_longest_utterance(tiny: Model, reference: Reference) -> None:
    cap = tiny.settings.max_codes
    runner = Runner(tiny.gpt, 1, Sampling())
    ((codes, states),) = spoken(runner, [job(reference, 2, cap)]).values()
    assert len(codes) == len(states) == cap


def test_more_than_fit_is_refused(tiny: Model, reference: Reference) -> None:
    runner = Runner(tiny.gpt, 2, Sampling())
    with pytest.raises(ValueError, match="do not fit"):
        runner.admit([job(reference, number) for number in range(3)])


def test_resize_gives_up_all(ending: Model, reference: Reference, alone: dict[str, Any]) -> None:
    runner = Runner(ending.gpt, 8, Sampling())
    runner.admit([job(reference, number) for number in range(8)])
    runner.resize(2)
    assert (runner.rows, runner.slots) == ([], 2)
    assert spoken(runner, [job(reference, 3)])["job 3"][0] == alone["job 3"][0]


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_leaving_in_any_order_disturbs_nobody(
    data: st.DataObject, ending: Model, reference: Reference, alone: dict[str, Any]
) -> None:
    runner = Runner(ending.gpt, 4, Sampling())
    runner._ahead = data.draw(st.integers(0, 1), label="ahead")
    numbers, step = list(range(12)), 0
    while numbers or runner.rows:
        for number in reversed(range(len(runner.rows))):
            row = runner.rows[number]
            if row.ended:
                assert row.codes == alone[row.job.id][0]
                runner.release(number)
        if runner.rows and data.draw(st.integers(0, 5), label="cancel") == 0:
            runner.release(data.draw(st.integers(0, len(runner.rows) - 1)))
        room = min(4 - len(runner.rows), len(numbers))
        admitted = data.draw(st.integers(0 if runner.rows else room, room), label="admit")
        runner.admit([replace(job(reference, numbers.pop())) for _ in range(admitted)])
        if not any(row.ended for row in runner.rows):
            runner.step()
        step += 1


@torch.inference_mode()
def test_a_recorded_step_of_a_bucket_is_the_same(
    ending: Model, reference: Reference, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU replays: more rows than are spoken in, and a longer cache; without recording, on the CPU."""
    runner, buckets = Runner(ending.gpt, 6, Sampling()), set()
    runner._allocate()
    runner._cache.fit(288, 0)

    def record(bucket: int, work: Any) -> Any:
        buckets.add(bucket)
        return SimpleNamespace(replay=lambda: work(bucket))

    monkeypatch.setattr(runner, "_fit", lambda *_: None)
    monkeypatch.setattr(runner, "_record", record)
    monkeypatch.setattr(runner, "_next_codes", None)
    monkeypatch.setattr(runner, "_begin", runner._replay)
    batched = spoken(runner, [job(reference, number) for number in range(12)], late=3)
    assert {name: codes for name, (codes, _) in batched.items()} == {name: alone[name][0] for name in batched}
    assert len(batched) == 12
    assert buckets >= {1, 2, 4}
