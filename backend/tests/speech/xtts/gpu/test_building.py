"""Whether the kernels can be built here, seen without a GPU."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from triton.runtime.cache import get_cache_manager

from app.speech.xtts import gpu
from app.speech.xtts.compiled import library
from app.speech.xtts.gpu.building import builds
from app.speech.xtts.model import Model
from tests.speech.xtts.gpu.devices import CPU

GPU = torch.device("cuda")


class Driver:
    """Keeps what it builds where Triton's for NVIDIA does, when it is first asked for."""

    built = 0
    fault: Exception | None = None

    @property
    def active(self) -> Any:
        if self.fault is not None:
            raise self.fault
        get_cache_manager("00").put(b"", "module.so")
        self.built += 1
        return SimpleNamespace(get_current_target=lambda: "cuda")


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Driver:
    """An Ampere of which nothing is known yet, and nowhere chosen to keep what is built."""
    for name in ("TRITON_CACHE_DIR", "TRITON_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(gpu, "builds", cache(builds.__wrapped__))
    monkeypatch.setattr(gpu, "usable", cache(gpu.usable.__wrapped__))
    monkeypatch.setattr("triton.runtime.driver", driver := Driver())
    return driver


def test_what_builds_is_kept_where_only_this_user_writes(driver: Driver, tmp_path: Path) -> None:
    for device in (GPU, torch.device("cuda:0"), GPU):
        assert gpu.usable(device)
    assert driver.built == 1
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "moksori" / "triton")
    assert list((tmp_path / "moksori" / "triton").rglob("module.so"))


@pytest.mark.parametrize("name", ["TRITON_CACHE_DIR", "TRITON_HOME"])
def test_a_place_that_somebody_chose_is_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(tmp_path / "chosen"))
    assert gpu.usable(GPU)
    assert list((tmp_path / "chosen").rglob("module.so"))
    assert not (tmp_path / "moksori").exists()


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("Failed to find C compiler."),
        subprocess.CalledProcessError(1, ["gcc"]),  # Python.h is not there
        FileNotFoundError("/proc/.triton"),
        AssertionError("libcuda.so cannot found!"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_where_nothing_can_be_built_pytorch_computes(
    driver: Driver, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    driver.fault = fault
    assert not gpu.usable(GPU)
    assert not gpu.usable(torch.device("cuda:0"))
    (told,) = caplog.records
    assert told.message == "tts.xtts.no_kernels"
    assert "gcc" in told.__dict__["fix"]


@pytest.mark.parametrize("capable", [True, False])
def test_the_model_says_what_would_make_it_faster(
    capable: bool, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of a GPU that the kernels are not for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(library, "capable", lambda _: False)
    monkeypatch.setattr(gpu, "capable", lambda _: capable)
    monkeypatch.setattr(gpu, "usable", lambda _: False)
    assert ("python3-dev" in Model(tiny_folder, "fp32").description) == capable


def test_a_processor_or_an_older_gpu_is_not_asked(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gpu.usable(CPU)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not gpu.usable(GPU)
    assert driver.built == 0
