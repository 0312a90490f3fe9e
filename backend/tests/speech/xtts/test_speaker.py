from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.speech.xtts.checkpoint import Weights, open_checkpoint
from app.speech.xtts.speaker import RATE, SpeakerEncoder
from tests.speech.xtts.checkpoints import recording

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tiny_folder: Path) -> Weights:
    return open_checkpoint(tiny_folder).weights.under("hifigan_decoder.speaker_encoder")


@pytest.mark.parametrize("seconds", [0.1, 0.37, 2.0, 5.3])
@torch.inference_mode()
def test_measured_quickly(seconds: float, weights: Weights) -> None:
    encoder = SpeakerEncoder(weights, CPU, quickly=True)
    audio = torch.from_numpy(recording(3, seconds, RATE))
    assert (encoder.measure(audio) - encoder(audio)).norm() < 0.06
