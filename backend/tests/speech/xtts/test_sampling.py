from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.speech.xtts import sampling
from app.speech.xtts.sampling import Sampling, candidates, draws, sample
from tests.speech.xtts.choices import CHECKS, Choose


def test_probabilities_as_hugging_face(reference: dict[str, NDArray[Any]]) -> None:
    logits = torch.from_numpy(reference["sampling/logits"])
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    seen.scatter_(1, torch.from_numpy(reference["sampling/seen"]), True)
    probabilities, codes = candidates(logits, seen, Sampling())
    spread = torch.zeros(logits.shape).scatter_(1, codes, probabilities)
    np.testing.assert_allclose(spread, reference["sampling/probabilities"], atol=1e-6)


@pytest.mark.parametrize("check", CHECKS)
def test_choice_by_pytorch(check: Callable[[Choose], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_compiled", lambda device: False)
    check(sample)


def test_draws_follow_the_distribution() -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(1)).repeat(20000, 1)
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    chosen = sample(logits, seen, draws(3, 20000), Sampling())
    probabilities, codes = candidates(logits[:1], seen[:1], Sampling())
    expected = torch.zeros(40).scatter_(0, codes[0], probabilities[0])
    torch.testing.assert_close(chosen.bincount(minlength=40) / 20000, expected, atol=0.015, rtol=0)


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0 - 2**-24])
def test_any_draw_gives_a_code_that_is_left(draw: float) -> None:
    logits = 8 * torch.randn(64, 1026, generator=torch.Generator().manual_seed(2))
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    probabilities, codes = candidates(logits, seen, Sampling())
    left = torch.zeros(logits.shape, dtype=torch.bool).scatter_(1, codes, probabilities > 0)
    chosen = sample(logits, seen, torch.full((64,), draw), Sampling())
    assert bool(left.gather(1, chosen[:, None]).all())


def test_seen_codes_are_avoided() -> None:
    logits = torch.zeros(1, 10)
    logits[0, :2] = torch.tensor([3.0, 2.5])
    seen = torch.zeros(1, 10, dtype=torch.bool)
    greedy = Sampling(temperature=0, repetition_penalty=2.0)
    assert int(sample(logits, seen, torch.zeros(1), greedy)) == 0
    seen[0, 0] = True
    assert int(sample(logits, seen, torch.zeros(1), greedy)) == 1


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(-(2**63), 2**128), rows=st.integers(1, 9), place=st.integers(0, 8))
def test_a_row_does_not_depend_on_its_neighbours(seed: int, rows: int, place: int) -> None:
    place %= rows
    noise = torch.Generator().manual_seed(abs(seed) % 2**32)
    logits = 4 * torch.randn(rows, 100, generator=noise)
    seen = torch.rand(rows, 100, generator=noise) < 0.3
    draw = draws(seed, rows)
    together = sample(logits, seen, draw, Sampling())
    alone = sample(logits[place : place + 1], seen[place : place + 1], draw[place : place + 1], Sampling())
    assert int(together[place]) == int(alone[0])


def test_draws_depend_on_seed_and_step_alone() -> None:
    assert torch.equal(draws(5, 10), draws(5, 20)[:10])
    assert not torch.equal(draws(5, 10), draws(6, 10))
    assert not torch.equal(draws(5, 10), draws(5 + 2**64, 10))
    assert bool(((draws(7, 1000) >= 0) & (draws(7, 1000) < 1)).all())
