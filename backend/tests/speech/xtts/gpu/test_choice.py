from __future__ import annotations

import pytest
import torch
from torch import Tensor

from app.speech.xtts.gpu.choice import sample
from app.speech.xtts.sampling import Sampling, candidates, penalise
from tests.speech.xtts.gpu.devices import DEVICE, seeded

SETTINGS = {
    "usual": Sampling(),
    "the likeliest": Sampling(top_k=1),
    "of all": Sampling(top_k=2000, top_p=1.0, repetition_penalty=1.0),
    "of few": Sampling(top_k=7, temperature=1.5, top_p=0.95, repetition_penalty=2.0),
    "of the best": Sampling(temperature=0.3, top_p=0.1),
}
LEAST, MOST = 0.0, 1.0 - 2**-24  # of what can be drawn


def made(rows: int, codes: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, what was seen, and draws with the least and the most of all among them."""
    random = seeded(seed)
    logits = 2 * torch.randn(rows, codes, generator=random) - 1
    seen = torch.rand(rows, codes, generator=random)
    draw = torch.rand(rows, generator=random)
    draw[:2] = torch.tensor([LEAST, MOST])
    return logits, seen < 0.3, draw


def chosen(logits: Tensor, seen: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    return sample(logits.to(DEVICE), seen.to(DEVICE), draw.to(DEVICE), sampling).cpu()


def as_drawn(codes: Tensor, logits: Tensor, seen: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    """Whether each row's code is one that its draw falls on, but for rounding; of those that are equally likely,
    any will do."""
    probabilities, by_rank = candidates(logits, seen, sampling)
    scores = penalise(logits, seen, sampling.repetition_penalty)
    same = scores.gather(1, by_rank) == scores.gather(1, codes[:, None])
    upper = probabilities.cumsum(-1)
    hit = (upper - probabilities - 1e-5 <= draw[:, None]) & (draw[:, None] <= upper + 1e-5)
    return (same & hit & (probabilities > 0)).any(-1)


@pytest.mark.parametrize("sampling", SETTINGS.values(), ids=SETTINGS)
def test_as_pytorch(sampling: Sampling) -> None:
    given = made(8, 100)
    codes = chosen(*given, sampling)
    assert as_drawn(codes, *given, sampling).all()
    alone = chosen(*(each[5:6] for each in given), sampling)
    assert alone.tolist() == [codes[5]]


def test_of_as_many_codes_as_there_are() -> None:
    given = made(2, 1026)
    assert as_drawn(chosen(*given, Sampling()), *given, Sampling()).all()


def test_the_first_and_the_last_that_is_left() -> None:
    logits = torch.arange(100) / 10
    logits, draw = logits.repeat(2, 1), torch.tensor([LEAST, MOST])
    assert chosen(logits, logits < 0, draw, Sampling(top_k=7, top_p=1.0)).tolist() == [99, 93]


def test_of_equals_one_is_chosen() -> None:
    logits, seen, draw = made(6, 100)
    logits = logits.div(4).round()
    assert as_drawn(chosen(logits, seen, draw, Sampling()), logits, seen, draw, Sampling()).all()
    alike = torch.full((2, 100), 2.0)
    assert (chosen(alike, alike < 0, draw[:2], Sampling()) < 100).all()
