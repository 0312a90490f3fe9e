from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from app.speech.interface import Recording
from app.speech.xtts import model
from app.speech.xtts.checkpoint import convert
from app.speech.xtts.model import Model, best_precision, default_slots
from tests.speech.xtts.checkpoints import recording

CPU = torch.device("cpu")


@pytest.mark.parametrize(("gigabytes", "slots"), [(64, 32), (4, 16), (3, 8)])
def test_slots_follow_the_memory(gigabytes: int, slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    there = SimpleNamespace(total=gigabytes * 1e9)
    monkeypatch.setattr(model.psutil, "virtual_memory", lambda: there)
    monkeypatch.setattr(Path, "read_text", lambda _: "max\n")
    assert default_slots(CPU) == slots


def test_a_container_counts_for_what_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.psutil, "virtual_memory", lambda: SimpleNamespace(total=64e9))
    monkeypatch.setattr(Path, "read_text", lambda _: "4000000000\n")
    assert default_slots(CPU) == 16


def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert best_precision(CPU) == "fp32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", torch.backends.mkldnn.is_available)
    assert best_precision(CPU) == ("bf16" if torch.backends.mkldnn.is_available() else "fp32")


def test_voices_outlive_a_conversion(tiny: Model, tiny_folder: Path, tmp_path: Path) -> None:
    """A voice made with the official folder speaks with the converted one."""
    converted = Model(convert(tiny_folder, tmp_path / "converted"), "bf16")
    assert converted.fingerprint == tiny.fingerprint
    assert converted.precision in converted.description
    voice = converted.condition([Recording(recording(0, 1.0, 22050), 22050)])
    assert tiny.similarity(recording(0, 1.0, 22050), 22050, voice) == pytest.approx(1.0, abs=1e-3)
