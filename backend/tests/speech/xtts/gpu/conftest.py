"""One suite over both: the kernels on a GPU, and where there is none in Triton's interpreter."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.gpt import Gpt
from app.speech.xtts.gpu import layers
from app.speech.xtts.gpu.cache import PAGE, PagedCache
from app.speech.xtts.linear import Precision
from tests.speech.xtts.gpu.devices import CPU, CUDA, PRECISIONS, by_kernels

# Triton is there where PyTorch can use a GPU.
collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["*.py"]


@pytest.fixture(scope="session", autouse=True)
def quicker_interpreter() -> Iterator[None]:
    """A wide tile costs it hardly more than a narrow one, and there are fewer of them; and it is not to look for
    overflows in every sum. bf16 it knows as bits only: it is taught to round to it and to multiply it."""
    if CUDA:
        yield
        return
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle, interpreter_builder

    from app.speech.xtts.gpu import generator

    def of_product(outputs: int, inputs: int, dtype: torch.dtype, tokens: int) -> layers.Tiles:
        return layers.Tiles(16, 64 if outputs % 64 == 0 else 1024, 64, 4, 1)

    def of_convolution(inputs: int, outputs: int, dtype: torch.dtype) -> generator.Tiles:
        return generator.Tiles(2048, 16 * -(-outputs // 16), 16, 4, 1)

    def wide(x: Any) -> Any:
        bits = x.data.astype(np.uint32) << 16 if x.dtype.scalar == tl.bfloat16 else None
        return x if bits is None else TensorHandle(bits.view(np.float32), tl.float32)

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return dot(self, wide(a), wide(b), *rest)

    def cast_impl(self: Any, x: Any, to: Any) -> Any:
        if x.dtype.scalar != tl.float32 or to.scalar != tl.bfloat16:
            return cast(self, x, to)
        rounded = torch.from_numpy(x.data.copy()).bfloat16().view(torch.int16)
        return TensorHandle(rounded.numpy().view(np.uint16), tl.bfloat16)

    dot, cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpreterBuilder, "create_dot", create_dot)
        patch.setattr(InterpreterBuilder, "cast_impl", cast_impl)
        patch.setattr(layers, "tiles_of", of_product)
        patch.setattr(generator, "tiles_of", of_convolution)
        options = dataclasses.replace(interpreter_builder.options, sanitize_overflow=False)
        patch.setattr(interpreter_builder, "options", options)
        yield


@pytest.fixture(scope="session", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    return request.param


@pytest.fixture(scope="session")
def gpt(precision: Precision, tiny_folder: Path) -> Gpt:
    """The tiny checkpoint's, by the kernels."""
    return by_kernels(tiny_folder, precision)


@pytest.fixture(scope="session")
def paged(ending_folder: Path) -> Gpt:
    """A stand-in on the CPU, quick for many steps: a token becomes the mean of what its row's pages hold up to it."""
    gpt, opened = by_kernels(ending_folder, "fp32", CPU), open_checkpoint(ending_folder)
    head = Gpt(opened.weights, opened.settings, "fp32", CPU)

    def read(x: Tensor, cache: PagedCache, rows: Tensor, positions: Tensor) -> Tensor:
        kept = cache.blocks[0, 0].transpose(1, 2)  # (pages, PAGE, heads, head)
        pages = cache.table[rows.long(), positions.long() // PAGE].long()
        kept[pages, positions.long() % PAGE] = x.view(len(x), *kept.shape[2:])
        known = [
            kept[cache.table[row].long()].flatten(0, 1)[: position + 1].flatten(1).mean(0)
            for row, position in zip(rows.tolist(), positions.tolist(), strict=True)
        ]
        return x + torch.stack(known)

    fast: Any = gpt._fast
    fast.read, fast.states_and_logits = read, head.states_and_logits
    return gpt
