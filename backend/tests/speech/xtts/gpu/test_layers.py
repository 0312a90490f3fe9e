from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts import gpu
from app.speech.xtts.gpt import Gpt
from app.speech.xtts.gpu import layers
from app.speech.xtts.gpu.cache import PAGE, PagedCache, pages_of
from app.speech.xtts.gpu.layers import GpuLayers, Tiles
from app.speech.xtts.linear import Precision
from app.speech.xtts.model import Model
from tests.speech.xtts.gpu.devices import CUDA, DEVICE, by_kernels, error, noise
from tests.speech.xtts.test_gpt import TEXTS, forced

Reference = dict[str, NDArray[Any]]
Token = tuple[int, int]  # row, position
real_tiles = layers.tiles_of  # not the interpreter's


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def fast(gpt: Gpt) -> GpuLayers:
    assert isinstance(gpt._fast, GpuLayers)
    return gpt._fast


@pytest.mark.parametrize("text", TEXTS if CUDA else TEXTS[:2])
def test_as_coqui_tts(text: str, gpt: Gpt, precision: Precision, reference: Reference) -> None:
    """Over prefix, prompt and a step a code, while coqui-tts's own codes are fed."""
    states, logits, choices = forced(gpt, reference, text)
    wanted = torch.from_numpy(reference[f"text/{text}/states"])
    first = torch.from_numpy(reference[f"text/{text}/logits"])[: len(logits)]
    if precision == "fp32":
        torch.testing.assert_close(states, wanted, atol=1e-3, rtol=0)
        torch.testing.assert_close(logits[: len(first)], first, atol=1e-3, rtol=0)
        assert choices == reference[f"text/{text}/codes"].tolist()
    else:
        assert error(states, wanted) < 0.02
        assert error(logits[: len(first)], first) < 0.02


def test_int8_is_a_precision_of_the_weights(tiny_folder: Path, reference: Reference) -> None:
    states, _, _ = forced(by_kernels(tiny_folder, "int8"), reference, "usual")
    wanted = torch.from_numpy(reference["text/usual/states"])
    assert 0.005 < error(states, wanted) < 0.05


def filled(gpt: Gpt, pasts: Sequence[int], order: Sequence[int], more: int = 24) -> PagedCache:
    """Rows with room for `more` positions after made-up keys and values, which a row's past decides and not its
    pages; those are given out in this order."""
    cache = gpt.cache(len(pasts), 256, sum(pages_of(past + more) * PAGE for past in pasts))
    assert isinstance(cache, PagedCache)
    cache.blocks.zero_()
    for row in order:
        cache.reserve(row, [pasts[row] + more])
        kept = held(cache, row)
        cache.blocks[:, :, pages(cache, row)] = noise(*kept.shape, seed=pasts[row]).to(kept)
    return cache


def pages(cache: PagedCache, row: int) -> Tensor:
    numbers = cache.table[row].long()
    return numbers[numbers > 0]


def held(cache: PagedCache, row: int) -> Tensor:
    """Keys and values of a row, its pages in order."""
    return cache.blocks[:, :, pages(cache, row)]


def states(gpt: Gpt, cache: PagedCache, tokens: Sequence[Token]) -> Tensor:
    """Of a pass over such tokens, each of which is its row and position alone."""
    rows, positions = torch.tensor(tokens, dtype=torch.int32, device=DEVICE).T.contiguous()
    x = torch.cat([noise(1, gpt.settings.channels, seed=position) for _, position in tokens])
    return gpt.states_and_logits(gpt.read(x, cache, rows, positions))[0]


PASTS = (5, 61, 90)
ORDER = (0, 1, 2)
SUBJECT = [(1, position) for position in range(61, 68)]  # from one page to the next
# On a GPU, tiles change after 16 and after 64 tokens.
COUNTS = (16, 17, 64, 65, 130) if CUDA else (16, 17)


def others(count: int) -> list[Token]:
    """Tokens of the rows beside the subject's, in turns."""
    return [(2 * (number % 2), PASTS[2 * (number % 2)] + number // 2 % 24) for number in range(count)]


def nobody(count: int) -> list[Token]:
    return [(len(PASTS), 0)] * count


@pytest.mark.parametrize(
    ("beside", "count"),
    [*((others, count) for count in COUNTS), (nobody, COUNTS[1])],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_same_bits_alone_and_among_others(
    beside: Callable[[int], list[Token]], count: int, gpt: Gpt, among: dict[str, Tensor]
) -> None:
    cache = filled(gpt, PASTS, ORDER[::-1])
    before = beside(count - len(SUBJECT))
    after = [before.pop() for _ in range(len(before) // 2)]
    given = states(gpt, cache, [*before, *SUBJECT, *after])[len(before) :][: len(SUBJECT)]
    assert torch.equal(given, among["states"])
    assert torch.equal(held(cache, 1), among["held"])
    if beside is nobody:
        untouched = filled(gpt, PASTS, ORDER)
        for row in (0, 2):
            assert torch.equal(held(cache, row), held(untouched, row))


@pytest.fixture(scope="module")
def among(gpt: Gpt) -> dict[str, Tensor]:
    """The subject's states and what its row then holds, by itself."""
    with torch.inference_mode():
        cache = filled(gpt, PASTS, ORDER)
        return {"states": states(gpt, cache, SUBJECT), "held": held(cache, 1)}


def test_the_same_bits_in_two_parts_and_step_by_step(gpt: Gpt, among: dict[str, Tensor]) -> None:
    cache = filled(gpt, PASTS, ORDER)
    parts = [SUBJECT[:4], SUBJECT[4:5], SUBJECT[5:]]
    assert torch.equal(torch.cat([states(gpt, cache, part) for part in parts]), among["states"])
    assert torch.equal(held(cache, 1), among["held"])


def test_prompts_and_steps_are_passes_of_that_kind(gpt: Gpt, among: dict[str, Tensor]) -> None:
    """A padded prompt of two rows, and then a step of both."""
    cache = filled(gpt, [PASTS[1], PASTS[1]], [1, 0])
    x = torch.cat([noise(1, gpt.settings.channels, seed=position) for _, position in SUBJECT])
    padded = torch.stack([x[:6], torch.cat((x[:3], x.new_full((3, x.shape[1]), 9.0)))])
    prompts = gpt.prefill(padded, cache, 0, PASTS[1])
    steps = gpt.decode(x[[6, 3]], cache, torch.tensor([67, 64], device=DEVICE))
    given, _ = gpt.states_and_logits(torch.cat((prompts[0], steps[:1], prompts[1, :3], steps[1:])))
    assert torch.equal(given, among["states"][[*range(7), *range(4)]])


def test_attention_as_pytorch(gpt: Gpt, precision: Precision) -> None:
    """Over any number of positions, on pages that lie anywhere."""
    lasts = [0, 31, 32, 63, 64, 130]
    cache = filled(gpt, [last + 1 for last in lasts], [3, 0, 5, 1, 4, 2], more=1)
    rows = torch.arange(len(lasts), dtype=torch.int32, device=DEVICE)
    positions = torch.tensor(lasts, dtype=torch.int32, device=DEVICE)
    query = noise(len(lasts), gpt.settings.channels, seed=1).to(gpt.cached)
    given = torch.empty_like(query)
    fast(gpt)._attend(query, (*cache.blocks[1], cache.table, rows, positions), given)
    for row, last in enumerate(lasts):
        keys, values = (
            part.transpose(0, 1).flatten(1, 2)[:, : last + 1].float() for part in held(cache, row)[1]
        )
        heads = query[row].float().view(gpt.settings.heads, 1, -1)
        expected = F.scaled_dot_product_attention(heads, keys, values, scale=1.0)
        assert error(given[row], expected.flatten()) < (1e-5 if precision == "fp32" else 0.01)


def tiles(dtype: torch.dtype) -> list[Tiles]:
    """All that a product can be cut into; the interpreter takes those of bf16."""
    kinds = [
        real_tiles(side, side, dtype if CUDA else torch.bfloat16, count)
        for side in (64, 4096)
        for count in (1, 17, 65)
    ]
    return list(dict.fromkeys(kinds))


@pytest.mark.parametrize("after", ["partial", "gelu"])
def test_a_product_is_the_same_however_it_is_cut(
    after: str, gpt: Gpt, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of outputs and tokens that fill no tile, and inputs that are read in several parts."""
    weight, bias = noise(80, 512, seed=1) / 512**0.5, noise(80, seed=2)
    product = fast(gpt)._product(weight.cpu(), bias.cpu(), precision, split=after == "partial")
    x = noise(13, 512, seed=3).to(gpt.cached)
    given = []
    for cut in tiles(gpt.cached):
        monkeypatch.setattr(layers, "tiles_of", lambda *_, cut=cut: cut)
        shape, dtype = ((2, 13, 80), torch.float32) if after == "partial" else ((13, 80), gpt.cached)
        out = torch.full(shape, float("nan"), dtype=dtype, device=DEVICE)
        fast(gpt)._multiply(x, product, out, after)
        given.append(out)
    exact = x.double() @ product.weight.double().T
    if after == "partial":
        assert error(given[0].sum(0), exact) < 1e-5
    else:
        expected = F.gelu(exact + bias, approximate="tanh")
        assert error(given[0], expected) < (1e-5 if precision == "fp32" else 0.005)
    for other in given[1:]:
        if CUDA and precision == "bf16":
            assert torch.equal(other, given[0])
        else:  # sums are numpy's there; and in fp32, which has one kind of tiles, each tile's are three
            torch.testing.assert_close(other, given[0], atol=2e-6, rtol=0)


if not CUDA:

    @pytest.mark.parametrize("count", [7, 17])
    def test_a_gpus_tiles_in_a_pass(
        count: int, gpt: Gpt, among: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            layers,
            "tiles_of",
            lambda outputs, inputs, _, tokens: real_tiles(outputs, inputs, torch.bfloat16, tokens),
        )
        given = states(gpt, filled(gpt, PASTS, ORDER), [*SUBJECT, *others(count - len(SUBJECT))])
        torch.testing.assert_close(given[: len(SUBJECT)], among["states"], atol=1e-5, rtol=0)


def test_supported_where_the_kernels_can_run(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, cuda = tiny.settings, torch.device("cuda")
    assert not layers.supported(settings, torch.device("cpu"))
    monkeypatch.setattr(gpu, "usable", lambda device: device == cuda)
    assert layers.supported(settings, cuda)
    assert not layers.supported(replace(settings, channels=80), cuda)  # heads of 20
    assert not layers.supported(replace(settings, heads=8), cuda)  # of 8


def test_codes_follow_the_logits_of_the_head(gpt: Gpt, tiny: Model) -> None:
    """The head is fp32 in every precision."""
    x = noise(3, gpt.settings.channels, seed=4)
    given, logits = gpt.states_and_logits(x)
    assert (given.dtype, logits.dtype) == (torch.float32, torch.float32)
    expected = tiny.gpt.states_and_logits(x.to(tiny.device))
    np.testing.assert_allclose(given.cpu(), expected[0].cpu(), atol=1e-4)
    np.testing.assert_allclose(logits.cpu(), expected[1].cpu(), atol=1e-4)
