"""Sampling by choice.c: what sampling.py does in some twenty operations."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from app.speech.xtts.compiled import library

if TYPE_CHECKING:
    from app.speech.xtts.sampling import Sampling


class How(ctypes.Structure):
    """A Sampling, for so many codes, as choice.h has it: a temperature of 0 is one of one code."""

    _fields_ = [
        *((name, ctypes.c_float) for name in ("temperature", "top_p", "penalty")),
        ("top_k", ctypes.c_int32),
    ]

    def __init__(self, sampling: Sampling, codes: int) -> None:
        likeliest = sampling.temperature <= 0
        temperature, most = (1.0, 1) if likeliest else (sampling.temperature, sampling.most(codes))
        super().__init__(temperature, sampling.top_p, sampling.repetition_penalty, most)


def sample(logits: Tensor, seen: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    """As sampling.sample."""
    rows, codes = logits.shape
    out = torch.empty(rows, dtype=torch.long)
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    seen, draw = seen.contiguous(), draw.contiguous()
    library.library().choose(
        ctypes.c_void_p(logits.data_ptr()),
        ctypes.c_int64(logits.stride(0)),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in (seen, draw, out)),
        rows,
        codes,
        ctypes.byref(How(sampling, codes)),
    )
    return out
