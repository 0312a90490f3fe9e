"""The GPT's layers and head by the kernels of kernels.py: seven a layer, over tokens of any rows and places.

A prompt's tokens and a step's are the same to it. Results hang neither on what else is in a pass nor on how
many tokens it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from app.speech.xtts import gpu
from app.speech.xtts.checkpoint import Settings, Weights
from app.speech.xtts.gpu.cache import PAGE, PagedCache
from app.speech.xtts.linear import Precision, compute_dtype, quantised

_EPSILON = 1e-5
_FEW = 16  # tokens, for which reading weights takes longer than anything else
_SOME = 64  # that one tile holds
_Norm = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a product is cut: by outputs and inputs of a program's tile, warps, and tiles on their way."""

    tokens: int
    outputs: int
    inputs: int
    warps: int
    stages: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class _Product:
    """weight (outputs, inputs), bias (outputs,) fp32; the sum over the inputs is made in `splits` parts."""

    weight: Tensor
    bias: Tensor
    splits: int = 1


@dataclass(frozen=True, slots=True)
class _Layer:
    norm_1: _Norm
    qkv: _Product
    projection: _Product
    norm_2: _Norm
    expansion: _Product
    contraction: _Product


def supported(settings: Settings, device: torch.device) -> bool:
    """Whether the kernels run here, and for a model of these sizes."""
    head = settings.channels // settings.heads
    sizes = head >= 16 and head & (head - 1) == 0 and settings.channels % 64 == 0
    return sizes and gpu.usable(device)


class GpuLayers:
    """The weights, the pass over the layers, and what follows them."""

    bits: float = 16

    def __init__(
        self, weights: Weights, settings: Settings, precision: Precision, device: torch.device
    ) -> None:
        from app.speech.xtts.gpu import kernels

        self._kernels = kernels
        self._settings = settings
        self._device = device
        self.cached, self.width = compute_dtype(precision), settings.channels // settings.heads
        if precision == "fp32":
            self.bits = 32
        self._early = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)
        self._layers = [
            self._layer(weights.under(f"gpt.h.{number}"), precision) for number in range(settings.layers)
        ]
        self._last = (*self._norm(weights, "gpt.ln_f"), *self._norm(weights, "final_norm"))
        # The head stays fp32: it is small, and its logits decide.
        self._head = self._product(weights("mel_head.weight"), weights("mel_head.bias"), "fp32")

    def kernels(self, longest: int) -> list[Callable[[], object]]:
        """As Runner.kernels: a pass for every way that products are cut in."""

        def passing(tokens: int) -> None:
            cache = self.cache(1, longest, PAGE)
            x = torch.zeros(tokens, self._settings.channels, device=self._device)
            nowhere = torch.zeros(tokens, dtype=torch.int32, device=self._device)
            self.states_and_logits(self.read(x, cache, nowhere, nowhere))

        return [partial(passing, tokens) for tokens in (1, _FEW + 1, _SOME + 1)]

    def cache(self, rows: int, longest: int, room: int) -> PagedCache:
        return PagedCache(self._settings, rows, longest, room, self.cached, self._device)

    def prefill(self, x: Tensor, cache: PagedCache, first: int, past: int) -> Tensor:
        """As Gpt.prefill."""
        rows, length, channels = x.shape
        numbers = torch.arange(first, first + rows, dtype=torch.int32, device=x.device)
        positions = torch.arange(past, past + length, dtype=torch.int32, device=x.device)
        x = self.read(
            x.reshape(-1, channels), cache, numbers.repeat_interleave(length), positions.repeat(rows)
        )
        return x.view(rows, length, channels)

    def decode(self, x: Tensor, cache: PagedCache, lengths: Tensor) -> Tensor:
        """As Gpt.decode."""
        rows = torch.arange(len(x), dtype=torch.int32, device=x.device)
        return self.read(x, cache, rows, lengths.to(torch.int32))

    def states_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As Gpt.states_and_logits."""
        states = torch.empty_like(x)
        self._each_token(self._kernels.last_norms, len(x), x, *self._last, states, _EPSILON)
        logits = x.new_empty(len(x), self._settings.audio_tokens)
        self._multiply(states, self._head, logits, "bias")
        return states, logits

    def read(self, x: Tensor, cache: PagedCache, rows: Tensor, positions: Tensor) -> Tensor:
        """Embeddings x (tokens, channels), each at its position of its row → the last layer's output."""
        tokens, channels = x.shape
        x = x.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        normed, query, attended = (x.new_empty(x.shape, dtype=self.cached) for _ in range(3))
        hidden = x.new_empty(tokens, 4 * channels, dtype=self.cached)
        partial = x.new_empty(max(_splits(channels), _splits(4 * channels)), tokens, channels)
        before: _Product | None = None  # what is to be added to x yet
        for number, layer in enumerate(self._layers):
            keys, values = cache.blocks[number]
            place = (keys, values, cache.table, rows, positions)
            self._settle(x, partial, before, layer.norm_1, normed)
            self._multiply(normed, layer.qkv, query, "qkv", place)
            self._attend(query, place, attended)
            self._multiply(attended, layer.projection, partial, "partial")
            self._settle(x, partial, layer.projection, layer.norm_2, normed)
            self._multiply(normed, layer.expansion, hidden, "gelu")
            self._multiply(hidden, layer.contraction, partial, "partial")
            before = layer.contraction
        self._settle(x, partial, before, None, normed)
        return x

    def _settle(
        self, x: Tensor, partial: Tensor, before: _Product | None, norm: _Norm | None, out: Tensor
    ) -> None:
        bias = x if before is None else before.bias
        weight, shift = (x, x) if norm is None else norm
        self._each_token(
            self._kernels.settle,
            len(x),
            x,
            partial,
            bias,
            weight,
            shift,
            out,
            len(x),
            _EPSILON,
            SPLITS=0 if before is None else before.splits,
            NORM=norm is not None,
        )

    def _each_token(self, kernel: Any, tokens: int, *arguments: Any, **settings: Any) -> None:
        channels = self._settings.channels
        kernel[(tokens,)](
            *arguments,
            CHANNELS=channels,
            BLOCK=self._kernels.power_from(channels),
            **settings,
            **self._launch(tokens, warps=4),
        )

    def _multiply(
        self, x: Tensor, product: _Product, out: Tensor, after: str, place: tuple[Tensor, ...] | None = None
    ) -> None:
        (outputs, inputs), tokens, settings = product.weight.shape, len(x), self._settings
        tiles = tiles_of(outputs, inputs, product.weight.dtype, tokens)
        grid = (-(-outputs // tiles.outputs), -(-tokens // tiles.tokens), product.splits)
        self._kernels.product[grid](
            x,
            product.weight,
            product.bias,
            out,
            *(place or (out,) * 5),
            tokens,
            INPUTS=inputs,
            OUTPUTS=outputs,
            AFTER=after,
            SPLITS=product.splits,
            HEAD=settings.channels // settings.heads,
            PAGE=PAGE,
            PAGES=place[2].shape[1] if place else 1,
            BLOCK_TOKENS=tiles.tokens,
            BLOCK_OUTPUTS=tiles.outputs,
            BLOCK_INPUTS=min(tiles.inputs, inputs // product.splits // 4),
            WHOLE=tiles.whole,
            PRECISION=_precision(x),
            **self._launch(tokens, tiles.warps, tiles.stages),
        )

    def _attend(self, query: Tensor, place: tuple[Tensor, ...], out: Tensor) -> None:
        heads = self._settings.heads
        self._kernels.attention[(len(query), heads)](
            query,
            *place,
            out,
            HEADS=heads,
            HEAD=self._settings.channels // heads,
            PAGE=PAGE,
            PAGES=place[2].shape[1],
            BLOCK=64,
            PRECISION=_precision(query),
            **self._launch(len(query), warps=2),
        )

    def _launch(self, tokens: int, warps: int, stages: int = 2) -> dict[str, Any]:
        early = self._early and tokens <= _FEW  # with many, those that wait would be in the way
        options = {"num_warps": warps, "num_stages": stages, "launch_pdl": early, "enable_fp_fusion": True}
        return {"EARLY": early, **options}

    def _layer(self, weights: Weights, precision: Precision) -> _Layer:
        channels, heads = self._settings.channels, self._settings.heads

        def product(name: str) -> tuple[Tensor, Tensor]:
            return weights(f"{name}.weight"), weights(f"{name}.bias")

        qkv = product("attn.c_attn")
        for tensor in qkv:  # the query is divided by the root of the head's size
            tensor[:channels] *= (channels // heads) ** -0.5
        return _Layer(
            norm_1=self._norm(weights, "ln_1"),
            qkv=self._product(*qkv, precision),
            projection=self._product(*product("attn.c_proj"), precision, split=True),
            norm_2=self._norm(weights, "ln_2"),
            expansion=self._product(*product("mlp.c_fc"), precision),
            contraction=self._product(*product("mlp.c_proj"), precision, split=True),
        )

    def _product(self, weight: Tensor, bias: Tensor, precision: Precision, split: bool = False) -> _Product:
        if precision == "int8":  # of int8 precision, but kept and multiplied in bf16
            integers, scale = quantised(weight)
            weight = integers * scale[:, None]
        splits = _splits(weight.shape[1]) if split else 1
        return _Product(weight.to(self._device, compute_dtype(precision)), bias.to(self._device), splits)

    def _norm(self, weights: Weights, name: str) -> _Norm:
        weight, shift = (weights(f"{name}.{part}") for part in ("weight", "bias"))
        return weight.to(self._device), shift.to(self._device)


def tiles_of(outputs: int, inputs: int, dtype: torch.dtype, tokens: int) -> Tiles:
    """The tiles that were fastest on an H200, by the sizes of a layer's four products."""
    if dtype is torch.float32:
        return Tiles(16, 16, 32, 4, 3)
    if (
        tokens > _FEW
    ):  # two lots of 64 read weights twice, and a tile twice as wide reads tokens half as often
        return Tiles(64, 32, 32, 4, 4) if tokens <= _SOME else Tiles(64, 64, 32, 4, 3)
    if inputs < 1024:  # a part of the sum is then one tile, and is added up otherwise in a loop
        return Tiles(16, 32, 32, 4, 4)
    return Tiles(16, 32, 0, 8, 1, True) if outputs * inputs > 2**21 else Tiles(16, 16, 0, 4, 1, True)


def _splits(inputs: int) -> int:
    """Parts of a sum that programs of their own make: where outputs alone do not fill a GPU."""
    return 4 if inputs % 1024 == 0 and inputs >= 4096 else 2 if inputs % 256 == 0 else 1


def _precision(x: Tensor) -> str:
    """fp32 as three products of tensor cores' own format, which is nearly as exact."""
    return "tf32x3" if x.dtype is torch.float32 else "ieee"
