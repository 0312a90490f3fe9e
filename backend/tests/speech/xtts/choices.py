"""What every way of choosing codes has to do: one suite, whatever chooses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from app.speech.xtts.sampling import Sampling, candidates, penalise

Choose = Callable[[Tensor, Tensor, Tensor, Sampling], Tensor]
SETTINGS = {
    "usual": Sampling(),
    "the likeliest": Sampling(top_k=1),
    "of all": Sampling(top_k=2000, top_p=1.0, repetition_penalty=1.0),
    "of all, said otherwise": Sampling(top_k=0, top_p=0.9),
    "of few": Sampling(top_k=7, temperature=1.5, top_p=0.95, repetition_penalty=2.0),
    "of the best": Sampling(temperature=0.3, top_p=0.1),
}
LEAST, MOST = 0.0, 1.0 - 2**-24  # of what can be drawn


def made(rows: int, codes: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, what was seen, and draws with the least and the most of all among them."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, codes, generator=random) - 1
    seen = torch.rand(rows, codes, generator=random)
    draw = torch.rand(rows, generator=random)
    draw[:2] = torch.tensor([LEAST, MOST])
    return logits, seen < 0.3, draw


def as_drawn(codes: Tensor, logits: Tensor, seen: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    """Whether each row's code is one that its draw falls on, but for rounding; of those that are equally likely,
    any will do."""
    probabilities, by_rank = candidates(logits, seen, sampling)
    scores = penalise(logits, seen, sampling.repetition_penalty)
    same = scores.gather(1, by_rank) == scores.gather(1, codes[:, None])
    upper = probabilities.cumsum(-1)
    hit = (upper - probabilities - 1e-5 <= draw[:, None]) & (draw[:, None] <= upper + 1e-5)
    return (same & hit & (probabilities > 0)).any(-1)


def each_setting_as_it_says(choose: Choose) -> None:
    for sampling in SETTINGS.values():
        given = made(8, 100)
        codes = choose(*given, sampling)
        assert as_drawn(codes, *given, sampling).all(), sampling
        assert choose(*(each[5:6] for each in given), sampling).tolist() == [codes[5]]


def as_many_codes_as_there_are(choose: Choose) -> None:
    given = made(2, 1026)
    assert as_drawn(choose(*given, Sampling()), *given, Sampling()).all()


def the_first_and_the_last_that_is_left(choose: Choose) -> None:
    logits = torch.arange(100) / 10
    logits, draw = logits.repeat(2, 1), torch.tensor([LEAST, MOST])
    assert choose(logits, logits < 0, draw, Sampling(top_k=7, top_p=1.0)).tolist() == [99, 93]


def one_of_equals(choose: Choose) -> None:
    logits, seen, draw = made(6, 100)
    logits = logits.div(4).round()
    assert as_drawn(choose(logits, seen, draw, Sampling()), logits, seen, draw, Sampling()).all()
    alike = torch.full((2, 100), 2.0)
    assert (choose(alike, alike < 0, draw[:2], Sampling()) < 100).all()


CHECKS = (
    each_setting_as_it_says,
    as_many_codes_as_there_are,
    the_first_and_the_last_that_is_left,
    one_of_equals,
)
