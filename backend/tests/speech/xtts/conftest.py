"""The tiny checkpoint, and what is computed from it once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.speech.interface import VoiceState
from app.speech.xtts.model import Model
from tests.speech.xtts import checkpoints

# So that the stop code comes after some 5 to 100 codes, and not at almost never.
STOP_BIAS = 6.0


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny products gain nothing from a second thread."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's batch has another order, and hands out audio later: that is tested in gpu/, where there is one."""
    if "gpu" not in request.path.parts:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def model_on_the_cpu(folder: Path) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        return Model(folder, "fp32")


@pytest.fixture(scope="session")
def reference() -> dict[str, NDArray[Any]]:
    return checkpoints.reference()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the reference arrays were computed from."""
    return checkpoints.tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Model:
    return model_on_the_cpu(tiny_folder)


@pytest.fixture(scope="session")
def ending_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but it ends by itself more often than not."""
    return checkpoints.tiny(tmp_path_factory.mktemp("ending"), STOP_BIAS)


@pytest.fixture(scope="session")
def ending(ending_folder: Path) -> Model:
    return model_on_the_cpu(ending_folder)


@pytest.fixture(scope="session")
def voice(ending: Model, reference: dict[str, NDArray[Any]]) -> VoiceState:
    return voice_of(ending, reference, "one")


def voice_of(model: Model, reference: dict[str, NDArray[Any]], name: str) -> VoiceState:
    """A voice from coqui-tts's own arrays."""
    arrays: dict[str, NDArray[np.float32]] = {
        part: reference[f"voice/{name}/{part}"] for part in ("latents", "speaker")
    }
    return VoiceState("xtts", arrays, {"checkpoint": model.fingerprint})


@pytest.fixture
def three_threads() -> Iterator[None]:
    """A team that is made now has three threads; how many of them work is then PyTorch's number."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)
