from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.speech.xtts import vocoder
from app.speech.xtts.checkpoint import Weights, open_checkpoint
from app.speech.xtts.gpu.generator import Generator
from app.speech.xtts.layout import DILATIONS, SPEAKER, STRIDES
from app.speech.xtts.linear import Precision, compute_dtype
from app.speech.xtts.vocoder import HOP
from tests.speech.xtts.gpu.devices import CUDA, DEVICE, error, noise

CHANNELS = 64
ROUNDING = {
    "fp32": 1e-5,
    "bf16": 0.01,
}  # what a speaker adds is a library's product, of other bits in another batch


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def weights(tiny_folder: Path) -> Weights:
    return open_checkpoint(tiny_folder).weights.under("hifigan_decoder.waveform_decoder")


@pytest.fixture(scope="module")
def generator(weights: Weights, precision: Precision) -> Generator:
    slopes = (vocoder._SLOPE, vocoder._LAST_SLOPE)
    return Generator(weights, compute_dtype(precision), DEVICE, STRIDES, DILATIONS, slopes)


def windows(batch: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Each of another voice."""
    return noise(batch, length, CHANNELS, seed=seed), noise(batch, SPEAKER, seed=seed + 1)


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 33), (3, 5)])
def test_as_pytorch_and_each_window_as_alone(
    batch: int, length: int, generator: Generator, weights: Weights, precision: Precision
) -> None:
    frames, speakers = windows(batch, length)
    audio = generator._speak(frames, speakers)
    plain = vocoder._Plain(weights, torch.float32, torch.device("cpu"))
    expected = plain(frames.cpu(), speakers.cpu())
    assert audio.shape == expected.shape == (batch, length * HOP)
    assert error(audio, expected) < (1e-5 if precision == "fp32" else 0.03)
    if batch > 1:
        last = generator._speak(frames[-1:], speakers[-1:])
        assert error(last[0], audio[-1]) < ROUNDING[precision]


def test_a_kernel_of_every_size_is_compiled_before(generator: Generator) -> None:
    compiled = generator.kernels()
    assert len(compiled) == len({one.weight.shape[1:] for one in generator._convolutions.values()})
    for kernel in compiled:
        kernel()


if CUDA:

    @pytest.mark.parametrize("batch", [1, 3])
    def test_what_comes_again_is_recorded_and_the_same(
        batch: int, generator: Generator, precision: Precision
    ) -> None:
        """Three windows fill a recording of four."""
        before = len(generator._recordings)
        for seed in range(4):  # each time others
            given = windows(batch, 19, seed)
            audio = generator(*given)
            assert len(audio) == batch
            assert error(audio, generator._speak(*given)) < ROUNDING[precision]
        assert len(generator._recordings) == before + 1
        assert generator._recordings[batch + batch // 2, 19] is not None

    def test_recordings_of_several_shapes_in_turn(generator: Generator, precision: Precision) -> None:
        """They have one memory."""
        shapes = [windows(1, 21), windows(2, 23)]
        expected = [generator._speak(*given).clone() for given in shapes]
        for given, wanted in 3 * list(zip(shapes, expected, strict=True)):
            assert error(generator(*given), wanted) < ROUNDING[precision]

    def test_no_more_recordings_than_there_is_memory_for(
        generator: Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.speech.xtts.gpu.generator._RECORDED", 2)
        for length in (2, 3, 4):
            for _ in range(2):
                generator(*windows(1, length))
        assert [length for _, length in generator._recordings] == [3, 4]
