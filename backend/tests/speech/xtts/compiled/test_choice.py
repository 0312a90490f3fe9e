from __future__ import annotations

from collections.abc import Callable
from math import inf, nan

import pytest
import torch

from app.speech.xtts.compiled.choice import sample
from app.speech.xtts.sampling import Sampling
from tests.speech.xtts.choices import CHECKS, Choose, as_drawn, made


@pytest.mark.parametrize("check", CHECKS)
def test_choice(check: Callable[[Choose], None]) -> None:
    check(sample)


def test_rows_that_do_not_follow_each_other() -> None:
    logits, seen, draw = made(8, 1056)
    apart, kept = logits[:, :1026], seen[:, :1026]
    codes = sample(apart, kept, draw, Sampling())
    assert torch.equal(codes, sample(apart.contiguous(), kept.contiguous(), draw, Sampling()))
    assert torch.equal(codes, sample(apart.t().contiguous().t(), kept, draw, Sampling()))
    assert as_drawn(codes, apart, kept, draw, Sampling()).all()


@pytest.mark.parametrize("descending", [True, False])
def test_scores_in_order(descending: bool) -> None:
    logits = torch.linspace(0, 9, 1026).sort(descending=descending)[0].repeat(50, 1)
    seen, draw = logits.isnan(), torch.arange(50) / 50
    codes = sample(logits, seen, draw, Sampling(top_p=1.0))
    assert as_drawn(codes, logits, seen, draw, Sampling(top_p=1.0)).all()
    assert len(codes.unique()) > 3


def test_of_equals_the_first_comes_first() -> None:
    logits, sampling = torch.zeros(4, 100), Sampling(top_k=4, top_p=1.0)
    logits[:, 3] = -1.0
    draws = torch.tensor([0.1, 0.3, 0.6, 0.9])
    assert sample(logits, logits > 0, draws, sampling).tolist() == [0, 1, 2, 4]


def test_numbers_that_are_none() -> None:
    logits = torch.full((3, 40), nan)
    logits[1] = -inf
    logits[2, 7] = 1.0
    codes = sample(logits, torch.zeros(3, 40, dtype=torch.bool), torch.full((3,), 0.9), Sampling())
    assert codes.tolist() == [39, 39, 7]
