from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts import vocoder as vocoders
from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.compiled import convolutions, library
from app.speech.xtts.compiled.convolutions import Convolution, Step, width
from app.speech.xtts.vocoder import HOP, Vocoder

Reference = dict[str, NDArray[Any]]
CPU = torch.device("cpu")
# Of the rounding, by the filter's taps: twice what thousands of random filters had at most, which is a
# fourth, two thirds and three quarters of what bf16 has.
BOUNDS = {3: 0.0015, 7: 0.0035, 11: 0.004}


@pytest.fixture(scope="module")
def team() -> library.Team:
    return library.Team()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(x: Tensor) -> Tensor:
    return F.pad(x, (0, width(x.shape[1]) - x.shape[1]))


def plainly(weight: Tensor, x: Tensor, dilation: int = 1, slope: float = 1.0) -> Tensor:
    """(length, inputs) → (length, outputs), float64."""
    x = F.leaky_relu(x.double(), slope).T[None]
    padding = (weight.shape[2] - 1) // 2 * dilation
    return F.conv1d(x, weight.double(), padding=padding, dilation=dilation)[0].T


def convolved(convolution: Convolution, x: Tensor, team: library.Team) -> Tensor:
    y = torch.full((len(x), convolution.outputs), float("nan"))
    convolutions.run([convolution.step(padded(x), torch.zeros(convolution.outputs), y)], team)
    return y


def error(y: Tensor, expected: Tensor) -> float:
    return float((y.double() - expected.double()).norm() / expected.double().norm())


@settings(deadline=None, max_examples=200)
@given(
    taps=st.sampled_from([3, 7, 11]),
    dilation=st.sampled_from([1, 3, 5]),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    length=st.integers(1, 200),
    slope=st.sampled_from([1.0, 0.1]),
    residual=st.booleans(),
    add=st.booleans(),
    onto=st.sampled_from(["residual", "add", "neither"]),
    seed=st.integers(0, 2**32),
)
def test_as_pytorch(
    team: library.Team,
    taps: int,
    dilation: int,
    inputs: int,
    outputs: int,
    length: int,
    slope: float,
    residual: bool,
    add: bool,
    onto: str,
    seed: int,
) -> None:
    random = seeded(seed)
    weight, x = (
        torch.randn(outputs, inputs, taps, generator=random),
        torch.randn(length, inputs, generator=random),
    )
    bias = padded(torch.randn(1, outputs, generator=random))[0]
    convolution = Convolution(weight, dilation, slope)
    shape = (length, convolution.outputs)
    assert convolution.outputs == width(outputs)
    given_residual = torch.randn(shape, generator=random) if residual else None
    given_add = torch.randn(shape, generator=random) if add else None
    others = [other.clone() for other in (given_residual, given_add) if other is not None]
    given_x = padded(x)
    kept_x = given_x.clone()
    expected = F.pad(plainly(weight, x, dilation, slope), (0, shape[1] - outputs)) + bias + sum(others)

    y = {"residual": given_residual, "add": given_add}.get(onto)
    beyond = None
    if y is None:
        room = torch.full((length + 7, shape[1]), float("nan"))
        y, beyond = room[:length], room[length:]
    convolutions.run([convolution.step(given_x, bias, y, given_residual, given_add)], team)

    # What the sums of so many products are like; those of a few results may cancel out.
    size = weight.double().norm() * F.leaky_relu(x.double(), slope).norm() / inputs**0.5
    assert (y - expected).norm() < BOUNDS[taps] * size + 1e-6 * expected.norm()
    torch.testing.assert_close(y[:, outputs:].double(), expected[:, outputs:], atol=1e-6, rtol=1e-6)
    assert beyond is None or beyond.isnan().all()
    assert torch.equal(given_x, kept_x)
    for given_other, kept in zip(
        (other for other in (given_residual, given_add) if other is not None), others, strict=True
    ):
        assert given_other is y or torch.equal(given_other, kept)


@pytest.mark.parametrize("taps", [3, 7, 11])
@pytest.mark.parametrize("dilation", [1, 5])
def test_nearer_than_bf16(taps: int, dilation: int, team: library.Team) -> None:
    weight, x = torch.randn(64, 96, taps, generator=seeded(1)), torch.randn(400, 96, generator=seeded(2))
    expected = plainly(weight, x, dilation)
    padding = (taps - 1) // 2 * dilation
    bf16 = F.conv1d(x.bfloat16().T[None], weight.bfloat16(), padding=padding, dilation=dilation)[0].T
    compiled = error(convolved(Convolution(weight, dilation), x, team), expected)
    assert compiled < 0.9 * error(bf16, expected)


@settings(deadline=None, max_examples=60)
@given(
    stride=st.sampled_from([8, 2]),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    length=st.integers(1, 120),
    slope=st.sampled_from([1.0, 0.1]),
    seed=st.integers(0, 2**32),
)
def test_upsampling(
    team: library.Team, stride: int, inputs: int, outputs: int, length: int, slope: float, seed: int
) -> None:
    random = seeded(seed)
    weight, x = (
        torch.randn(inputs, outputs, 2 * stride, generator=random),
        torch.randn(length, inputs, generator=random),
    )
    convolution = Convolution.upsampling(weight, stride, slope)
    assert convolution.outputs == stride * width(outputs)
    y = convolved(convolution, x, team).view(length * stride, width(outputs))
    active = F.leaky_relu(x.double(), slope)
    expected = F.conv_transpose1d(active.T[None], weight.double(), stride=stride, padding=stride // 2)[0].T
    size = weight.double().norm() * active.norm() / inputs**0.5
    assert (y[:, :outputs] - expected).norm() < BOUNDS[3] * size
    assert not y[:, outputs:].any()


@pytest.mark.parametrize(("stride", "taps"), [(8, 15), (8, 8), (2, 3), (4, 16)])
def test_upsampling_of_other_taps(stride: int, taps: int) -> None:
    with pytest.raises(ValueError, match=f"{taps} taps for a stride of {stride}"):
        Convolution.upsampling(torch.zeros(4, 4, taps), stride, 0.1)


@pytest.mark.parametrize(
    ("inputs", "taps", "expected"),
    [(1, 3, True), (1024, 7, True), (1009, 11, True), (1025, 3, False), (8, 1, False), (8, 5, False)],
)
def test_fits(inputs: int, taps: int, expected: bool) -> None:
    assert convolutions.fits(torch.empty(4, inputs, taps)) == expected


@pytest.mark.parametrize("taps", [3, 7, 11])
def test_the_widest(taps: int, team: library.Team) -> None:
    weight, x = torch.randn(3, 1024, taps, generator=seeded(1)), torch.randn(50, 1024, generator=seeded(2))
    assert error(convolved(Convolution(weight), x, team)[:, :3], plainly(weight, x)) < BOUNDS[taps]


@pytest.mark.parametrize("taps", [3, 7, 11])
def test_silence(taps: int, team: library.Team) -> None:
    """Of it the bias is left, and nothing else."""
    convolution = Convolution(torch.randn(20, 5, taps, generator=seeded(1)), 3, 0.1)
    bias, y = torch.randn(32, generator=seeded(2)), torch.full((40, 32), float("nan"))
    residual = torch.randn(40, 32, generator=seeded(3))
    convolutions.run([convolution.step(torch.zeros(40, 16), bias, y, residual)], team)
    assert torch.equal(y, bias + residual)
    nothing = Convolution(torch.zeros(20, 5, taps))
    assert not convolved(nothing, torch.randn(40, 5), team).any()


@pytest.mark.parametrize("taps", [3, 7, 11])
@pytest.mark.parametrize("dilation", [1, 3])
def test_one_huge_number(taps: int, dilation: int, team: library.Team) -> None:
    """It costs its neighbours what they are, and nobody else anything."""
    weight, x = torch.randn(20, 30, taps, generator=seeded(1)), torch.randn(300, 30, generator=seeded(2))
    convolution = Convolution(weight, dilation)
    usual = convolved(convolution, x, team)
    x[150, 7] = 1e6
    y = convolved(convolution, x, team)
    assert error(y[:, :20], plainly(weight, x, dilation)) < BOUNDS[taps]
    far = (torch.arange(300) - 150).abs() > 2 * taps * dilation + 12 * dilation
    assert far.any()
    assert torch.equal(y[far], usual[far])


@pytest.mark.parametrize("inputs", [1, 16, 70, 1024])
@pytest.mark.parametrize("taps", [3, 7, 11])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_as_large_as_they_get(inputs: int, taps: int, sign: int, team: library.Team) -> None:
    """All channels alike, so that at some point of every tile all products have one sign and the most bits."""
    weight = sign * torch.randn(40, 1, taps, generator=seeded(1)).expand(-1, inputs, -1)
    x = 1000 * torch.randn(200, 1, generator=seeded(2)).expand(-1, inputs)
    y = convolved(Convolution(weight), x, team)[:, :40]
    assert error(y, plainly(weight, x)) < BOUNDS[taps]
    flat, loud = sign * torch.full((40, inputs, taps), 0.3), torch.full((200, inputs), 9.0)
    y = convolved(Convolution(flat), loud, team)[:, :40]
    assert error(y, plainly(flat, loud)) < BOUNDS[taps]


@settings(deadline=None, max_examples=40)
@given(
    taps=st.sampled_from([3, 7, 11]),
    inputs=st.integers(1, 1024),
    kind=st.sampled_from(["noise", "alike", "one", "tiny", "zero"]),
    seed=st.integers(0, 2**32),
)
def test_no_sum_is_more_than_32_bits(taps: int, inputs: int, kind: str, seed: int) -> None:
    weight = torch.randn(3, inputs, taps, generator=seeded(seed))
    if kind == "alike":
        weight = weight[:, :1].expand(-1, inputs, -1)
    elif kind == "one":
        weight[:, inputs // 2] *= 1e6
    elif kind in ("tiny", "zero"):
        weight *= {"tiny": 1e-25, "zero": 0.0}[kind]
    cells = Convolution(weight)._kept[0]  # [panels][points][groups][inputs / 2][32][2]
    assert cells.dtype == torch.int16
    assert cells.long().abs().amax() <= 32767
    for some in cells.long().abs().split(128 // 2, dim=3):  # inputs that convolutions.c adds up in 32 bits
        assert 8191 * some.sum((3, 5)).amax() < 2**31


def steps_of_a_block() -> tuple[list[Step], list[Tensor]]:
    """Eight steps that take from one another, in three rooms, and what they write."""
    random = seeded(5)
    room = torch.randn(3, 333, 48, generator=random)
    bias = torch.randn(48, generator=random)
    steps = []
    for taps, dilation in ((3, 1), (7, 3), (11, 5), (11, 1)):
        first, second = (
            Convolution(0.1 * torch.randn(40, 48, taps, generator=random), spaced, 0.1)
            for spaced in (dilation, 1)
        )
        steps += [
            first.step(room[0], bias, room[1]),
            second.step(room[1], bias, room[0], room[0], room[2]),
        ]
    return steps, list(room)


@pytest.mark.usefixtures("three_threads")
def test_steps_hang_on_no_number_of_threads_and_on_no_list() -> None:
    team = library.Team()
    steps, expected = steps_of_a_block()
    torch.set_num_threads(1)
    for step in steps:
        convolutions.run([step], team)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for _ in range(3):
            steps, rooms = steps_of_a_block()
            convolutions.run(steps, team)
            assert all(map(torch.equal, rooms, expected)), threads


@pytest.mark.parametrize("taps", [3, 7, 11])
def test_a_tile_hangs_on_no_other(taps: int, team: library.Team) -> None:
    """A signal's beginning is bit by bit what it is without the rest, but for what the rest changes."""
    convolution = Convolution(torch.randn(40, 20, taps, generator=seeded(1)), 1, 0.1)
    x = torch.randn(700, 20, generator=seeded(2))
    whole = convolved(convolution, x, team)
    for length in (30, 75, 140, 300, 601):
        settled = length - 2 * taps
        assert torch.equal(convolved(convolution, x[:length], team)[:settled], whole[:settled])


def test_no_steps(team: library.Team) -> None:
    convolutions.run([], team)


def test_memory_that_was_short(team: library.Team, monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = Convolution(torch.ones(4, 4, 3))
    monkeypatch.setattr(library, "library", lambda: SimpleNamespace(run_steps=lambda *given: False))
    with pytest.raises(MemoryError):
        convolved(convolution, torch.ones(9, 4), team)


# ---- the vocoder, which is made of them ----


def vocoder_of(folder: Path, precision: Any = "bf16", compiled: bool = True) -> Vocoder:
    opened = open_checkpoint(folder)
    weights = opened.weights.under("hifigan_decoder.waveform_decoder")
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(library, "supported", lambda device: False)
        vocoder = Vocoder(weights, opened.settings, precision, CPU)
    assert vocoder.compiled == (compiled and precision != "fp32")
    return vocoder


@pytest.fixture(scope="module")
def compiled(tiny_folder: Path) -> Vocoder:
    return vocoder_of(tiny_folder)


@pytest.fixture(scope="module")
def speaker(reference: Reference) -> Tensor:
    return torch.from_numpy(reference["voice/one/speaker"])


@pytest.fixture(scope="module")
def frames(reference: Reference) -> Tensor:
    """Enough for several segments, the last one not full."""
    states = torch.from_numpy(reference["text/usual/states"])
    grid = vocoders.Frames()
    x = grid(states, 0, grid.total(len(states)))
    return x.repeat(3, 1)[: 3 * vocoders._SEGMENT + 21]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_nearer_to_fp32_than_pytorch(
    precision: str, tiny_folder: Path, frames: Tensor, speaker: Tensor
) -> None:
    exact, plain, here = (
        vocoder_of(tiny_folder, *how)(frames[None], speaker[None])
        for how in (("fp32",), (precision, False), (precision,))
    )
    assert error(here, exact) < 0.5 * error(plain, exact) < 0.02


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 66, 130])
def test_segments_equal_the_whole(
    length: int,
    compiled: Vocoder,
    tiny_folder: Path,
    frames: Tensor,
    speaker: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces = compiled(frames[None, :length], speaker[None])
    assert pieces.shape == (1, length * HOP)
    exact = vocoder_of(tiny_folder, "fp32")(frames[None, :length], speaker[None])
    assert error(pieces, exact) < 0.01  # 40 dB
    monkeypatch.setattr(vocoders, "_SEGMENT", 1000)
    whole = compiled(frames[None, :length], speaker[None])
    assert torch.equal(pieces, whole) if length <= 64 else error(pieces, whole) < 0.005


def test_segments_meet(
    compiled: Vocoder, frames: Tensor, speaker: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ends are no further from the whole than what is between them."""
    number = torch.arange(len(frames))
    ends = (number % vocoders._SEGMENT == 0) | ((number + 1) % vocoders._SEGMENT == 0)
    ends[0] = False
    assert ends.sum() == 6
    pieces = compiled(frames[None], speaker[None])[0]
    monkeypatch.setattr(vocoders, "_SEGMENT", 1000)
    apart = (pieces - compiled(frames[None], speaker[None])[0]).view(-1, HOP).norm(dim=1)
    assert apart[ends].max() < 2 * apart[~ends].max()
    assert apart.max() < 0.02 * pieces.view(-1, HOP).norm(dim=1).mean()


def test_windows_hang_on_no_other(
    compiled: Vocoder, tiny_folder: Path, frames: Tensor, speaker: Tensor
) -> None:
    """Neither on one of the same batch, nor on what was spoken before, in the same memory."""
    windows = torch.stack((frames[:90], frames[90:180].flip(1)))
    speakers = torch.stack((speaker, -speaker))
    alone = [vocoder_of(tiny_folder)(windows[n : n + 1], speakers[n : n + 1])[0] for n in range(2)]
    compiled(frames[None], speaker[None])
    for _ in range(2):
        assert all(map(torch.equal, compiled(windows, speakers), alone))
    compiled(frames[None, :1], speaker[None])
    assert torch.equal(compiled(windows[:1], speakers[:1])[0], alone[0])


@pytest.mark.usefixtures("three_threads")
def test_audio_hangs_on_no_number_of_threads(tiny_folder: Path, frames: Tensor, speaker: Tensor) -> None:
    vocoder, waves = vocoder_of(tiny_folder), []
    for threads in (1, 2, 3, 3):
        torch.set_num_threads(threads)
        waves.append(vocoder(frames[None], speaker[None]))
    assert all(torch.equal(wave, waves[0]) for wave in waves)


def test_a_vocoder_of_other_filters_is_pytorchs(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_checkpoint(tiny_folder)
    weights = opened.weights.under("hifigan_decoder.waveform_decoder")
    monkeypatch.setattr(convolutions, "_TILES", {3: convolutions._TILES[3], 7: convolutions._TILES[7]})
    assert not Vocoder(weights, opened.settings, "bf16", CPU).compiled
