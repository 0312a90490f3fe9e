from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.gpt import Cache, Gpt
from app.speech.xtts.model import Model
from app.speech.xtts.sampling import Sampling, sample

Tensor = torch.Tensor
Reference = dict[str, NDArray[Any]]
TEXTS = ("short", "usual", "long", "longest")


def forced(gpt: Gpt, reference: Reference, text: str) -> tuple[Tensor, Tensor, list[int]]:
    """States, logits and greedy choices while coqui-tts's own codes are fed, by cache and prefix."""
    tokens, codes = reference[f"text/{text}/tokens"].tolist(), reference[f"text/{text}/codes"].tolist()
    cache = gpt.cache(3, 288)
    cache.put(0, gpt.prefix(torch.from_numpy(reference["voice/one/latents"])))
    prompt = gpt.prompt(tokens)
    x = gpt.prefill(prompt[None], cache, 0, 32)[:, -1]
    lengths = torch.tensor([32 + len(prompt)], device=gpt.device)
    seen = torch.zeros(1, gpt.settings.audio_tokens, dtype=torch.bool)
    seen[0, [1, gpt.settings.start_audio]] = True
    states, logits, choices = [], [], []
    for number, code in enumerate(codes, 1):
        for kept, new in zip((states, logits), gpt.states_and_logits(x), strict=True):
            kept.append(new[0].cpu())
        choices.append(int(sample(logits[-1][None], seen, torch.zeros(1), Sampling(temperature=0))))
        seen[0, code] = True
        new = gpt.embed(*torch.tensor([[code], [number]], device=gpt.device))
        x = gpt.decode(new, cache, lengths)
        lengths += 1
    return torch.stack(states), torch.stack(logits), choices


@pytest.mark.parametrize("text", TEXTS)
@torch.inference_mode()
def test_as_coqui_tts(text: str, tiny: Model, reference: Reference) -> None:
    states, logits, choices = forced(tiny.gpt, reference, text)
    expected = reference[f"text/{text}/logits"]
    np.testing.assert_allclose(logits[: len(expected)], expected[: len(logits)], atol=1e-3)
    np.testing.assert_allclose(states, reference[f"text/{text}/states"], atol=1e-3)
    assert choices == reference[f"text/{text}/codes"].tolist()


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 0.02), ("int8", 0.05)])
@torch.inference_mode()
def test_smaller_precisions(precision: Any, bound: float, tiny_folder: Path, reference: Reference) -> None:
    opened = open_checkpoint(tiny_folder)
    gpt = Gpt(opened.weights, opened.settings, precision, torch.device("cpu"))
    states, logits, _ = forced(gpt, reference, "usual")
    expected = torch.from_numpy(reference["text/usual/states"])
    assert (states - expected).norm() < bound * expected.norm()
    wanted = torch.from_numpy(reference["text/usual/logits"])
    assert (logits[: len(wanted)] - wanted).norm() < bound * wanted.norm()


def plainly(weights: Any, settings: Any, x: Tensor) -> Tensor:
    """GPT-2 with nothing clever: embeddings (length, channels) → states, every position at once."""
    for number in range(settings.layers):
        layer = weights.under(f"gpt.gpt.h.{number}")

        def linear(name: str, x: Tensor, layer: Any = layer) -> Tensor:
            return x @ layer(f"{name}.weight").T + layer(f"{name}.bias")

        def norm(name: str, x: Tensor, layer: Any = layer) -> Tensor:
            return F.layer_norm(x, x.shape[-1:], layer(f"{name}.weight"), layer(f"{name}.bias"))

        q, k, v = (
            part.view(len(x), settings.heads, -1).transpose(0, 1)
            for part in linear("attn.c_attn", norm("ln_1", x)).chunk(3, -1)
        )
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), float("-inf"))
        x = x + linear("attn.c_proj", (scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
        x = x + linear("mlp.c_proj", F.gelu(linear("mlp.c_fc", norm("ln_2", x)), approximate="tanh"))
    for name in ("gpt.gpt.ln_f", "gpt.final_norm"):
        x = F.layer_norm(x, x.shape[-1:], weights(f"{name}.weight"), weights(f"{name}.bias"))
    return x


@torch.inference_mode()
def test_padded_prompts_and_the_cache_equal_the_plain_pass(
    tiny_folder: Path, tiny: Model, reference: Reference
) -> None:
    """Prompts of different lengths in one pass, then a code each, against each alone and at once."""
    opened, gpt = open_checkpoint(tiny_folder), tiny.gpt
    latents = torch.from_numpy(reference["voice/several/latents"])
    prompts = [gpt.prompt(reference[f"text/{text}/tokens"].tolist()) for text in TEXTS]
    cache = gpt.cache(5, 192)
    prefix = gpt.prefix(latents)
    for row in range(4):
        cache.put(row + 1, prefix)
    padded = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    out = gpt.prefill(padded, cache, 1, 32)
    for row, prompt in enumerate(prompts):
        expected = plainly(opened.weights, opened.settings, torch.cat((latents, prompt)))[32:]
        states, _ = gpt.states_and_logits(out[row, : len(prompt)])
        torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)
    for row in range(4):
        cache.move(row + 1, row, 32 + len(prompts[row]))
    lengths = torch.tensor([32 + len(prompt) for prompt in prompts])
    new = gpt.embed(torch.tensor([5, 6, 7, 8]), torch.ones(4, dtype=torch.long))
    states, _ = gpt.states_and_logits(gpt.decode(new, cache, lengths))
    for row, prompt in enumerate(prompts):
        whole = torch.cat((latents, prompt, new[row : row + 1]))
        expected = plainly(opened.weights, opened.settings, whole)[-1]
        torch.testing.assert_close(states[row], expected, atol=1e-4, rtol=1e-4)


def test_the_cache_keeps_its_rows_when_it_grows_and_shrinks(tiny: Model) -> None:
    cache = Cache(tiny.settings, 4, 64, 16, torch.float32, torch.device("cpu"))
    for tensor in (*cache.keys, *cache.values):
        tensor[:2, :, :60] = torch.randn(2, tiny.settings.heads, 60, 16)
    before = [tensor[:2, :, :60].clone() for tensor in (*cache.keys, *cache.values)]
    cache.fit(130, 2)
    assert cache.capacity == 160
    cache.fit(61, 2)
    assert cache.capacity == 64
    for old, tensor in zip(before, (*cache.keys, *cache.values), strict=True):
        assert torch.equal(tensor[:2, :, :60], old)
