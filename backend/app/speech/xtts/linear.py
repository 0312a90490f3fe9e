"""A matrix product in the form that is fastest where it runs.

On the CPU, oneDNN wants a weight in its own blocked layout; given a plain one it rearranges all of it at
every call, which for one row costs several times the product itself. So each weight is packed once, by the
operators that `torch.compile` emits for frozen weights. On a GPU the plain product is right.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Precision = Literal["fp32", "bf16", "int8"]
_PACKED_FOR_ROWS = 16  # the layout that is near its best from 1 to 256 rows


class Linear(Protocol):
    """x Wᵀ + b, perhaps through GPT-2's gelu: (rows, in) of any type → (rows, out) in the compute dtype."""

    def __call__(self, x: Tensor, /) -> Tensor: ...


def compute_dtype(precision: Precision) -> torch.dtype:
    """What activations are kept in between norms; int8 is a matter of products alone."""
    return torch.float32 if precision == "fp32" else torch.bfloat16


def weight_bits(precision: Precision) -> int:
    """What a weight takes on the CPU."""
    return {"fp32": 32, "bf16": 16, "int8": 8}[precision]


def linear(
    weight: Tensor, bias: Tensor, precision: Precision, device: torch.device, gelu: bool = False
) -> Linear:
    """The product for `weight` (out, in) and `bias` (out,), both fp32."""
    on_cpu = device.type == "cpu" and torch.backends.mkldnn.is_available()
    if precision == "int8" and on_cpu:
        return _Int8(weight, bias, gelu)
    if precision == "int8":  # of int8 precision, but kept and multiplied in bf16
        integers, scale = quantised(weight)
        weight = integers * scale[:, None]
    dtype = compute_dtype(precision)
    weight, bias = weight.to(device, dtype), bias.to(device, dtype)
    return _Packed(weight, bias, gelu) if on_cpu else _Plain(weight, bias, gelu)


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers within ±127, and the scale of each row of `weight`."""
    scale = weight.abs().amax(1).clamp(min=1e-8) / 127.0
    return (weight / scale[:, None]).round(), scale


class _Plain:
    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool) -> None:
        self._weight, self._bias, self._gelu = weight, bias, gelu

    def __call__(self, x: Tensor) -> Tensor:
        y = F.linear(x.to(self._weight.dtype), self._weight, self._bias)
        return F.gelu(y, approximate="tanh") if self._gelu else y


class _Packed:
    """fp32 or bf16, packed for oneDNN; the gelu is part of the product."""

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR_ROWS)
        self._bias = bias
        self._after = ("gelu", "tanh") if gelu else ("none", "")

    def __call__(self, x: Tensor) -> Tensor:
        activation, algorithm = self._after
        return torch.ops.mkldnn._linear_pointwise(
            x.to(self._bias.dtype), self._weight, self._bias, activation, [], algorithm
        )


class _Int8:
    """int8 weights, a scale a row; activations become 8 bits on the way, a scale a row as well.

    A row's scale is its own, so that a row does not depend on its neighbours.
    """

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool) -> None:
        integers, self._scale = quantised(weight)
        self._weight = torch.ops.onednn.qlinear_prepack(integers.to(torch.int8), None)
        self._zeros = torch.zeros(len(bias), dtype=torch.int32)
        self._bias, self._gelu = bias, gelu

    def __call__(self, x: Tensor) -> Tensor:
        x = x.float()
        scale = x.abs().amax(-1, keepdim=True).clamp_(min=1e-8).div_(127.0)
        # Adding a half more than the zero point makes the cut to whole numbers a rounding.
        rounded = (x / scale).add_(128.5).to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise(
            rounded,
            1.0,
            128,
            self._weight,
            self._scale,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        y = torch.addcmul(self._bias, y, scale)
        return (F.gelu(y, approximate="tanh") if self._gelu else y).to(torch.bfloat16)
