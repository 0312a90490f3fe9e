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
from app.speech.xtts.compiled.convolutions import Convolution, Link, Place
from app.speech.xtts.compiled.tiles import width
from app.speech.xtts.vocoder import HOP, Vocoder

Reference = dict[str, NDArray[Any]]
CPU = torch.device("cpu")
# Of the rounding, by the filter's taps: twice what thousands of random filters had at most, which is a fourth of
# what bf16 has, and a sixth.
BOUNDS = {3: 0.0015, 5: 0.001, 7: 0.001, 11: 0.001, 17: 0.001}


@pytest.fixture(scope="module")
def team() -> library.Team:
    return library.Team(torch.get_num_threads())


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(x: Tensor) -> Tensor:
    return F.pad(x, (0, width(x.shape[1]) - x.shape[1]))


def plainly(weight: Tensor, x: Tensor, dilation: int = 1, slope: float = 1.0) -> Tensor:
    """(length, inputs) → (length, outputs), float64."""
    x = F.leaky_relu(x.double(), slope).T[None]
    padding = (weight.shape[2] - 1) // 2 * dilation
    return F.conv1d(x, weight.double(), padding=padding, dilation=dilation)[0].T


def through(links: list[Link], x: Tensor, team: library.Team, cut: tuple[int, int] | None = None) -> Tensor:
    """x (length, inputs) through a chain; not a number behind its end, which stays so."""
    length, outputs = len(x) * links[0].expand, links[-1].convolution.outputs // links[-1].expand
    room = torch.full((length + 7, outputs), float("nan"))
    given, kept = padded(x), padded(x)
    convolutions.run(links, given, room[:length], team, torch.empty(0), cut)
    assert room[length:].isnan().all()
    assert torch.equal(given, kept)
    return room[:length]


def link(convolution: Convolution, bias: Tensor | None = None) -> Link:
    """A chain of itself."""
    bias = torch.zeros(convolution.outputs) if bias is None else bias
    return Link(convolution, bias, Place.INPUT, Place.OUTPUT)


def convolved(convolution: Convolution, x: Tensor, team: library.Team) -> Tensor:
    return through([link(convolution)], x, team)


def error(y: Tensor, expected: Tensor) -> float:
    return float((y.double() - expected.double()).norm() / expected.double().norm())


@settings(deadline=None, max_examples=200)
@given(
    taps=st.sampled_from(sorted(BOUNDS)),
    dilation=st.sampled_from([1, 3, 5]),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    length=st.integers(1, 200),
    slope=st.sampled_from([1.0, 0.1]),
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
    seed: int,
) -> None:
    random = seeded(seed)
    weight, x = (
        torch.randn(outputs, inputs, taps, generator=random),
        torch.randn(length, inputs, generator=random),
    )
    bias = padded(torch.randn(1, outputs, generator=random))[0]
    convolution = Convolution(weight, dilation, slope)
    assert convolution.outputs == width(outputs)
    expected = F.pad(plainly(weight, x, dilation, slope), (0, width(outputs) - outputs)) + bias

    y = through([link(convolution, bias)], x, team)

    # What the sums of so many products are like; those of a few results may cancel out.
    size = weight.double().norm() * F.leaky_relu(x.double(), slope).norm() / inputs**0.5
    assert (y - expected).norm() < BOUNDS[taps] * size + 1e-6 * expected.norm()
    torch.testing.assert_close(y[:, outputs:].double(), expected[:, outputs:], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("taps", [3, 7, 11])
@pytest.mark.parametrize("dilation", [1, 5])
def test_nearer_than_bf16(taps: int, dilation: int, team: library.Team) -> None:
    weight, x = torch.randn(64, 96, taps, generator=seeded(1)), torch.randn(400, 96, generator=seeded(2))
    expected = plainly(weight, x, dilation)
    padding = (taps - 1) // 2 * dilation
    bf16 = F.conv1d(x.bfloat16().T[None], weight.bfloat16(), padding=padding, dilation=dilation)[0].T
    compiled = error(convolved(Convolution(weight, dilation), x, team), expected)
    assert compiled < 0.3 * error(bf16, expected)


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
    [
        (1, 3, True),
        (1024, 7, True),
        (1009, 11, True),
        (1025, 3, False),
        (8, 1, False),
        (8, 5, True),
        (8, 17, True),
        (8, 19, False),
        (8, 4, False),
    ],
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
    bias = torch.randn(32, generator=seeded(2))
    assert torch.equal(through([link(convolution, bias)], torch.zeros(40, 5), team), bias.expand(40, -1))
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
    far = (torch.arange(300) - 150).abs() > (8 if taps == 3 else 32) * dilation  # what a tile hears
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
    cells = Convolution(weight)._kept[0]  # [panels][points][inputs / 2][32][2]
    assert cells.dtype == torch.int16
    assert cells.long().abs().amax() <= 32767
    for some in cells.long().abs().split(128 // 2, dim=2):  # inputs that convolutions.c adds up in 32 bits
        assert 8191 * some.sum((2, 4)).amax() < 2**31


OWN = (Place.FIRST, Place.SECOND, Place.THIRD, Place.FOURTH)


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Link], list[Tensor], Tensor]:
    """Up to eight links that take from one another, their filters, and what goes in."""
    random = seeded(draw(st.integers(0, 2**32)))
    channels, count = draw(st.sampled_from([16, 40])), draw(st.integers(1, 8))
    expand = draw(st.sampled_from([1, 2, 8]))
    links, filters, written = [], [], [Place.INPUT]
    for number in range(count):
        taps, dilation = draw(st.sampled_from([3, 7, 11, 17])), draw(st.sampled_from([1, 3, 5]))
        if number == 0 and expand > 1:
            weight = torch.randn(channels, channels, 2 * expand, generator=random)
            convolution = Convolution.upsampling(weight, expand, 0.1)
        else:
            weight = torch.randn(channels, channels, taps, generator=random) / (channels * taps) ** 0.5
            convolution = Convolution(weight, dilation, 0.1)
        x = draw(st.sampled_from(written))
        y = draw(st.sampled_from([each for each in OWN if each != x]))
        others = [
            Place.NOTHING if number == 0 else draw(st.sampled_from([Place.NOTHING, *written]))
            for _ in range(2)
        ]
        bias = torch.randn(convolution.outputs, generator=random)
        last = Place.OUTPUT if number == count - 1 else y
        links.append(Link(convolution, bias, x, last, *others, expand if number == 0 else 1))
        filters.append(weight)
        written = sorted({*written, y} - ({Place.INPUT} if expand > 1 else set()))
    return links, filters, torch.randn(draw(st.integers(1, 150)), channels, generator=random)


def by_pytorch(links: list[Link], filters: list[Tensor], x: Tensor) -> Tensor:
    """float64, a place after the other."""
    places = {Place.INPUT: x.double()}
    for each, weight in zip(links, filters, strict=True):
        if each.expand > 1:
            active = F.leaky_relu(places[each.x], 0.1).T[None]
            padding = each.expand // 2
            y = F.conv_transpose1d(active, weight.double(), stride=each.expand, padding=padding)[0].T
        else:
            dilation = each.convolution._structure.dilation
            y = plainly(weight, places[each.x], dilation, 0.1)
        y = y + each.bias.view(each.expand, -1)[torch.arange(len(y)) % each.expand, : y.shape[1]]
        for other in (each.residual, each.add):
            if other != Place.NOTHING:
                y = y + places[other]
        places[each.y] = y
    return places[Place.OUTPUT]


@settings(deadline=None, max_examples=150)
@given(chain=chains(), cut=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_units_equal_the_whole(
    chain: tuple[list[Link], list[Tensor], Tensor], cut: tuple[int, int], team: library.Team
) -> None:
    links, filters, x = chain
    whole = through(links, x, team, (1, 1))
    # Its channels that are filled up have a bias of their own here, and nobody else hears them.
    assert error(whole[:, : x.shape[1]], by_pytorch(links, filters, x)) < 0.01
    assert torch.equal(through(links, x, team, cut), whole)


@pytest.mark.usefixtures("three_threads")
def test_results_hang_on_no_number_of_threads() -> None:
    team, random = library.Team(torch.get_num_threads()), seeded(5)
    convolution = Convolution(0.1 * torch.randn(48, 48, 7, generator=random), 3, 0.1)
    bias, x = torch.randn(48, generator=random), torch.randn(9000, 48, generator=random)
    links = [
        Link(convolution, bias, Place.INPUT, Place.FIRST),
        Link(convolution, bias, Place.FIRST, Place.SECOND),
        Link(convolution, bias, Place.SECOND, Place.OUTPUT, Place.FIRST),
    ]
    torch.set_num_threads(1)
    expected = through(links, x, team, (1, 1))
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for _ in range(3):
            assert torch.equal(through(links, x, team), expected), threads


def test_memory_between_links_is_kept(team: library.Team) -> None:
    convolution = Convolution(torch.ones(16, 16, 3))
    bias, x, y = torch.zeros(16), torch.ones(500, 16), torch.empty(500, 16)
    links = [
        Link(convolution, bias, Place.INPUT, Place.FIRST),
        Link(convolution, bias, Place.FIRST, Place.OUTPUT),
    ]
    places = convolutions.run(links, x, y, team, torch.empty(0))
    assert convolutions.run(links, x, y, team, places) is places
    assert convolutions.run(links, x[:20], y[:20], team, places) is places


@pytest.mark.parametrize("taps", [3, 7, 11])
def test_a_tile_hangs_on_no_other(taps: int, team: library.Team) -> None:
    """A signal's beginning is bit by bit what it is without the rest, but for what the rest changes."""
    convolution = Convolution(torch.randn(40, 20, taps, generator=seeded(1)), 1, 0.1)
    x = torch.randn(700, 20, generator=seeded(2))
    whole = convolved(convolution, x, team)
    for length in (35, 75, 140, 300, 601):
        settled = length - 32  # what a tile hears at most
        assert torch.equal(convolved(convolution, x[:length], team)[:settled], whole[:settled])


def test_memory_that_was_short(team: library.Team, monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = Convolution(torch.ones(4, 4, 3))
    short = SimpleNamespace(measure=lambda *given: None, run_chain=lambda *given: False)
    monkeypatch.setattr(library, "library", lambda: short)
    with pytest.raises(MemoryError):
        convolved(convolution, torch.ones(9, 4), team)


# ---- the vocoder, which is made of them ----


def vocoder_of(folder: Path, precision: Any = "bf16", compiled: bool = True) -> Vocoder:
    opened = open_checkpoint(folder)
    weights = opened.weights.under("hifigan_decoder.waveform_decoder")
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(library, "supported", lambda device: False)
        vocoder = Vocoder(weights, precision, CPU)
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
    """Enough for several units."""
    states = torch.from_numpy(reference["text/usual/states"])
    grid = vocoders.Frames()
    x = grid(states, 0, grid.total(len(states)))
    return x.repeat(5, 1)[:213]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_nearer_to_fp32_than_pytorch(
    precision: str, tiny_folder: Path, frames: Tensor, speaker: Tensor
) -> None:
    exact, plain, here = (
        vocoder_of(tiny_folder, *how)(frames[None], speaker[None])
        for how in (("fp32",), (precision, False), (precision,))
    )
    assert error(here, exact) < 0.5 * error(plain, exact) < 0.02


@pytest.mark.parametrize("length", [1, 2, 65, 213])
def test_units_equal_the_window(
    length: int,
    compiled: Vocoder,
    tiny_folder: Path,
    frames: Tensor,
    speaker: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = vocoder_of(tiny_folder, "fp32")(frames[None, :length], speaker[None])
    monkeypatch.setattr(convolutions, "_cut", lambda y, threads: (1, 1))
    whole = compiled(frames[None, :length], speaker[None])
    assert whole.shape == (1, length * HOP)
    assert error(whole, exact) < 0.01  # 40 dB
    for cut in ((7, 1), (1, 7), (3, 4)):
        monkeypatch.setattr(convolutions, "_cut", lambda y, threads, cut=cut: cut)
        assert torch.equal(compiled(frames[None, :length], speaker[None]), whole), cut


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
    monkeypatch.setattr(convolutions, "_MOST_TAPS", 9)
    assert not Vocoder(weights, "bf16", CPU).compiled
