"""Similarities measured together, where that is done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.measuring import Measuring
from app.speech.xtts.speaker import RATE, SpeakerEncoder
from tests.speech.xtts.checkpoints import recording
from tests.speech.xtts.gpu.devices import CPU, DEVICE


@pytest.mark.parametrize(("quickly", "near"), [(False, 1e-3), (True, 0.06)])
def test_as_one_by_one_on_the_processor(tiny_folder: Path, quickly: bool, near: float) -> None:
    weights = open_checkpoint(tiny_folder).weights.under("hifigan_decoder.speaker_encoder")
    clips = [torch.from_numpy(recording(n, 0.3 + n / 3, RATE)) for n in range(20)]
    with torch.inference_mode():
        one_by_one = [SpeakerEncoder(weights, CPU)(clip) for clip in clips]
    measuring = Measuring(SpeakerEncoder(weights, DEVICE, quickly), DEVICE)
    with ThreadPoolExecutor(len(clips)) as pool:
        together = list(pool.map(lambda clip: measuring(clip, RATE), clips))
    for one, other in zip(together, one_by_one, strict=True):
        assert one.device == CPU
        assert (one - other).norm() < near
