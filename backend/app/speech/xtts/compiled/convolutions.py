"""Convolutions along time in convolutions.c: filters, transformed and packed, and lists of steps over them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts.compiled import library
from app.speech.xtts.compiled.library import LANES, PANEL, Team

# A tile's outputs, and the points its numbers are evaluated at (± each, and infinity), by the filter's taps.
# More outputs or taps a tile are fewer products and more rounding. These points give the least, for white
# noise, among those that come in pairs: found by minimising the mean over the outputs i of
# sum_p from[i, p]² |to[p]|² |filter[p]|², where the bars are the lengths of the transforms' rows.
_TILES: dict[int, tuple[int, int, tuple[float, ...]]] = {  # taps: (outputs, taps of a group, points)
    3: (6, 3, (0.5055, 1.0, 1.9782, 0.0)),
    7: (4, 7, (0.4175, 0.8039, 1.2439, 2.3955, 0.0)),
    11: (6, 6, (0.1943, 0.5653, 0.9089, 1.3557, 2.6037)),
}
_WIDEST, _SOME = 1024, 128  # input channels, as in convolutions.c: at most; added up in whole numbers
_SUM = 2.0**18  # of a point's whole numbers over these: times 14 bits it fits 32


class _Convolution(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in ("inputs", "outputs", "tile", "points", "groups", "dilation", "before")
        ),
        ("slope", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("cells", "scale", "to", "from_")),
    ]


class Step(ctypes.Structure):
    kept: object = None  # what it points at

    _fields_ = [
        ("convolution", ctypes.POINTER(_Convolution)),
        ("length", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("x", "bias", "residual", "sum", "y")),
    ]


def width(channels: int) -> int:
    """Channels of activations: filled up with zeros."""
    return -(-channels // LANES) * LANES


def fits(weight: Tensor) -> bool:
    """Whether convolutions.c has tiles for this filter, (outputs, inputs, taps)."""
    return weight.shape[2] in _TILES and width(weight.shape[1]) <= _WIDEST


def upsamples(weight: Tensor, stride: int) -> bool:
    """Whether `Convolution.upsampling` takes this filter, (inputs, outputs, taps)."""
    return weight.shape[2] == 2 * stride and width(weight.shape[0]) <= _WIDEST


class Convolution:
    """A filter (outputs, inputs, taps), whose result is as long as what goes in.

    `slope` is that of the leaky ReLU that inputs go through first. Activations are fp32,
    (positions, width(channels)).
    """

    def __init__(self, weight: Tensor, dilation: int = 1, slope: float = 1.0) -> None:
        outputs, inputs, taps = weight.shape
        tile, group, numbers = _TILES[taps]
        groups = -(-taps // group)
        to, filters, back = _transforms(tile, group, numbers)
        points, panels = len(to), -(-outputs // PANEL)
        padded = torch.zeros(panels * PANEL, width(inputs), groups * group)
        padded[:outputs, :inputs, :taps] = weight
        # (outputs, inputs, groups, points), then whole numbers by an output and point
        transformed = padded.unflatten(2, (groups, group)) @ torch.from_numpy(filters.T).float()
        sums = [part.abs().sum(1).amax(1) for part in transformed.split(_SOME, dim=1)]
        scale = torch.stack(sums).amax(0) / (_SUM - _SOME)
        scale = scale.maximum(transformed.abs().amax((1, 2)) / 32767.0).clamp(min=1e-20)
        whole = (transformed / scale[:, None, None]).round().to(torch.int16)
        pairs = whole.view(panels, PANEL, width(inputs) // 2, 2, groups, points)
        self.outputs = width(outputs)
        self._kept = [
            pairs.permute(0, 5, 4, 2, 1, 3).contiguous(),
            scale.T.contiguous(),
            torch.from_numpy(to).float().contiguous(),
            torch.from_numpy(back).float().contiguous(),
        ]
        before = (taps - 1) // 2 * dilation
        self._structure = _Convolution(
            width(inputs),
            self.outputs,
            tile,
            points,
            groups,
            dilation,
            before,
            slope,
            *(tensor.data_ptr() for tensor in self._kept),
        )

    @classmethod
    def upsampling(cls, weight: Tensor, stride: int, slope: float) -> Convolution:
        """PyTorch's transposed convolution of (inputs, outputs, 2 × stride) with padding stride / 2.

        Result j of position i is that of position i × stride + j, at channel j × width(outputs).
        """
        inputs, outputs, taps = weight.shape
        if not upsamples(weight, stride):
            raise ValueError(f"a filter of {taps} taps for a stride of {stride}")
        filters = torch.zeros(stride, width(outputs), inputs, 3)
        for result in range(stride):
            for tap, position in enumerate((-1, 0, 1)):
                number = result + stride // 2 - stride * position
                if 0 <= number < taps:
                    filters[result, :outputs, :, tap] = weight[:, :, number].T
        return cls(filters.flatten(0, 1), slope=slope)

    def step(
        self, x: Tensor, bias: Tensor, y: Tensor, residual: Tensor | None = None, add: Tensor | None = None
    ) -> Step:
        """y = convolution of x, + bias, + residual + add, which y may be one of.

        x is (positions, width(inputs)); the others have `outputs` numbers a position.
        """
        pointers = [tensor.data_ptr() if tensor is not None else None for tensor in (residual, add, y)]
        step = Step(ctypes.pointer(self._structure), len(x), x.data_ptr(), bias.data_ptr(), *pointers)
        step.kept = (self, x, bias, residual, add, y)
        return step


def run(steps: Sequence[Step], team: Team) -> None:
    """One step after the other, by as many threads as PyTorch has."""
    listed = (Step * len(steps))(*steps)
    if not library.library().run_steps(listed, len(steps), team.handle, torch.get_num_threads()):
        raise MemoryError


def _transforms(
    tile: int, taps: int, numbers: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(to: points × points, filters: points × taps, back: tile × points): back ((filters w) · (to x)) is
    the filter w over x. Cook and Toom's way to multiply polynomials, transposed."""
    at = np.array([sign * number for number in numbers for sign in (1, -1) if number or sign > 0])
    points = tile + taps - 1

    def evaluated(count: int) -> NDArray[np.float64]:
        """A polynomial's values at the points, by its `count` coefficients; at infinity it is the last."""
        return np.vstack([at[:, None] ** np.arange(count), np.eye(count)[-1:]])

    to = np.linalg.inv(evaluated(points)).T
    length = np.linalg.norm(to, axis=1, keepdims=True)  # so that one scale suits all points
    return to / length, evaluated(taps) * length, evaluated(tile).T
