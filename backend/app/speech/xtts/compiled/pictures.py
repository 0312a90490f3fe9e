"""Convolutions of pictures, 3 × 3, in pictures.c: filters, transformed and packed."""

from __future__ import annotations

import ctypes
import threading

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts.compiled import library
from app.speech.xtts.compiled.library import LANES, PANEL
from app.speech.xtts.compiled.tiles import WIDEST, packed, winograd

_TILE = 4, 6  # results, down and across


class _Filter(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("inputs", "outputs")),
        ("slope", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("cells", "scale", "gain", "shift")),
        *((name, ctypes.c_void_p * 2) for name in ("to", "back")),
    ]


def fits(weight: Tensor) -> bool:
    """Whether pictures.c has tiles for this filter, (outputs, inputs, rows, columns)."""
    outputs, inputs, *taps = weight.shape
    return taps == [3, 3] and outputs % LANES == inputs % LANES == 0 and inputs <= WIDEST


class Convolution:
    """gain × convolution + shift of a picture, by `weight` (outputs, inputs, 3, 3), in one thread.

    `rectified`: a ReLU is before the gain. Pictures are fp32, (1, channels, rows, columns), with the channels last;
    a row and a column of zeros is around them, so that results are as many.
    """

    def __init__(self, weight: Tensor, gain: Tensor, shift: Tensor, rectified: bool = False) -> None:
        outputs, inputs = weight.shape[:2]
        down, across = (winograd(results) for results in _TILE)
        ways = [torch.from_numpy(way.filters).float() for way in (down, across)]
        filters = torch.einsum("oirc,pr,qc->oipq", weight, *ways).flatten(2)
        numbers = [F.pad(each.float(), (0, -outputs % PANEL)).contiguous() for each in (gain, shift)]
        matrices = [torch.from_numpy(each).float() for each in (down.to, across.to, down.back, across.back)]
        self._kept = [*packed(filters), *numbers, *(matrix.contiguous() for matrix in matrices)]
        places = [tensor.data_ptr() for tensor in self._kept]
        pairs = [(ctypes.c_void_p * 2)(*places[first : first + 2]) for first in (4, 6)]
        self._filter = _Filter(inputs, outputs, 0.0 if rectified else 1.0, *places[:4], *pairs)
        self._room = library.library().picture_room(ctypes.byref(self._filter))

    def __call__(self, x: Tensor) -> Tensor:
        _, inputs, rows, columns = x.shape
        if inputs != self._filter.inputs:
            raise ValueError(f"a picture of {inputs} channels for a filter of {self._filter.inputs}")
        x = x.float().contiguous(memory_format=torch.channels_last)
        y = torch.empty(1, self._filter.outputs, rows, columns, memory_format=torch.channels_last)
        places = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, y, _memory(self._room)))
        size = ctypes.c_int64(rows), ctypes.c_int64(columns)
        library.library().convolve_picture(ctypes.byref(self._filter), *size, *places)
        return y


def gated(y: Tensor, gate: Tensor, x: Tensor) -> Tensor:
    """relu(gate × y + x), in the place of y, which a convolution above has made; gate (1, channels)."""
    _, channels, rows, columns = y.shape
    x, gate = x.float().contiguous(memory_format=torch.channels_last), gate.float().contiguous()
    if x.shape != y.shape or gate.shape != (1, channels):
        raise ValueError(f"{tuple(x.shape)} and {tuple(gate.shape)} for a picture of {tuple(y.shape)}")
    sizes = ctypes.c_int64(rows * columns), ctypes.c_int64(channels)
    library.library().gate_picture(*sizes, *(ctypes.c_void_p(each.data_ptr()) for each in (gate, x, y)))
    return y


class _Kept(threading.local):
    """Each thread's memory for one convolution at a time: new memory is slow to write to."""

    memory = torch.empty(0)


_kept = _Kept()


def _memory(numbers: int) -> Tensor:
    if _kept.memory.numel() < numbers:
        _kept.memory = torch.empty(numbers)
    return _kept.memory
