"""The weights of a product as weights.h says: by weights.c, and in fp32 and fp16 by PyTorch."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from app.speech.xtts import pages
from app.speech.xtts.compiled import library
from app.speech.xtts.compiled.library import LANES, PANEL, Team

if TYPE_CHECKING:
    from app.speech.xtts.linear import Precision

# bf16 is whole numbers there: nearer to fp32 than bf16 is, and as fast or (on Intel) four times as fast.
CODES = {"fp32": 0, "bf16": 1, "int8": 2, "fp16": 3}
BITS = {"fp32": 32.0, "bf16": 9.625, "int8": 8.125}  # of a weight and its share of a scale
_BLOCK = 128  # inputs of one scale
_UNIT, _KEPT = 32, 19  # of bf16: inputs that are packed together, and the vectors that they are kept in


def packed(
    weight: Tensor, bias: Tensor, precision: Precision | Literal["fp16"], team: Team
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A product's (cells, bias, scales) of `weight` (outputs, inputs); fp32 and fp16 have no scales."""
    outputs, inputs = weight.shape
    weight, bias = weight.float().contiguous(), bias.float().clone()
    if precision in ("fp32", "fp16"):
        dtype = torch.float32 if precision == "fp32" else torch.float16
        panels = weight.to(dtype).view(outputs // PANEL, PANEL, inputs).transpose(1, 2)
        return panels.clone(memory_format=torch.contiguous_format), bias, None
    shape = (inputs // 4, PANEL) if precision == "int8" else (inputs // _UNIT, _KEPT, LANES)
    cells = pages.zeros((outputs // PANEL, *shape), torch.int32)
    scales = torch.empty(outputs // PANEL, -(-inputs // _BLOCK), PANEL, dtype=torch.bfloat16)
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (weight, cells, scales)]
    pack = library.library().pack
    if not pack(team.handle, *pointers, outputs, inputs, CODES[precision], torch.get_num_threads()):
        raise MemoryError
    return cells, bias, scales
