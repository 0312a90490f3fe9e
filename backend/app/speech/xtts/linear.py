"""A matrix product in the form that is fastest where it runs.

On the CPU, oneDNN wants a weight in its own blocked layout; given a plain one it rearranges all of it at
every call, which for one row costs several times the product itself. So each weight is packed once, by the
operators that `torch.compile` emits for frozen weights. On a GPU the plain product is right.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Precision = Literal["fp32", "bf16", "int8"]
_PACKED_FOR_ROWS = 16  # the layout that is near its best from 1 to 256 rows


def compute_dtype(precision: Precision) -> torch.dtype:
    """What activations are kept in between layers' norms; int8 is a matter of weights alone."""
    return torch.float32 if precision == "fp32" else torch.bfloat16


class Linear:
    """x Wᵀ + b, optionally through GPT-2's gelu: (rows, in) → (rows, out), in the compute dtype.

    `weight` (out, in) and `bias` (out,) come in fp32 and may be changed.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, precision: Precision, device: torch.device, gelu: bool = False
    ) -> None:
        dtype = compute_dtype(precision)
        self._gelu = gelu
        self._scale: Tensor | None = None
        if precision == "int8":
            # Symmetric, a scale a row of W. The integers are exact in bf16, so one product serves all.
            scale = weight.abs().amax(1).clamp(min=1e-8) / 127.0
            weight = (weight / scale[:, None]).round()
            self._scale = scale.to(device, dtype)
        self._bias = bias.to(device, dtype)
        self._packed = device.type == "cpu" and torch.backends.mkldnn.is_available()
        weight = weight.to(device, torch.int8 if precision == "int8" else dtype)
        if self._packed and precision != "int8":
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR_ROWS)
        self._weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        if self._scale is not None:
            y = self._int8(x) + self._bias
            return F.gelu(y, approximate="tanh") if self._gelu else y
        if self._packed:
            activation, algorithm = ("gelu", "tanh") if self._gelu else ("none", "")
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, activation, [], algorithm)
        y = F.linear(x, self._weight, self._bias)
        return F.gelu(y, approximate="tanh") if self._gelu else y

    def _int8(self, x: Tensor) -> Tensor:
        if self._packed:
            return torch._weight_int8pack_mm(x, self._weight, self._scale)
        return F.linear(x, self._weight.to(x.dtype)) * self._scale
