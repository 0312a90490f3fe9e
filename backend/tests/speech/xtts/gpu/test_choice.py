from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from app.speech.xtts.gpu.choice import sample
from app.speech.xtts.sampling import Sampling
from tests.speech.xtts.choices import CHECKS, Choose
from tests.speech.xtts.gpu.devices import DEVICE


def chosen(logits: Tensor, seen: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    return sample(logits.to(DEVICE), seen.to(DEVICE), draw.to(DEVICE), sampling).cpu()


@pytest.mark.parametrize("check", CHECKS)
def test_choice(check: Callable[[Choose], None]) -> None:
    check(chosen)
