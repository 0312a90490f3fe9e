"""Convolutions along time in convolutions.c: filters, transformed and packed, and lists of steps over them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

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
# A unit's numbers between two links, of which a core's own memory holds a few times as many; and the fewest
# positions that are worth it where they are broad.
_UNIT, _LEAST = 2**17, 1200
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


class _Link(ctypes.Structure):
    _fields_ = [
        ("convolution", ctypes.POINTER(_Convolution)),
        ("bias", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("x", "residual", "sum", "y", "expand")),
    ]


class _Chain(ctypes.Structure):
    _fields_ = [
        ("links", ctypes.POINTER(_Link)),
        *((name, ctypes.c_int32) for name in ("count", "units")),
        ("length", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("x", "y", "places")),
        ("place", ctypes.c_int64),
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


class Place(IntEnum):
    """What a link of a chain reads and writes: what goes in and comes out, and four of a unit's own."""

    NOTHING, INPUT, OUTPUT, FIRST, SECOND, THIRD, FOURTH = range(-1, 6)


class Link(NamedTuple):
    """y = convolution of x, + bias, + residual + add, which may be the same place as y.

    The first link of a chain may be an upsampling one: `expand` is its stride.
    """

    convolution: Convolution
    bias: Tensor
    x: Place
    y: Place
    residual: Place = Place.NOTHING
    add: Place = Place.NOTHING
    expand: int = 1


def run(links: Sequence[Link], x: Tensor, y: Tensor, team: Team, places: Tensor, units: int = 0) -> Tensor:
    """One link after the other, from x (positions, channels) to y (positions × expand, channels).

    They go through it in `units` (by default as many as suit it), a thread each, so small that what is
    between the links stays near the processor. However many there are, the results are the same, bit by
    bit. `places` is memory for what is between the links; returned is a larger one where that was needed.
    """
    code, threads = library.library(), torch.get_num_threads()
    listed = (_Link * len(links))(
        *(
            _Link(
                ctypes.pointer(link.convolution._structure),
                link.bias.data_ptr(),
                link.x,
                link.residual,
                link.add,
                link.y,
                link.expand,
            )
            for link in links
        )
    )
    chain = _Chain(listed, len(links), units or _units(y, threads), len(x), x.data_ptr(), y.data_ptr())
    chain.place = code.place_of(ctypes.byref(chain))
    if places.numel() < (needed := 4 * chain.place * threads):
        places = torch.empty(needed)
    chain.places = places.data_ptr()
    if not code.run_chain(ctypes.byref(chain), team.handle, threads):
        raise MemoryError
    return places


def _units(y: Tensor, threads: int) -> int:
    """A multiple of the threads; units a little too large for a core's memory cost less than those that compute
    much of their neighbours'."""
    wanted = min(-(-y.numel() // _UNIT), len(y) // _LEAST)
    return max(threads, wanted // threads * threads)


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
