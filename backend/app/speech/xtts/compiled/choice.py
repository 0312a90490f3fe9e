"""Sampling by choice.c: what sampling.py does in some twenty operations."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from app.speech.xtts.compiled import library

if TYPE_CHECKING:
    from app.speech.xtts.sampling import Sampling


class _Sampling(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_float) for name in ("temperature", "top_p", "penalty")),
        ("top_k", ctypes.c_int32),
    ]


def sample(logits: Tensor, seen: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    """As sampling.sample, for temperatures above 0."""
    rows, codes = logits.shape
    out = torch.empty(rows, dtype=torch.long)
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    seen, draw = seen.contiguous(), draw.contiguous()
    how = _Sampling(sampling.temperature, sampling.top_p, sampling.repetition_penalty, sampling.most(codes))
    library.library().choose(
        ctypes.c_void_p(logits.data_ptr()),
        ctypes.c_int64(logits.stride(0)),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in (seen, draw, out)),
        rows,
        codes,
        ctypes.byref(how),
    )
    return out
