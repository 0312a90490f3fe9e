"""One suite over both: the kernels on a GPU, and where there is none in Triton's interpreter."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.gpt import Gpt
from app.speech.xtts.gpu import layers
from app.speech.xtts.linear import Precision
from tests.speech.xtts.gpu.devices import CUDA, DEVICE, PRECISIONS

# Triton is there where PyTorch can use a GPU.
collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["*.py"]


@pytest.fixture(scope="session", autouse=True)
def wide_tiles() -> Iterator[None]:
    """To the interpreter a wide tile costs hardly more than a narrow one, and there are fewer of them."""
    from app.speech.xtts.gpu import generator

    def of_product(outputs: int, inputs: int, dtype: torch.dtype, tokens: int) -> layers.Tiles:
        return layers.Tiles(16, 64 if outputs % 64 == 0 else 1024, 64, 4, 1)

    def of_convolution(inputs: int, outputs: int, dtype: torch.dtype) -> generator.Tiles:
        return generator.Tiles(2048, 16 * -(-outputs // 16), 16, 4, 1)

    with pytest.MonkeyPatch.context() as patch:
        if not CUDA:
            patch.setattr(layers, "tiles_of", of_product)
            patch.setattr(generator, "tiles_of", of_convolution)
        yield


@pytest.fixture(scope="session", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    return request.param


@pytest.fixture(scope="session")
def gpt(precision: Precision, tiny_folder: Path) -> Gpt:
    """The tiny checkpoint's, by the kernels."""
    return by_kernels(tiny_folder, precision)


def by_kernels(folder: Path, precision: Precision) -> Gpt:
    opened = open_checkpoint(folder)
    with pytest.MonkeyPatch.context() as patch:
        if not CUDA:
            patch.setattr(layers, "supported", lambda *_: True)
        gpt = Gpt(opened.weights, opened.settings, precision, DEVICE)
    assert gpt.paged
    return gpt
