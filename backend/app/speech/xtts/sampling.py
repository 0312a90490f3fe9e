"""Choosing the next code of every row at once.

The order is Hugging Face's, which coqui-tts inherits: repetition penalty, temperature, top-k, top-p. Each
row draws with a number of its own, taken from its request's seed and the step alone, so that a request's
audio does not depend on what it is batched with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from app.speech.xtts import gpu
from app.speech.xtts.compiled import choice, library

_compiled = cache(library.supported)  # which looks every time


@dataclass(frozen=True, slots=True)
class Sampling:
    """`temperature` 0 takes the likeliest code."""

    temperature: float = 0.75
    top_k: int = 50
    top_p: float = 0.85
    repetition_penalty: float = 5.0

    def most(self, codes: int) -> int:
        """How many of so many codes top-k leaves: all of them where it is 0, as at Hugging Face's."""
        return min(self.top_k, codes) if self.top_k > 0 else codes


def draws(seed: int, steps: int) -> Tensor:
    """The numbers in [0, 1) that a request draws with, one a step: (steps,). A counter-based generator."""
    generator = np.random.Generator(np.random.Philox(key=seed % 2**128))
    return torch.from_numpy(generator.random(steps, dtype=np.float32))


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make codes that were there less likely: logits (rows, codes), seen (rows, codes) of bool."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def candidates(logits: Tensor, seen: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """(probabilities, codes), both (rows, top_k), likeliest first; what top-p leaves out has 0."""
    scores = penalise(logits, seen, sampling.repetition_penalty)
    if sampling.temperature > 0:
        scores = scores / sampling.temperature
    top, codes = scores.topk(sampling.most(scores.shape[-1]), dim=-1)
    probabilities = top.softmax(-1)
    # A code stays while it and the less likely ones weigh more than what may be cut off.
    tail = probabilities.flip(-1).cumsum(-1).flip(-1)
    kept = tail > 1.0 - sampling.top_p
    kept[:, 0] = True
    probabilities = probabilities * kept
    return probabilities / probabilities.sum(-1, keepdim=True), codes


def sample(logits: Tensor, seen: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    """Codes (rows,) from fp32 logits (rows, codes), what each row has seen, and its number `draw` (rows,)."""
    if _compiled(logits.device):
        return choice.sample(logits, seen, draw, sampling)
    if sampling.temperature <= 0:
        return penalise(logits, seen, sampling.repetition_penalty).argmax(-1)
    if gpu.usable(logits.device):
        from app.speech.xtts.gpu.choice import sample as on_gpu

        return on_gpu(logits, seen, draw, sampling)
    probabilities, codes = candidates(logits, seen, sampling)
    place = (probabilities.cumsum(-1) <= draw[:, None]).sum(-1, keepdim=True)
    # Rounding can leave the last sum under 1, and a draw above it: take the last code that is left.
    last = (probabilities > 0).sum(-1, keepdim=True) - 1
    return codes.gather(1, torch.minimum(place, last))[:, 0]
