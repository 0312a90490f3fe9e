"""Where the kernels run in tests: on a GPU, or else in Triton's interpreter, which is slow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.gpt import Gpt
from app.speech.xtts.gpu import layers
from app.speech.xtts.linear import Precision

CUDA = torch.cuda.is_available()
if not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # Triton looks when the kernels are imported
CPU = torch.device("cpu")
DEVICE = torch.device("cuda") if CUDA else CPU
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """The same numbers on every device."""
    return torch.randn(shape, generator=seeded(seed)).to(DEVICE)


def error(x: torch.Tensor, expected: torch.Tensor) -> float:
    """Of the whole, relative to what was expected."""
    x, expected = x.double().cpu(), expected.double().cpu()
    return float((x - expected).norm() / expected.norm())


def by_kernels(folder: Path, precision: Precision, device: torch.device = DEVICE) -> Gpt:
    """A checkpoint's GPT by the kernels, wherever that is."""
    opened = open_checkpoint(folder)
    with pytest.MonkeyPatch.context() as patch:
        if device.type != "cuda":
            patch.setattr(layers, "supported", lambda *_: True)
        gpt = Gpt(opened.weights, opened.settings, precision, device)
    assert gpt.paged
    return gpt
