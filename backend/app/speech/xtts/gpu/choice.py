"""Sampling by a kernel of kernels.py: what sampling.py does in some thirty operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from app.speech.xtts.gpu import kernels

if TYPE_CHECKING:
    from app.speech.xtts.sampling import Sampling


def sample(logits: Tensor, seen: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    """As sampling.sample, for temperatures above 0."""
    rows, codes = logits.shape
    out = torch.empty(rows, dtype=torch.long, device=logits.device)
    top_k = sampling.most(codes)
    kernels.choose[(rows,)](
        logits.contiguous(),
        seen.view(torch.uint8),
        draw,
        out,
        codes,
        sampling.temperature,
        sampling.top_p,
        sampling.repetition_penalty,
        TOP_K=top_k,
        BLOCK=kernels.power_from(codes),
        BLOCK_K=max(2, kernels.power_from(top_k)),  # Triton 3.6 cannot take one
        num_warps=8,
        enable_fp_fusion=True,
    )
    return out
