from __future__ import annotations

from itertools import combinations, product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.speech.xtts.compiled import library, weights
from app.speech.xtts.compiled.library import Team

PRECISIONS = ("fp32", "bf16", "int8")
MOST = {"bf16": 511.0, "int8": 127.0}  # of a weight in whole numbers
# What the last bits of eight weights can be, as weights.h says: four, and the same or the opposite.
WORDS = torch.tensor([[*four, *(bit ^ sum(four) % 2 for bit in four)] for four in product((0, 1), repeat=4)])


@pytest.fixture(scope="module")
def team() -> Team:
    return Team(3)


def numbers_of(cells: Tensor, precision: str) -> Tensor:
    """(outputs, inputs) of cells, as weights.h says."""
    if precision == "fp32":
        return cells.transpose(1, 2).flatten(0, 1)
    if precision == "int8":
        parts = cells.view(torch.uint8).view(len(cells), -1, 32, 4).permute(0, 2, 1, 3)
        return parts.reshape(len(cells) * 32, -1).float() - 128.0
    kept = cells.view(torch.int16).int() & 0xFFFF  # (panels, units, 19, 32): two inputs of sixteen outputs
    numbers = torch.empty(*kept.shape[:2], 32, 32)
    for quarter, cell, half in product(range(4), range(4), range(2)):
        upper = kept[:, :, 3 + 4 * quarter + cell] >> 8 * (1 - half) & 255
        bit = 4 * cell + 2 * half
        before = kept[:, :, quarter // 2] >> bit + 1 - quarter % 2 & 1
        last = kept[:, :, 2] >> bit + quarter % 2 & 1
        if quarter >= 2:
            last = last + sum(kept[:, :, 2] >> 4 * n + 2 * half + quarter % 2 & 1 for n in range(4)) & 1
        whole = 4 * upper + 2 * before + last
        whole = torch.where(whole < 512, whole, whole - 1024).unflatten(2, (16, 2))
        inputs = 8 * quarter + 2 * cell
        numbers[:, :, 16 * half : 16 * half + 16, inputs : inputs + 2] = whole
    return numbers.transpose(1, 2).reshape(len(cells) * 32, -1)


def spread(scales: Tensor, inputs: int) -> Tensor:
    """Scales as they are kept → of every weight, (outputs, inputs)."""
    return scales.float().transpose(1, 2).flatten(0, 1).repeat_interleave(128, 1)[:, :inputs]


def unpacked(cells: Tensor, scales: Tensor | None, precision: str) -> Tensor:
    """What is multiplied in the end, (outputs, inputs)."""
    numbers = numbers_of(cells, precision)
    return numbers if scales is None else numbers * spread(scales, numbers.shape[1])


def eights(numbers: Tensor) -> Tensor:
    """(outputs, inputs) → (…, 8): those whose last bits belong together, of an output, two quarters apart."""
    units = numbers.view(len(numbers), -1, 2, 2, 4, 2)  # output, unit, later, quarter, cell, upper
    return units.permute(0, 1, 3, 5, 2, 4).flatten(4)


def representable(outputs: int, inputs: int, precision: str, seed: int) -> Tensor:
    """Weights that packing does not change: in each block of each output some are as large as they get."""
    most = MOST[precision]
    whole = torch.from_numpy(np.random.default_rng(seed).integers(-126, 127, (outputs, inputs))).float()
    if precision == "bf16":
        even, words = 4 * eights(whole), WORDS[eights(whole)[..., 0].long() % 16]
        points = (even + words).unflatten(4, (2, 4)).permute(0, 1, 4, 2, 5, 3)
        whole = points.reshape(outputs, inputs)
    whole.view(outputs, -1, 32)[:, :, ::2] = -most
    return whole / 2**12


@pytest.mark.parametrize("precision", PRECISIONS)
def test_packed(precision: Any, team: Team) -> None:
    """The layout that weights.h says, number by number."""
    weight, bias = torch.randn(64, 192, generator=torch.Generator().manual_seed(3)), torch.randn(64)
    weight[5, 130] = 40.0  # which is felt in its own block of 128 inputs only
    most = MOST.get(precision, 511.0)
    weight[6], weight[7], weight[8] = 0.0, 1e-12, -most / 256  # the last has a scale that bf16 knows
    weight[9] *= 1e6
    cells, kept_bias, scales = weights.packed(weight, bias, precision, team)
    found = numbers_of(cells, precision)
    assert torch.equal(kept_bias, bias)
    assert found.shape == weight.shape
    if precision == "fp32":
        assert scales is None
        assert torch.equal(found, weight)
        return
    assert scales is not None
    assert scales.shape == (2, 2, 32)
    assert scales.dtype is torch.bfloat16
    scale = spread(scales, 192)
    assert found.abs().amax() == most
    assert (found[8] == -most).all()
    assert not found[6].any()
    farthest = 0.51 if precision == "int8" else 2**0.5 + 0.01
    assert ((found * scale - weight).abs() <= farthest * scale).all()
    assert scale[5, 0] < 8.0 / most < scale[5, 191]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_what_needs_no_rounding_is_kept_as_it_is(precision: Any, team: Team) -> None:
    weight = representable(64, 192, precision, 3)
    cells, _, scales = weights.packed(weight, torch.zeros(64), precision, team)
    assert torch.equal(unpacked(cells, scales, precision), weight)


def test_last_bits_that_belong_together_tell_each_other_apart(team: Team) -> None:
    assert min(int((a != b).sum()) for a, b in combinations(WORDS, 2)) == 4
    cells, *_ = weights.packed(torch.randn(32, 128), torch.zeros(32), "bf16", team)
    last = eights(numbers_of(cells, "bf16")).long() & 1
    assert (last[..., None, :] == WORDS).all(-1).any(-1).all()


def test_weights_become_the_nearest_point(team: Team) -> None:
    """Of those that all sixteen words allow; at the ends of the range, and where several are as near, too."""
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(96, 256, generator=generator)
    weight[32:64] = weight[32:64].sign() * (1.0 - 0.01 * torch.rand(32, 256, generator=generator))
    weight[64:] = (torch.rand(32, 256, generator=generator) < 0.3).float() / 2**12
    weight[64:, ::128] = torch.tensor([511.0, -511.0]).repeat(16)[:, None] / 2**12
    cells, _, scales = weights.packed(weight, torch.zeros(96), "bf16", team)
    assert scales is not None
    wanted, found = eights(weight / spread(scales, 256)), eights(numbers_of(cells, "bf16"))
    near = [(2 * ((wanted - bit) / 2).round() + bit).clamp(-510 - bit, 510 + bit) for bit in (0, 1)]
    far = torch.stack([(wanted - each) ** 2 for each in near], -1)  # (…, 8, 2)
    least = far[..., torch.arange(8), WORDS].sum(-1).amin(-1)
    torch.testing.assert_close(((wanted - found) ** 2).sum(-1), least, rtol=1e-3, atol=1e-3)
    # Sphere Packings, table 2.3: 0.07168 of the volume to the power of 2/8, which is 16 here.
    error = ((wanted - found)[:32] ** 2).mean()
    assert error == pytest.approx(0.07168 * 16**0.25, rel=0.02)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_packing_hangs_on_no_number_of_threads(precision: Any, team: Team, three_threads: None) -> None:
    weight, bias = torch.randn(160, 96), torch.zeros(160)
    several = weights.packed(weight, bias, precision, team)
    torch.set_num_threads(1)
    for one, other in zip(several, weights.packed(weight, bias, precision, team), strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_memory_that_was_short(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "library", lambda: SimpleNamespace(pack=lambda *given: False))
    with pytest.raises(MemoryError):
        weights.packed(torch.zeros(32, 32), torch.zeros(32), "int8", team)
