"""The XTTS runtime on a GPU: kernels in Triton, the passes that launch them, and the cache in pages."""

from __future__ import annotations

import importlib.util
from functools import cache

import torch

from app.speech.xtts.gpu.building import builds


@cache
def usable(device: torch.device) -> bool:
    """Whether the kernels run on a device. Elsewhere PyTorch's own operations do."""
    return capable(device) and builds()


def capable(device: torch.device) -> bool:
    """Whether the kernels are for a device: NVIDIA's, from Ampere on."""
    return (
        device.type == "cuda"
        and torch.version.cuda is not None
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and importlib.util.find_spec("triton") is not None
    )
