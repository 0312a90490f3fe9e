from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.compiled import pictures
from app.speech.xtts.compiled.pictures import Convolution
from app.speech.xtts.speaker import RATE, SpeakerEncoder
from tests.speech.xtts.checkpoints import recording

# Of the rounding: twice what thousands of random filters had at most.
BOUND = 0.002


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(channels: int, rows: int, columns: int, seed: int = 0) -> Tensor:
    x = torch.randn(1, channels, rows, columns, generator=seeded(seed))
    return x.contiguous(memory_format=torch.channels_last)


def filters(outputs: int, inputs: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, gain and shift."""
    random = seeded(seed)
    weight = torch.randn(outputs, inputs, 3, 3, generator=random)
    return weight, torch.randn(outputs, generator=random), torch.randn(outputs, generator=random)


def plainly(x: Tensor, weight: Tensor, gain: Tensor, shift: Tensor, rectified: bool) -> Tensor:
    y = F.conv2d(x.double(), weight.double(), padding=1)
    y = F.relu(y) if rectified else y
    return y * gain.double()[:, None, None] + shift.double()[:, None, None]


@settings(deadline=None, max_examples=150)
@given(
    inputs=st.integers(1, 10),
    outputs=st.integers(1, 5),
    rows=st.integers(1, 20),
    columns=st.integers(1, 60),
    rectified=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_as_pytorch(inputs: int, outputs: int, rows: int, columns: int, rectified: bool, seed: int) -> None:
    weight, gain, shift = filters(outputs * 16, inputs * 16, seed)
    x = picture(inputs * 16, rows, columns, seed)
    given = x.clone()

    y = Convolution(weight, gain, shift, rectified)(x)

    expected = plainly(x, weight, gain, shift, rectified)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, given)
    # What the sums of so many products are like; those of a few results may cancel out.
    size = weight.double().norm() * x.double().norm() / (inputs * 16) ** 0.5 * gain.abs().max()
    assert (y - expected).norm() < BOUND * size + 1e-6 * expected.norm()


def test_nearer_than_bf16() -> None:
    weight, gain, shift = filters(64, 96)
    x = picture(96, 16, 100)
    expected = plainly(x, weight, gain, shift, True)
    bf16 = F.relu(F.conv2d(x.bfloat16(), weight.bfloat16(), padding=1)).double()
    bf16 = bf16 * gain[:, None, None] + shift[:, None, None]
    compiled = Convolution(weight, gain, shift, True)(x)
    assert (compiled - expected).norm() < 0.7 * (bf16 - expected).norm()


@torch.inference_mode()
def test_a_measured_voice_is_nearer_than_by_bf16(tiny_folder: Path) -> None:
    weights = open_checkpoint(tiny_folder).weights.under("hifigan_decoder.speaker_encoder")
    cpu = torch.device("cpu")
    compiled, plain = SpeakerEncoder(weights, cpu, quickly=True), SpeakerEncoder(weights, cpu)
    audio = torch.from_numpy(recording(3, 4.0, RATE))
    exact = plain(audio)
    assert torch.equal(compiled(audio), exact)
    assert torch.equal(plain.measure(audio), exact)
    with torch.autocast("cpu", torch.bfloat16):
        bf16 = plain(audio).float()
    assert 0 < (compiled.measure(audio) - exact).norm() < 0.3 * (bf16 - exact).norm()


def test_silence_and_what_is_loud() -> None:
    weight, gain, shift = filters(32, 32)
    convolution = Convolution(weight, gain, shift)
    torch.testing.assert_close(
        convolution(torch.zeros(1, 32, 9, 9)), shift[None, :, None, None].expand(1, 32, 9, 9)
    )
    x = picture(32, 9, 14) * 1e6
    expected = plainly(x, weight, gain, shift, False)
    assert (convolution(x) - expected).norm() < BOUND * expected.norm()


@pytest.mark.parametrize(("inputs", "rows", "columns"), [(16, 1, 1), (64, 64, 100), (160, 8, 100)])
def test_memory_is_as_large_as_was_said(inputs: int, rows: int, columns: int) -> None:
    weight, gain, shift = filters(32, inputs)
    convolution = Convolution(weight, gain, shift)
    pictures._kept.memory = torch.full((convolution._room + 100,), float("nan"))
    y = convolution(picture(inputs, rows, columns))
    assert y.isfinite().all()
    assert pictures._kept.memory[convolution._room :].isnan().all()


def test_threads_do_not_meet() -> None:
    weight, gain, shift = filters(64, 64)
    convolution = Convolution(weight, gain, shift)
    given = [picture(64, 32, 100, seed) for seed in range(16)]
    expected = [convolution(x) for x in given]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(torch.equal, pool.map(convolution, given), expected))


def test_gated() -> None:
    y, x = picture(48, 5, 7, 1), picture(48, 5, 7, 2)
    gate = torch.rand(1, 48, generator=seeded(3))
    expected = F.relu(y * gate[:, :, None, None] + x)
    assert pictures.gated(y, gate, x) is y
    torch.testing.assert_close(y, expected)


def test_other_layouts() -> None:
    weight, gain, shift = filters(32, 32)
    convolution = Convolution(weight, gain, shift)
    x, gate = picture(32, 6, 20), torch.ones(1, 32)
    y = convolution(x)
    assert torch.equal(convolution(x.contiguous()), y)
    assert torch.equal(convolution(x.double()), y)
    expected = pictures.gated(y.clone(), gate, x)
    assert torch.equal(pictures.gated(y, gate.double(), x.contiguous()), expected)


def test_sizes_that_do_not_fit() -> None:
    weight, gain, shift = filters(32, 32)
    convolution = Convolution(weight, gain, shift)
    with pytest.raises(ValueError, match="48 channels for a filter of 32"):
        convolution(picture(48, 6, 6))
    y = convolution(picture(32, 6, 6))
    with pytest.raises(ValueError, match="for a picture of"):
        pictures.gated(y, torch.ones(1, 32), picture(32, 6, 7))
    with pytest.raises(ValueError, match="for a picture of"):
        pictures.gated(y, torch.ones(1, 16), picture(32, 6, 6))


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((32, 32, 3, 3), True),
        ((64, 16, 3, 3), True),
        ((64, 1024, 3, 3), True),
        ((64, 1040, 3, 3), False),
        ((64, 32, 1, 1), False),
        ((64, 1, 3, 3), False),
        ((8, 32, 3, 3), False),
    ],
)
def test_which_filters_fit(shape: tuple[int, ...], fits: bool) -> None:
    assert pictures.fits(torch.zeros(shape)) is fits
