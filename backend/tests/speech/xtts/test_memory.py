from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from app.speech.xtts import memory
from app.speech.xtts.model import Model

GB = 10**9
WHOLE = 64 * GB


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(total=WHOLE))


@pytest.mark.parametrize(
    ("line", "file", "written", "expected"),
    [
        ("0::/", "memory.max", "4000000000", 4 * GB),
        ("0::/service", "service/memory.max", "3000000000", 3 * GB),
        ("0::/outside", "memory.max", "2000000000", 2 * GB),
        ("0::/", "memory.max", "max", WHOLE),
        ("5:cpu,memory:/docker/1", "memory/docker/1/memory.limit_in_bytes", "1000000000", GB),
        ("5:memory:/docker/1", "memory/memory.limit_in_bytes", "1000000000", GB),
        ("5:cpu:/", "memory/memory.limit_in_bytes", "9223372036854771712", WHOLE),
    ],
)
def test_a_container_or_service_counts_for_what_it_may_use(
    line: str, file: str, written: str, expected: int, tmp_path: Path
) -> None:
    (tmp_path / "groups" / file).parent.mkdir(parents=True)
    (tmp_path / "groups" / file).write_text(f"{written}\n")
    (tmp_path / "processes").write_text(f"{line}\n")
    assert memory.limit(tmp_path / "processes", tmp_path / "groups") == expected


def test_a_machine_without_groups(tmp_path: Path) -> None:
    assert memory.limit(tmp_path / "processes", tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("gigabytes", "precision", "slots"),
    [
        (64, "bf16", 32),
        (64, "fp32", 32),
        (4.29, "bf16", 15),
        (4.29, "fp32", 4),
        (4.29, "int8", 17),
        (2, "bf16", 1),
    ],
)
def test_slots_follow_the_memory(
    gigabytes: float, precision: memory.Precision, slots: int, tiny: Model
) -> None:
    """Of the published model, whose longest utterance is 403 embeddings of text and 602 codes."""
    published = replace(tiny.settings, layers=30, channels=1024, max_audio=605)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    slot = memory.slot_bytes(published, dtype, 405)
    weights = memory.weight_bytes(published, precision)
    assert memory.slots_within(int(gigabytes * GB), weights, slot, "cpu") == slots
    worst = weights + slots * slot
    assert worst < gigabytes * GB or slots == 1


def test_a_graphics_card_holds_more(tiny: Model) -> None:
    assert memory.slots_within(WHOLE, 0, GB // 10, "cuda") == 64


def test_memory_that_ran_out_is_told_from_other_faults() -> None:
    assert memory.ran_out(torch.OutOfMemoryError())
    assert memory.ran_out(MemoryError())
    assert not memory.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as there_is_no_exabyte:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.ran_out(there_is_no_exabyte.value)
    with pytest.raises(MemoryError) as nor_here:
        np.empty(2**60, np.uint8)
    assert memory.ran_out(nor_here.value)
