"""What speaking takes of the memory there is, and how to tell that it ran out."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from app.speech.xtts.checkpoint import Settings
from app.speech.xtts.gpt import Cache

# Beside weights and slots: Python, PyTorch, the vocoder at work, and the service in the same container.
_REST = 1.9e9
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LOADING, _AT_WORK = 2**20, 2**25  # bytes from which a piece is returned when it is freed; the most there is
_MOST_SLOTS = {"cpu": 32, "cuda": 64}  # more gain little
_NO_MEMORY = 2  # cudaErrorMemoryAllocation (driver_types.h): of a launch or a recording
# On the CPU PyTorch has no type for it (c10/core/impl/alloc_cpu.cpp), nor have Triton, cuBLAS, cuFFT and cuDNN.
_SAYING_SO = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


# Positions of a cache in pages that there are for each slot: a voice, 100 tokens and 17 s of audio. An utterance
# that can come to more takes of the others', or waits.
POSITIONS = 512


def longest(settings: Settings, prompt: int) -> int:
    """Positions of the longest utterance there can be, whose text has up to `prompt` embeddings."""
    return 32 + prompt + settings.max_codes + Cache.STEP


def slot_bytes(settings: Settings, vector: int, positions: int) -> int:
    """What an utterance takes: keys and values of so many positions, each of `vector` bytes a head, and the most
    states."""
    cache = 2 * settings.layers * settings.heads * positions * vector
    return cache + (settings.max_codes + 1) * settings.channels * 4


def weight_bytes(settings: Settings, bits: float) -> int:
    """What the GPT's matrices take: four of a layer, 12 × channels² numbers in all, of so many bits."""
    return int(12 * settings.layers * settings.channels**2 * bits / 8)


def slots_within(memory: int, weights: int, slot: int, device: str) -> int:
    """How many utterances to decode together, so that the longest ones fit too; at least one."""
    return max(1, min(_MOST_SLOTS[device], int((memory - weights - _REST) / slot)))


@contextmanager
def loading() -> Iterator[None]:
    """Meanwhile, glibc returns what is freed at once. By itself it keeps ever larger pieces, and loading left
    up to half a gigabyte of holes behind, by chance.

    At work it keeps them, and what is free at the end of a heap, because new memory is slow: the similarity of
    one take had 12,800 pages of it, a third of its time.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    mallopt = getattr(library, "mallopt", lambda option, value: 0)
    _keep(mallopt, _LOADING)
    try:
        yield
    finally:
        _keep(mallopt, _AT_WORK)


def _keep(mallopt: Callable[[int, int], int], bytes: int) -> None:
    """What glibc keeps of memory that is freed: pieces of less than this, and so much at the end of a heap."""
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        mallopt(option, bytes)


def ran_out(error: BaseException) -> bool:
    """Whether memory was short, the processor's or the GPU's."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):  # of a mapping
        return error.errno == errno.ENOMEM
    if getattr(error, "error_code", None) == _NO_MEMORY:  # of a torch.AcceleratorError
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAYING_SO)
