"""Convolutions along time in convolutions.c: filters, transformed and packed, and lists of steps over them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.speech.xtts.compiled import library
from app.speech.xtts.compiled.library import Team
from app.speech.xtts.compiled.tiles import WIDEST, Transforms, packed, width, winograd

_RESULTS = 6  # of Winograd's tile, for 3 taps
_HEARD = 32  # positions of Fourier's tile
_MOST_TAPS = 17
_STEP = 2**18  # a step's numbers between two links, of which a core's own memory holds some


class _Convolution(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in ("inputs", "outputs", "tile", "points", "heard", "dilation", "before")
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
        *((name, ctypes.c_int32) for name in ("count", "units", "steps")),
        ("length", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("x", "y", "memory")),
        *((name, ctypes.c_int64) for name in ("place", "end", "room", "own")),
    ]


def fits(weight: Tensor) -> bool:
    """Whether convolutions.c has tiles for this filter, (outputs, inputs, taps)."""
    return weight.shape[2] in range(3, _MOST_TAPS + 1, 2) and width(weight.shape[1]) <= WIDEST


def upsamples(weight: Tensor, stride: int) -> bool:
    """Whether `Convolution.upsampling` takes this filter, (inputs, outputs, taps)."""
    return weight.shape[2] == 2 * stride and width(weight.shape[0]) <= WIDEST


class Convolution:
    """A filter (outputs, inputs, taps), whose result is as long as what goes in.

    `slope` is that of the leaky ReLU that inputs go through first. Activations are fp32,
    (positions, width(channels)).
    """

    def __init__(self, weight: Tensor, dilation: int = 1, slope: float = 1.0) -> None:
        outputs, inputs, taps = weight.shape
        to, filters, back = winograd(_RESULTS) if taps == 3 else _fourier(taps)
        self.outputs = width(outputs)
        self._kept = [
            *packed(weight @ torch.from_numpy(filters.T).float()),
            torch.from_numpy(to).float().contiguous(),
            torch.from_numpy(back).float().contiguous(),
        ]
        before = (taps - 1) // 2 * dilation
        self._structure = _Convolution(
            width(inputs),
            self.outputs,
            len(back),
            len(filters),
            to.shape[1],
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


def run(
    links: Sequence[Link],
    x: Tensor,
    y: Tensor,
    team: Team,
    memory: Tensor,
    cut: tuple[int, int] | None = None,
) -> Tensor:
    """One link after the other, from x (positions, channels) to y (positions × expand, channels).

    They go through it in `cut` units, a thread each, and steps of a unit, by default as many as suit it: so
    small that what is between the links stays near the processor. However many there are, the results are the
    same, bit by bit. `memory` is for what is between the links; returned is a larger one where that was needed.
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
    cut = cut or _cut(y, threads)
    chain = _Chain(listed, len(links), *cut, len(x), x.data_ptr(), y.data_ptr())
    code.measure(ctypes.byref(chain))
    if memory.numel() < chain.own * threads:
        memory = torch.empty(chain.own * threads)
    chain.memory = memory.data_ptr()
    if not code.run_chain(ctypes.byref(chain), team.handle, threads):
        raise MemoryError
    return memory


def _cut(y: Tensor, threads: int) -> tuple[int, int]:
    """(units, steps of a unit): as few units as there are threads, because units compute much of their
    neighbours'; steps do not."""
    return threads, max(1, y.numel() // (_STEP * threads))


def _fourier(taps: int) -> Transforms:
    """Discrete Fourier transforms, each complex product by three real ones."""
    forth = np.fft.rfft(np.eye(_HEARD)).T  # (points, positions)
    # a filter's points belong to the other direction: it does not turn around what it meets
    filters = forth[:, :taps].conj() / _HEARD
    ends = [0, _HEARD // 2]
    to, products = [*forth[ends].real], [*filters[ends].real]
    back = [np.cos(np.pi * end * np.arange(_HEARD)) for end in (0, 1)]
    for point in range(1, _HEARD // 2):
        x, w, turn = forth[point], filters[point], 2.0 * forth[point].conj()
        to += [(x.real + x.imag) / 2.0, x.real, x.imag]
        products += [2.0 * w.real, w.imag - w.real, w.real + w.imag]
        back += [turn.real - turn.imag, -turn.imag, -turn.real]
    return Transforms(np.array(to), np.array(products), np.array(back).T[: _HEARD + 1 - taps])
