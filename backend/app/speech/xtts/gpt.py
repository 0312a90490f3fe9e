"""The GPT-2 that turns latents and text into codes, with its key/value cache.

Shapes: `rows` utterances, `channels` of the model, `heads` of `channels / heads` each. The residual stream
and the norms are fp32; products run in the compute dtype.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts import pages
from app.speech.xtts.checkpoint import Settings, Weights
from app.speech.xtts.compiled import layers
from app.speech.xtts.gpu import layers as gpu_layers
from app.speech.xtts.gpu.cache import PAGE, PagedCache, pages_of
from app.speech.xtts.linear import Linear, Precision, compute_dtype, linear, weight_bits
from app.speech.xtts.sampling import Sampling

_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer norm in fp32."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, _EPSILON)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer; its query is already divided by the root of the head's size."""

    norm_1: Norm
    qkv: Linear
    projection: Linear
    norm_2: Norm
    expansion: Linear
    contraction: Linear


Prefix = list[tuple[Tensor, Tensor]]


class Cache:
    """Keys and values of all layers: each (rows, heads, capacity, width), of which a prefix is used. The width is a
    head's channels, or its bytes where layers.c, which alone reads and writes them, keeps whole numbers.

    `capacity` follows what is needed, because products over a whole contiguous block are several times faster
    on a CPU than over a part of it. Memory that was never written costs nothing there.
    """

    STEP, ROOM = 32, 256  # positions: how `capacity` grows, and the memory behind it

    def __init__(
        self,
        settings: Settings,
        rows: int,
        capacity: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.rows = rows
        self.capacity = capacity
        self._room = capacity
        self._heads, self._width = settings.heads, width
        shape = (rows, self._heads, capacity, self._width)
        self.keys = [pages.zeros(shape, dtype, device) for _ in range(settings.layers)]
        self.values = [pages.zeros(shape, dtype, device) for _ in range(settings.layers)]

    def fit(self, needed: int, rows: int) -> None:
        """Change `capacity` to the next multiple of STEP from `needed`, keeping the first `rows` rows."""
        capacity = -(-needed // self.STEP) * self.STEP
        if capacity == self.capacity:
            return
        kept = min(capacity, self.capacity)
        grow = capacity > self._room
        self._room = -(-capacity // self.ROOM) * self.ROOM if grow else self._room
        shape = (self.rows, self._heads, capacity, self._width)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                part = old[:rows, :, :kept]
                if grow:
                    room = (self.rows, self._heads, self._room, self._width)
                    block = pages.zeros(room, old.dtype, old.device).view(-1)
                else:  # in the same memory, for to be handed new one by the kernel takes longer
                    part = part.clone()
                    block = torch.empty(0, dtype=old.dtype, device=old.device).set_(old.untyped_storage())
                new = block[: math.prod(shape)].view(shape)
                new[:rows, :, :kept] = part
                tensors[layer] = new
        self.capacity = capacity
        self.__dict__.pop("pointers", None)

    @cached_property
    def pointers(self) -> tuple[Any, Any]:
        """Where each layer's keys, and values, lie now, as C has it."""
        blocks = ctypes.c_void_p * len(self.keys)
        keys, values = (blocks(*(each.data_ptr() for each in part)) for part in (self.keys, self.values))
        return keys, values

    def move(self, source: int, target: int, length: int) -> None:
        """Let row `target` hold what row `source` holds."""
        for tensor in (*self.keys, *self.values):
            tensor[target, :, :length] = tensor[source, :, :length]

    def reserve(self, first: int, positions: Sequence[int]) -> None:
        """Of PagedCache; here rows have what `fit` gives all of them."""

    def free(self, row: int) -> None:
        """Of PagedCache."""

    def prefix(self, row: int, length: int) -> Prefix:
        """A row's first `length` keys and values, each (heads, length, …), a layer."""
        pairs = zip(self.keys, self.values, strict=True)
        return [(keys[row, :, :length], values[row, :, :length]) for keys, values in pairs]

    def put(self, row: int, prefix: Prefix) -> None:
        """Start a row with keys and values that were computed before."""
        for layer, (key, value) in enumerate(prefix):
            self.keys[layer][row, :, : key.shape[1]] = key
            self.values[layer][row, :, : value.shape[1]] = value


AnyCache = Cache | PagedCache


class _Fast(Protocol):
    """The layers and what follows them, by code of this package's own; `cache` is what it can read."""

    cached: torch.dtype  # what a cache is made of,
    width: int  # and how many of them a head's vector is
    bits: float  # of a weight

    def prefill(self, x: Tensor, cache: Any, first: int, past: int) -> Tensor: ...

    def decode(self, x: Tensor, cache: Any, lengths: Tensor) -> Tensor: ...

    def states_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


class Gpt:
    """The model's weights and its two passes: over prompts of several rows, and over one code a row."""

    def __init__(
        self, weights: Weights, settings: Settings, precision: Precision, device: torch.device
    ) -> None:
        self.settings = settings
        self.device = device
        self.dtype = self.cached = compute_dtype(precision)
        self.bits: float = weight_bits(precision)
        gpt = weights.under("gpt")
        self._width = settings.channels // settings.heads
        self._fast: _Fast | None = None
        self._layers: list[Layer] = []
        if gpu_layers.supported(settings, device):
            self._fast = gpu_layers.GpuLayers(gpt, settings, precision, device)
        elif layers.supported(settings, device):
            self._fast = layers.CompiledLayers(gpt, settings, precision)
        if self._fast is not None:
            self.cached, self._width, self.bits = self._fast.cached, self._fast.width, self._fast.bits
        else:
            self._layers = [
                _layer(gpt.under(f"gpt.h.{number}"), settings, precision, device)
                for number in range(settings.layers)
            ]
            self._last_norm = _norm(gpt, "gpt.ln_f", device)
            self._final_norm = _norm(gpt, "final_norm", device)
            # The head stays fp32: it is small, and its logits decide.
            self._head = linear(gpt("mel_head.weight"), gpt("mel_head.bias"), "fp32", device)
        self._text = gpt("text_embedding.weight").to(device)
        self._text_positions = gpt("text_pos_embedding.emb.weight").to(device)
        self._code = gpt("mel_embedding.weight").to(device)
        self._code_positions = gpt("mel_pos_embedding.emb.weight").to(device)

    @property
    def compiled(self) -> bool:
        """Whether layers.c computes the layers and what follows them, and not PyTorch."""
        return isinstance(self._fast, layers.CompiledLayers)

    @property
    def paged(self) -> bool:
        """Whether the cache has pages, of which a row takes what it can need, and steps can be recorded."""
        return isinstance(self._fast, gpu_layers.GpuLayers)

    def cache(self, rows: int, capacity: int, room: int | None = None) -> AnyCache:
        """For `rows` of at most `capacity` positions. Where it is paged, rows share `room` positions that they are
        to reserve; without it, all rows have theirs at once."""
        if not isinstance(self._fast, gpu_layers.GpuLayers):
            return Cache(self.settings, rows, capacity, self._width, self.cached, self.device)
        each = pages_of(capacity) * PAGE
        cache = self._fast.cache(rows, capacity, rows * each if room is None else room)
        if room is None:
            cache.reserve(0, [capacity] * rows)
        return cache

    @property
    def vector_bytes(self) -> int:
        """What a head's key or value of one position takes."""
        return self._width * self.cached.itemsize

    @property
    def max_prompt(self) -> int:
        """The most embeddings of one prompt: start, text, stop, start of audio."""
        return int(self._text_positions.shape[0]) + 1

    def prompt(self, tokens: list[int]) -> Tensor:
        """Embeddings of start, text, stop and the start of audio: (len(tokens) + 3, channels)."""
        settings = self.settings
        ids = torch.tensor([settings.start_text, *tokens, settings.stop_text], device=self.device)
        text = self._text[ids] + self._text_positions[: ids.shape[0]]
        start = self._code[settings.start_audio] + self._code_positions[0]
        return torch.cat((text, start[None]))

    def prefix(self, latents: Tensor) -> Any:
        """What a cache takes to start a row with a voice's latents (count, channels)."""
        cache = self.cache(1, latents.shape[0])
        self.prefill(latents.to(self.device, torch.float32)[None], cache, 0, 0)
        return cache.prefix(0, latents.shape[0])

    def prefill(self, x: Tensor, cache: AnyCache, first: int, past: int) -> Tensor:
        """Embeddings x (rows, length, channels) of cache rows `first` …, `past` positions being there.

        Writes their keys and values; returns the last layer's output, of the same shape. Shorter rows are
        padded at the end: nothing looks at what comes after it, and decoding writes over the padding.
        """
        if self._fast is not None:
            return self._fast.prefill(x, cache, first, past)
        assert isinstance(cache, Cache)
        rows, length, channels = x.shape
        total = past + length
        mask = torch.ones(length, total, dtype=torch.bool, device=x.device).tril(past)
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(layer.norm_1(x).view(-1, channels))
            q, k, v = (self._heads(part, rows) for part in qkv.chunk(3, -1))
            keys, values = (
                cache.keys[number][first : first + rows],
                cache.values[number][first : first + rows],
            )
            keys[:, :, past:total] = k
            values[:, :, past:total] = v
            attended = F.scaled_dot_product_attention(
                q, keys[:, :, :total], values[:, :, :total], attn_mask=mask, scale=1.0
            )
            attended = attended.transpose(1, 2).reshape(-1, channels)
            x = self._rest(layer, x.view(-1, channels), attended).view(rows, length, channels)
        return x

    def kernels(self, longest: int) -> list[Callable[[], object]]:
        """As Runner.kernels, for caches whose longest row has so many positions."""
        return self._fast.kernels(longest) if isinstance(self._fast, gpu_layers.GpuLayers) else []

    def read(self, x: Tensor, cache: AnyCache, rows: Tensor, positions: Tensor) -> Tensor:
        """Embeddings x (tokens, channels), each at its position of its row, where the cache is paged: the last
        layer's output. `prefill` and `decode` are of this kind."""
        assert isinstance(self._fast, gpu_layers.GpuLayers)
        assert isinstance(cache, PagedCache)
        return self._fast.read(x, cache, rows, positions)

    def embed(self, codes: Tensor, positions: Tensor) -> Tensor:
        """Codes (rows,) at audio positions (rows,) → (rows, channels)."""
        return F.embedding(codes, self._code) + F.embedding(positions, self._code_positions)

    def decode(self, x: Tensor, cache: AnyCache, lengths: Tensor) -> Tensor:
        """One position x (rows, channels) for each of the cache's first rows, which hold `lengths` (rows,).

        Returns the last layer's output, (rows, channels).
        """
        if self._fast is not None:
            return self._fast.decode(x, cache, lengths)
        assert isinstance(cache, Cache)
        capacity = cache.capacity
        rows, heads = x.shape[0], self.settings.heads
        positions = torch.arange(capacity, device=x.device)
        mask = torch.zeros(rows, capacity, dtype=self.dtype, device=x.device)
        mask.masked_fill_(positions[None] > lengths[:, None], float("-inf"))
        # Where each row's new key goes, in the cache seen as a list of vectors.
        slots = (torch.arange(rows * heads, device=x.device) * capacity).view(rows, heads)
        slots = (slots + lengths[:, None]).view(-1)
        for number, layer in enumerate(self._layers):
            q, k, v = layer.qkv(layer.norm_1(x)).chunk(3, -1)
            keys, values = cache.keys[number], cache.values[number]
            head = keys.shape[-1]
            keys.view(-1, head).index_copy_(0, slots, k.reshape(-1, head))
            values.view(-1, head).index_copy_(0, slots, v.reshape(-1, head))
            attended = _look(q, keys[:rows], values[:rows], mask)
            x = self._rest(layer, x, attended)
        return x

    def steps(self, sampling: Sampling, **tensors: Tensor) -> Callable[[Any, Sequence[int]], None] | None:
        """Where it is `compiled`, what gives some rows (numbers) of a cache their next codes, in one call.

        The tensors, a row each, are changed where they are: `code` and `count` (rows,), the last one and how many
        there are; `lengths` (rows,), the cache's positions in use; `seen` (rows, codes); `states` (rows, most,
        channels), one of which is added. `draws` (rows, most) are the numbers to draw with, one a code.
        """
        if not isinstance(self._fast, layers.CompiledLayers):
            return None
        return self._fast.steps(sampling, tensors, self._code, self._code_positions)

    def states_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer's output (rows, channels) → states, which the vocoder speaks, of the same shape, and
        the next codes' logits (rows, codes); both fp32."""
        if self._fast is not None:
            return self._fast.states_and_logits(x)
        states = self._final_norm(self._last_norm(x))
        return states, self._head(states)

    def _heads(self, x: Tensor, rows: int) -> Tensor:
        """(rows × length, channels) → (rows, heads, length, head channels)."""
        return x.view(rows, x.shape[0] // rows, self.settings.heads, -1).transpose(1, 2)

    def _rest(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        """A layer after its attention, on (rows, channels)."""
        x = x + layer.projection(attended)
        return x + layer.contraction(layer.expansion(layer.norm_2(x)))


def _look(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of one query a row: q (rows, channels), keys and values (rows, heads, length, …).

    Returns (rows, channels).
    """
    rows, heads, length, head = keys.shape
    if q.device.type != "cpu":
        query = q.view(rows, heads, 1, head)
        attended = F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask[:, None, None], scale=1.0
        )
        return attended.reshape(rows, -1)
    # PyTorch's fused attention takes four times as long for a single bf16 query on the CPU.
    scores = torch.bmm(q.reshape(-1, 1, head), keys.reshape(-1, length, head).transpose(1, 2))
    weights = scores.view(rows, heads, length).add_(mask[:, None]).softmax(-1)
    return torch.bmm(weights.view(-1, 1, length), values.reshape(-1, length, head)).view(rows, -1)


def _norm(weights: Weights, name: str, device: torch.device) -> Norm:
    return Norm(weights(f"{name}.weight").to(device), weights(f"{name}.bias").to(device))


def _layer(weights: Weights, settings: Settings, precision: Precision, device: torch.device) -> Layer:
    def product(name: str, gelu: bool = False) -> Linear:
        return linear(weights(f"{name}.weight"), weights(f"{name}.bias"), precision, device, gelu)

    qkv = weights("attn.c_attn.weight"), weights("attn.c_attn.bias")
    for tensor in qkv:
        tensor[: settings.channels] *= (settings.channels // settings.heads) ** -0.5
    return Layer(
        norm_1=_norm(weights, "ln_1", device),
        qkv=linear(*qkv, precision, device),
        projection=product("attn.c_proj"),
        norm_2=_norm(weights, "ln_2", device),
        expansion=product("mlp.c_fc", gelu=True),
        contraction=product("mlp.c_proj"),
    )
