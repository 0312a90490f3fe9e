from __future__ import annotations

import errno
import os
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.speech.xtts import memory
from app.speech.xtts.model import Model

GB = 10**9


@pytest.mark.parametrize(
    ("gigabytes", "bits", "vector", "slots"),
    [
        (64, 16, 128, 32),
        (64, 32, 256, 32),
        (4.29, 16, 128, 12),
        (4.29, 9.625, 84, 21),
        (4.29, 32, 256, 3),
        (4.29, 8.125, 68, 27),
        (2, 9.625, 84, 1),
    ],
)
def test_slots_follow_the_memory(gigabytes: float, bits: float, vector: int, slots: int, tiny: Model) -> None:
    """Of the published model, whose longest utterance is 403 embeddings of text and 602 codes."""
    published = replace(tiny.settings, layers=30, channels=1024, heads=16, max_audio=605)
    slot = memory.slot_bytes(published, vector, memory.longest(published, 405))
    weights = memory.weight_bytes(published, bits)
    assert memory.slots_within(int(gigabytes * GB), weights, slot, "cpu") == slots
    worst = weights + slots * slot
    assert worst < gigabytes * GB or slots == 1


@pytest.mark.parametrize(("gigabytes", "slots"), [(80, 64), (8, 64), (4, 32), (1, 1)])
def test_a_graphics_card_holds_more(gigabytes: int, slots: int, tiny: Model) -> None:
    """There, of each the room for an utterance of usual length, which all share."""
    published = replace(tiny.settings, layers=30, channels=1024, heads=16, max_audio=605)
    slot = memory.slot_bytes(published, 128, memory.POSITIONS)
    assert memory.slots_within(gigabytes * GB, 0, slot, "cuda") == slots
    assert memory.POSITIONS < memory.longest(published, 405) < 3 * memory.POSITIONS


def test_memory_that_ran_out_is_told_from_other_faults() -> None:
    assert memory.ran_out(torch.OutOfMemoryError())
    assert memory.ran_out(MemoryError())
    assert memory.ran_out(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert not memory.ran_out(OSError(errno.ENOENT, "No such file"))
    assert not memory.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as there_is_no_exabyte:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.ran_out(there_is_no_exabyte.value)
    with pytest.raises(MemoryError) as nor_here:
        np.empty(2**60, np.uint8)
    assert memory.ran_out(nor_here.value)


@pytest.mark.parametrize(
    ("said", "is_so"),
    [
        ("CUDA error: out of memory", True),  # as torch.AcceleratorError
        ("Triton Error [CUDA]: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("cuFFT error: CUFFT_ALLOC_FAILED", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("Triton Error [CUDA]: device kernel image is invalid", False),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_a_gpu_runs_out_of_memory_in_many_words(said: str, is_so: bool) -> None:
    assert memory.ran_out(RuntimeError(said)) is is_so
    assert memory.ran_out(torch.AcceleratorError(said)) is is_so


def test_an_accelerators_error_is_told_by_its_number() -> None:
    error: Any = torch.AcceleratorError("said in other words")
    assert not memory.ran_out(error)
    error.error_code = 700  # cudaErrorIllegalAddress
    assert not memory.ran_out(error)
    error.error_code = 2
    assert memory.ran_out(error)


def test_memory_freed_while_loading_is_given_back() -> None:
    """Also where something smaller still lies behind it."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with memory.loading():
        pieces = [torch.ones(2**19) for _ in range(100)]  # 2 MB each
        full = resident()
        del pieces[:-1]
        assert full - resident() > 150e6


def test_memory_freed_at_work_is_kept() -> None:
    with memory.loading():
        pass

    def new_pages() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        pieces = [torch.ones(2**20) for _ in range(6)]  # 4 MB each
        del pieces
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert min(new_pages() for _ in range(5)) < 100  # of 6,144
