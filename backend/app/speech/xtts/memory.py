"""What speaking takes of the memory there is, and how to tell that it ran out."""

from __future__ import annotations

import ctypes
import errno
import os

import torch

from app.speech.xtts.checkpoint import Settings
from app.speech.xtts.gpt import Cache
from app.speech.xtts.linear import Precision

# Beside weights and slots: Python, PyTorch, the vocoder at work, and the service in the same container.
_REST = 1.9e9
_M_MMAP_THRESHOLD, _LARGE = -3, 2**20  # malloc.h; bytes
_MOST_SLOTS = {"cpu": 32, "cuda": 64}  # more gain little


def slot_bytes(settings: Settings, dtype: torch.dtype, prompt: int) -> int:
    """What the longest utterance there can be takes: keys, values and states of every position.

    `prompt` is the most embeddings that its text can have.
    """
    positions = 32 + prompt + settings.max_codes + Cache.STEP
    cache = 2 * settings.layers * settings.channels * positions * dtype.itemsize
    return cache + (settings.max_codes + 1) * settings.channels * 4


def weight_bytes(settings: Settings, precision: Precision) -> int:
    """What the GPT's matrices take: four of a layer, 12 × channels² numbers in all."""
    each = {"fp32": 4, "bf16": 2, "int8": 1}[precision]
    return 12 * settings.layers * settings.channels**2 * each


def slots_within(memory: int, weights: int, slot: int, device: str) -> int:
    """How many utterances to decode together, so that the longest ones fit too; at least one."""
    return max(1, min(_MOST_SLOTS[device], int((memory - weights - _REST) / slot)))


def give_back_at_once() -> None:
    """Let glibc return a tensor's memory when it is freed. By itself it keeps ever larger ones to itself, and
    loading leaves up to half a gigabyte of holes behind, by chance."""
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if (mallopt := getattr(library, "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def ran_out(error: BaseException) -> bool:
    """Whether memory was short. On the CPU PyTorch has no type for it (c10/core/impl/alloc_cpu.cpp)."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):  # of a mapping
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
