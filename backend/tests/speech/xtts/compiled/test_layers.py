from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts.checkpoint import Checkpoint, Weights, open_checkpoint
from app.speech.xtts.compiled import layers, library
from app.speech.xtts.gpt import Cache, Gpt
from app.speech.xtts.sampling import Sampling, sample
from tests.speech.xtts.compiled.test_weights import MOST, representable
from tests.speech.xtts.test_gpt import TEXTS, forced

Reference = dict[str, NDArray[Any]]
CPU = torch.device("cpu")
PRECISIONS = ("fp32", "bf16", "int8")
BOUNDS = {"fp32": 1e-4, "bf16": 2e-2, "int8": 5e-2}
ROWS = 26  # so that passes of every number of tokens at once, and of three lots, are among those of 1 to 26


def of(opened: Checkpoint, precision: Any) -> Gpt:
    gpt = Gpt(opened.weights, opened.settings, precision, CPU)
    assert gpt.compiled
    return gpt


def plain(folder: Path, precision: Any, opened: Checkpoint | None = None) -> Gpt:
    """In PyTorch."""
    opened = opened or open_checkpoint(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "supported", lambda settings, device: False)
        gpt = Gpt(opened.weights, opened.settings, precision, CPU)
    assert not gpt.compiled
    return gpt


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=layers._HEADS)
def gpt(request: pytest.FixtureRequest, precision: str, tiny_folder: Path, three_threads: None) -> Gpt:
    """Of heads of either size: of the tiny checkpoint's four, or of one in their place."""
    opened = open_checkpoint(tiny_folder)
    heads = opened.settings.channels // request.param
    return of(replace(opened, settings=replace(opened.settings, heads=heads)), precision)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def error(x: Tensor, expected: Tensor) -> float:
    return float((x.double() - expected.double()).norm() / expected.double().norm())


def through(gpt: Gpt, reference: Reference) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Prompts of all texts after a prefix, together, then four codes each: every row's outputs, pass by
    pass, and the numbers that the cache then holds of it, (keys and values of all layers, heads, length,
    head)."""
    prompts = [gpt.prompt(reference[f"text/{text}/tokens"].tolist()) for text in TEXTS]
    prefix = gpt.prefix(torch.from_numpy(reference["voice/several/latents"]))
    cache = gpt.cache(len(prompts), 192)
    for row in range(len(prompts)):
        cache.put(row, prefix)
    padded = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    out = gpt.prefill(padded, cache, 0, 32)
    rows = [[out[row, : len(prompt)]] for row, prompt in enumerate(prompts)]
    lengths = torch.tensor([32 + len(prompt) for prompt in prompts])
    for number in range(1, 5):
        codes = torch.tensor([5, 600, 77, 300]) + number
        out = gpt.decode(gpt.embed(codes, torch.full((4,), number)), cache, lengths)
        lengths += 1
        for row, outputs in enumerate(rows):
            outputs.append(out[row])
    kept = [
        torch.stack([numbers(tensor[row, :, :length], gpt) for tensor in (*cache.keys, *cache.values)])
        for row, length in enumerate(lengths.tolist())
    ]
    return rows, kept


def head_of(gpt: Gpt) -> int:
    return gpt.settings.channels // gpt.settings.heads


def numbers(cached: Tensor, gpt: Gpt) -> Tensor:
    """Of vectors of a cache, as layers.c says."""
    if cached.is_floating_point():
        return cached
    return whole_numbers(cached, gpt) * cached[..., -4:].contiguous().view(torch.float32)


def whole_numbers(cached: Tensor, gpt: Gpt) -> Tensor:
    head = head_of(gpt)
    whole = cached[..., :head].view(torch.int8).float()
    if cached.shape[-1] > head + 4:
        lower = cached[..., head:-4].contiguous().view(torch.int32)[..., None] >> torch.arange(0, 32, 2) & 3
        whole = 4 * whole + lower.flatten(-2)
    return whole


def most_of(gpt: Gpt) -> int:
    """The largest whole number of a cache."""
    return 127 if gpt.vector_bytes == head_of(gpt) + 4 else 511


def vectors(given: Tensor, gpt: Gpt) -> Tensor:
    """Numbers (…, head) as a cache holds them."""
    if gpt.cached.is_floating_point:
        return given
    most = most_of(gpt)
    scale = given.abs().amax(-1, keepdim=True) / most
    whole = (given / scale).nan_to_num().round().int()
    parts = [scale.view(torch.uint8)]
    if most == 511:
        lower = (whole & 3).unflatten(-1, (-1, 16)) << torch.arange(0, 32, 2)
        parts.insert(0, lower.sum(-1).to(torch.int32).view(torch.uint8))
        whole = whole >> 2
    return torch.cat((whole.to(torch.int8).view(torch.uint8), *parts), -1)


def joined(outputs: list[Tensor]) -> Tensor:
    return torch.cat([outputs[0], *[x[None] for x in outputs[1:]]])


def test_as_pytorch(gpt: Gpt, precision: str, tiny_folder: Path, reference: Reference) -> None:
    opened = replace(open_checkpoint(tiny_folder), settings=gpt.settings)
    rows, kept = through(gpt, reference)
    plain_rows, plain_kept = through(plain(tiny_folder, precision, opened), reference)
    exact_rows, _ = through(plain(tiny_folder, "fp32", opened), reference)
    for one, other, exact in zip(rows, plain_rows, exact_rows, strict=True):
        for x, expected in zip(one, other, strict=True):
            assert error(x, expected) < BOUNDS[precision]
        if precision != "fp32":  # sums and the residual stream are kept wider here, and int8 has more scales
            assert error(joined(one), joined(exact)) < error(joined(other), joined(exact))
    for held, expected in zip(kept, plain_kept, strict=True):
        for block, expected_block in zip(held, expected, strict=True):
            assert error(block, expected_block) < BOUNDS[precision]


@pytest.mark.parametrize("text", TEXTS)
def test_pytorch_as_coqui_tts(text: str, tiny_folder: Path, reference: Reference) -> None:
    """As test_gpt.py, which takes whichever runs here."""
    states, logits, choices = forced(plain(tiny_folder, "fp32"), reference, text)
    expected = reference[f"text/{text}/logits"]
    np.testing.assert_allclose(logits[: len(expected)], expected[: len(logits)], atol=1e-3)
    np.testing.assert_allclose(states, reference[f"text/{text}/states"], atol=1e-3)
    assert choices == reference[f"text/{text}/codes"].tolist()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_smaller_precisions_of_pytorch(precision: str, tiny_folder: Path, reference: Reference) -> None:
    states, _, _ = forced(plain(tiny_folder, precision), reference, "usual")
    assert error(states, torch.from_numpy(reference["text/usual/states"])) < BOUNDS[precision]


def filled(gpt: Gpt, capacity: int, rows: list[int]) -> tuple[Cache, Tensor]:
    """A cache with these rows' made-up numbers, and their lengths; whatever comes after is not a number."""
    cache = gpt.cache(len(rows), capacity)
    lengths = torch.tensor([3 + 7 * row % 45 for row in rows])
    for number, tensor in enumerate((*cache.keys, *cache.values)):
        tensor[:] = vectors(torch.full((1, head_of(gpt)), float("nan")), gpt)
        for place, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            seed = torch.Generator().manual_seed(100 * number + row)
            shape = (gpt.settings.heads, length, head_of(gpt))
            tensor[place, :, :length] = vectors(torch.randn(shape, generator=seed), gpt)
    return cache, lengths


def decoded(gpt: Gpt, rows: list[int], capacity: int) -> list[tuple[Tensor, Tensor]]:
    """Each row's output, and what it wrote into the cache."""
    cache, lengths = filled(gpt, capacity, rows)
    x = torch.stack(
        [torch.randn(gpt.settings.channels, generator=torch.Generator().manual_seed(row)) for row in rows]
    )
    given = x.clone()
    out = gpt.decode(x, cache, lengths)
    assert torch.equal(x, given)
    written = [
        torch.stack([tensor[place, :, length] for tensor in (*cache.keys, *cache.values)])
        for place, length in enumerate(lengths.tolist())
    ]
    return list(zip(out, written, strict=True))


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    """Bit by bit; NaN is like nothing, itself included."""
    return all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_a_row_hangs_on_no_other_and_on_no_number_of_threads(gpt: Gpt) -> None:
    torch.set_num_threads(1)
    alone = [decoded(gpt, [row], 64)[0] for row in range(ROWS)]
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for count in range(1, ROWS + 1):
            rows = [(3 * count + row) % ROWS for row in range(count)]
            for row, result in zip(rows, decoded(gpt, rows, 96), strict=True):
                assert same(result, alone[row]), (threads, count, row)


def test_decoding_writes_nothing_but_the_new_position(gpt: Gpt) -> None:
    rows = list(range(5))
    cache, lengths = filled(gpt, 64, rows)
    before = [tensor.clone() for tensor in (*cache.keys, *cache.values)]
    gpt.decode(torch.ones(4, gpt.settings.channels), cache, lengths[:4])
    for old, new in zip(before, (*cache.keys, *cache.values), strict=True):
        for row, length in enumerate(lengths[:4].tolist()):
            assert not numbers(new[row, :, length], gpt).isnan().any()
            new[row, :, length] = old[row, :, length]
        assert torch.equal(new.nan_to_num(9e9), old.nan_to_num(9e9))


def test_a_cache_uses_all_of_its_bits(gpt: Gpt) -> None:
    cache = gpt.cache(3, 32)
    gpt.decode(torch.randn(3, gpt.settings.channels), cache, torch.zeros(3, dtype=torch.int64))
    for tensor in (*cache.keys, *cache.values):
        if not gpt.cached.is_floating_point:
            assert (whole_numbers(tensor[:, :, 0], gpt).abs().amax(-1) == most_of(gpt)).all()


def prefilled(
    gpt: Gpt, prompts: list[Tensor], prefix: list[tuple[Tensor, Tensor]], first: int
) -> list[tuple[Tensor, Tensor]]:
    """As `decoded`, of prompts after a prefix, in cache rows `first` …"""
    cache = gpt.cache(first + len(prompts), 160)
    for row in range(len(prompts)):
        cache.put(first + row, prefix)
    out = gpt.prefill(torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True), cache, first, 32)
    assert not any(tensor[:first].any() for tensor in (*cache.keys, *cache.values))
    return [
        (
            out[row, : len(prompt)],
            torch.stack([t[first + row, :, : 32 + len(prompt)] for t in (*cache.keys, *cache.values)]),
        )
        for row, prompt in enumerate(prompts)
    ]


def test_a_prompt_hangs_on_no_other_and_on_no_number_of_threads(gpt: Gpt, reference: Reference) -> None:
    prompts = [gpt.prompt(reference[f"text/{text}/tokens"].tolist()) for text in TEXTS]
    prefixes = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        prefixes.append(gpt.prefix(torch.from_numpy(reference["voice/one/latents"])))
        for one, other in zip(prefixes[0], prefixes[-1], strict=True):
            assert same(one, other)
    torch.set_num_threads(1)
    alone = [prefilled(gpt, [prompt], prefixes[0], 0)[0] for prompt in prompts]
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for first in (0, 2):
            together = prefilled(gpt, prompts, prefixes[0], first)
            assert all(map(same, together, alone))


def test_a_position_is_the_same_decoded_or_in_a_prompt(gpt: Gpt, reference: Reference) -> None:
    """What makes the cache right: bit by bit, because a token is computed in one way only."""
    prompt = gpt.prompt(reference["text/short/tokens"].tolist())
    whole, parts = (gpt.cache(1, 64) for _ in range(2))
    expected = gpt.prefill(prompt[None], whole, 0, 0)[0]
    outputs = [gpt.prefill(prompt[None, :2], parts, 0, 0)[0]]
    outputs += [gpt.decode(x[None], parts, torch.tensor([number])) for number, x in enumerate(prompt[2:], 2)]
    assert torch.equal(torch.cat(outputs), expected)
    for one, other in zip((*whole.keys, *whole.values), (*parts.keys, *parts.values), strict=True):
        assert torch.equal(one, other)


def test_numbers_that_are_large_and_none_at_all(gpt: Gpt) -> None:
    x = torch.zeros(4, gpt.settings.channels)
    x[1] = 1e-20
    x[2] = 1e4
    x[3, 0] = 1e6
    cache = gpt.cache(4, 32)
    assert gpt.decode(x, cache, torch.zeros(4, dtype=torch.int64)).isfinite().all()


def test_what_follows_the_layers(gpt: Gpt, precision: str, tiny_folder: Path) -> None:
    """In fp32 whatever the precision, but for weights; of a row the same bits alone, in a batch, and with one thread."""
    opened = open_checkpoint(tiny_folder)
    tensors = dict(opened.weights._tensors)
    name = next(name for name in tensors if name.endswith("mel_head.weight"))
    if precision != "fp32":
        tensors[name] = lambda: opened.weights(name).half()
    exact = plain(tiny_folder, "fp32", replace(opened, weights=Weights(tensors, tiny_folder)))
    x = 3 * torch.randn(ROWS, gpt.settings.channels, generator=torch.Generator().manual_seed(5))
    states, logits = gpt.states_and_logits(x)
    for found, expected in zip((states, logits), exact.states_and_logits(x), strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.set_num_threads(1)
    for row in range(ROWS):
        alone = gpt.states_and_logits(x[row : row + 1])
        assert same(alone, (states[row : row + 1], logits[row : row + 1]))


def spoken(gpt: Gpt, rows: int) -> dict[str, Tensor]:
    """The tensors of so many rows that are being spoken, after some codes each; states are not numbers yet."""
    settings, random = gpt.settings, torch.Generator().manual_seed(rows)
    count = torch.tensor([1 + 5 * row % 9 for row in range(rows)])
    return {
        "code": torch.randint(settings.audio_tokens, (rows,), generator=random),
        "count": count,
        "lengths": filled(gpt, 64, list(range(rows)))[1],
        "draws": torch.rand(rows, 12, generator=random),
        "seen": torch.rand(rows, settings.audio_tokens, generator=random) < 0.1,
        "states": torch.full((rows, 12, settings.channels), float("nan")),
    }


def stepped(gpt: Gpt, sampling: Sampling, rows: int, some: Sequence[int]) -> tuple[Cache, dict[str, Tensor]]:
    """By one call."""
    cache, _ = filled(gpt, 64, list(range(rows)))
    step = gpt.steps(sampling, **(tensors := spoken(gpt, rows)))
    assert step is not None
    step(cache, some)
    return cache, tensors


def step_by_parts(gpt: Gpt, sampling: Sampling, rows: int) -> tuple[Cache, dict[str, Tensor]]:
    """Of all rows, by everything that it is made of."""
    cache, tensors = filled(gpt, 64, list(range(rows)))[0], spoken(gpt, rows)
    count, every = tensors["count"], torch.arange(rows)
    x = gpt.decode(gpt.embed(tensors["code"], count), cache, tensors["lengths"])
    states, logits = gpt.states_and_logits(x)
    tensors["states"][every, count] = states
    tensors["code"] = sample(logits, tensors["seen"], tensors["draws"][every, count], sampling)
    tensors["seen"][every, tensors["code"]] = True
    tensors |= {name: tensors[name] + 1 for name in ("count", "lengths")}
    return cache, tensors


SAMPLINGS = (Sampling(), Sampling(temperature=0), Sampling(top_k=0, top_p=1.0, temperature=1.3))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("rows", [1, ROWS])
def test_a_step_is_what_it_is_made_of(rows: int, sampling: Sampling, gpt: Gpt) -> None:
    """Bit by bit: of all tensors, and of the cache."""
    cache, tensors = stepped(gpt, sampling, rows, range(rows))
    other, expected = step_by_parts(gpt, sampling, rows)
    for name, tensor in tensors.items():
        assert torch.equal(tensor.nan_to_num(9e9), expected[name].nan_to_num(9e9)), name
    for one, another in zip((*cache.keys, *cache.values), (*other.keys, *other.values), strict=True):
        assert torch.equal(one.nan_to_num(9e9), another.nan_to_num(9e9))


def test_a_step_of_some_rows(gpt: Gpt) -> None:
    """They get what they would have got, and everything of the others stays as it is."""
    some, rows = [4, 1], 6
    (one, changed), (other, expected) = (
        stepped(gpt, Sampling(), rows, numbers) for numbers in (some, range(rows))
    )
    old, before = filled(gpt, 64, list(range(rows)))[0], spoken(gpt, rows)
    assert len({*changed["code"].tolist()}) > 3
    for new, all_of_them, unchanged in (
        *zip(changed.values(), expected.values(), before.values(), strict=True),
        *zip(*((*cache.keys, *cache.values) for cache in (one, other, old)), strict=True),
    ):
        for row in range(rows):
            wanted = all_of_them if row in some else unchanged
            assert torch.equal(new[row].nan_to_num(9e9), wanted[row].nan_to_num(9e9))


@pytest.mark.parametrize(
    ("name", "number"),
    [("code", -1), ("code", 1026), ("count", -1), ("count", 12), ("lengths", -1), ("lengths", 64)],
)
def test_nothing_is_read_beyond_what_is_spoken(name: str, number: int, gpt: Gpt) -> None:
    cache, tensors = filled(gpt, 64, [0, 1, 2])[0], spoken(gpt, 3)
    step = gpt.steps(Sampling(), **tensors)
    assert step is not None
    tensors[name][1] = number
    step(cache, [0, 2])
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    for rows in ([0, 1], [0, 3], [-1]):
        with pytest.raises(ValueError, match="3 rows of 64"):
            step(cache, rows)
    for kept, tensor in zip(before.values(), tensors.values(), strict=True):
        assert torch.equal(kept.nan_to_num(9e9), tensor.nan_to_num(9e9))


def test_tensors_live_as_long_as_what_steps_them(gpt: Gpt) -> None:
    tensors = spoken(gpt, 1)
    step = gpt.steps(Sampling(), **tensors)
    lives = [weakref.ref(tensor) for tensor in tensors.values()]
    del tensors
    assert all(life() is not None for life in lives)
    del step
    assert not any(life() is not None for life in lives)


def test_more_codes_than_have_embeddings(gpt: Gpt) -> None:
    counts = len(gpt._code_positions)
    tensors = spoken(gpt, 1) | {"draws": torch.zeros(1, counts + 1), "count": torch.tensor([counts])}
    tensors["states"] = torch.zeros(1, counts + 1, gpt.settings.channels)
    step = gpt.steps(Sampling(), **tensors)
    assert step is not None
    with pytest.raises(ValueError, match="place"):
        step(gpt.cache(1, 64), [0])


def test_nothing_is_written_beyond_a_cache(gpt: Gpt) -> None:
    cache = gpt.cache(2, 32)
    x = torch.ones(2, gpt.settings.channels)
    gpt.decode(x, cache, torch.tensor([3, 31]))
    for lengths in ([3, 32], [-1, 3]):
        with pytest.raises(ValueError, match="2 rows of 32"):
            gpt.decode(x, cache, torch.tensor(lengths))
    with pytest.raises(ValueError, match="2 rows of 32"):
        gpt.prefill(x.view(1, 2, -1), cache, 0, 31)
    with pytest.raises(ValueError, match="2 rows of 32"):
        gpt.prefill(x.view(2, 1, -1), cache, 1, 3)


def test_memory_that_was_short(gpt: Gpt, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*given: Any) -> int:
        return layers._NO_MEMORY

    expected = decoded(gpt, [0, 1], 64)
    with monkeypatch.context() as patch:
        patch.setattr(library, "library", lambda: SimpleNamespace(run_layers=short))
        with pytest.raises(MemoryError):
            decoded(gpt, [0, 1], 64)
        with pytest.raises(MemoryError):
            gpt.states_and_logits(torch.zeros(1, gpt.settings.channels))
    assert all(map(same, decoded(gpt, [0, 1], 64), expected))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("rows", [1, 30])
def test_weights_are_multiplied_as_they_were_packed(precision: Any, rows: int, tiny_folder: Path) -> None:
    """Of weights that packing does not change, only what else is rounded makes a difference, and in bf16 next to none."""
    opened = open_checkpoint(tiny_folder)
    tensors = dict(opened.weights._tensors)
    for number, name in enumerate(opened.weights.names()):
        if re.search(r"gpt\.h\..*\.c_[a-z]+\.weight", name):
            weight = representable(*opened.weights(name).shape, precision, number)
            tensors[name] = partial(torch.Tensor.clone, weight)
    changed = replace(opened, weights=Weights(tensors, tiny_folder))
    x = torch.randn(rows, opened.settings.channels, generator=torch.Generator().manual_seed(1))
    lengths = torch.zeros(rows, dtype=torch.int64)
    found, expected = (
        gpt.decode(x, gpt.cache(rows, 32), lengths)
        for gpt in (of(changed, precision), plain(tiny_folder, "fp32", changed))
    )
    assert error(found, expected) < {"bf16": 5e-4, "int8": 2e-2}[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("rows", [1, 30])
def test_sums_as_large_as_they_get(precision: Any, sign: float, rows: int, tiny_folder: Path) -> None:
    """Weights and activations all alike: whole numbers are as large as they get, and their products of one sign."""
    opened = open_checkpoint(tiny_folder)
    weight = MOST.get(precision, 511.0) / 1024  # of which the scale is one that bf16 knows
    alike = {"ln_2.bias": 7.0 * sign, "c_fc.weight": weight * sign, "mlp.c_proj.weight": weight * sign}
    alike |= {"ln_2.weight": 0.0, "attn.c_proj.weight": 0.0}
    alike |= {f"{name}.bias": 0.0 for name in ("c_fc", "attn.c_proj", "mlp.c_proj")}

    def filled_with(read: Callable[[], Tensor], number: float) -> Callable[[], Tensor]:
        return lambda: torch.full_like(read(), number, dtype=torch.float32)

    tensors = dict(opened.weights._tensors)
    for name, read in opened.weights._tensors.items():
        for end, number in alike.items():
            if ".gpt.h." in name and name.endswith(end):
                tensors[name] = filled_with(read, number)
    gpt = of(replace(opened, weights=Weights(tensors, tiny_folder)), precision)
    channels = opened.settings.channels
    assert 4 * channels % 128 == 0  # the contraction sums whole blocks
    x = torch.randn(rows, channels, generator=torch.Generator().manual_seed(1))
    out = gpt.decode(x, gpt.cache(rows, 32), torch.zeros(rows, dtype=torch.int64))
    expected = x + sign * opened.settings.layers * weight * 4 * channels * (weight * 7.0 * channels)
    torch.testing.assert_close(out, expected, rtol=2e-3, atol=0.0)
