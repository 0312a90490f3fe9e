"""The GPT's layers and head in layers.c: their weights, packed, the two passes, and what follows them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts import pages
from app.speech.xtts.checkpoint import Settings, Weights
from app.speech.xtts.compiled import library
from app.speech.xtts.compiled.library import LANES, PANEL, Team

if TYPE_CHECKING:
    from app.speech.xtts.gpt import Cache
    from app.speech.xtts.linear import Precision

_HEADS = (16, 64)  # channels of a head that layers.c knows
_LAST_NORMS = ("last_norm", "final_norm")
_BLOCK = 128  # inputs of one scale
_PART = 2**18  # weights that are packed at once, so that what is made on the way stays small
# bf16 is whole numbers of 16 bits there: nearer to fp32 than bf16 is, and as fast or (on Intel) four times as fast.
_CODES = {"fp32": 0, "bf16": 1, "int8": 2}
_CACHED = {"fp32": torch.float32, "bf16": torch.int16, "int8": torch.int8}
_BITS = {"fp32": 32, "bf16": 10, "int8": 8}


class _Product(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("cells", "bias", "scales")]


class _Layer(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in ("norm_1_weight", "norm_1_bias", "norm_2_weight", "norm_2_bias")
        ),
        *((name, _Product) for name in ("qkv", "projection", "expansion", "contraction")),
    ]


class _Head(ctypes.Structure):
    _fields_ = [
        *((f"{name}_{part}", ctypes.c_void_p) for name in _LAST_NORMS for part in ("weight", "bias")),
        ("product", _Product),
        ("codes", ctypes.c_int32),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(_Layer)),
        ("head", _Head),
        *((name, ctypes.c_int32) for name in ("count", "channels", "heads", "precision")),
    ]


class _Pass(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("tokens", "capacity")),
        *((name, ctypes.c_void_p) for name in ("rows", "positions", "x")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("keys", "values")),
    ]


def supported(settings: Settings, device: torch.device) -> bool:
    """Whether layers.c runs here, and for a model of these sizes."""
    head = settings.channels // settings.heads
    return settings.channels % PANEL == 0 and head in _HEADS and library.supported(device)


class CompiledLayers:
    """The weights, packed, the two passes over the layers, and what follows them. Results hang neither on what else is in a
    pass nor on the number of threads, which is PyTorch's at each call."""

    def __init__(self, weights: Weights, settings: Settings, precision: Precision) -> None:
        self._settings = settings
        self.cached = _CACHED[precision]  # what a cache's numbers are
        self.bits = _BITS[precision]  # of a weight
        self._kept: list[Tensor] = []  # what the structures point into
        self._lock = threading.Lock()
        channels = settings.channels
        self._layers = (_Layer * settings.layers)(
            *(self._layer(weights.under(f"gpt.h.{n}"), settings, precision) for n in range(settings.layers))
        )
        sizes = (settings.layers, channels, settings.heads, _CODES[precision])
        self._model = _Model(self._layers, self._head(weights, settings), *sizes)
        self._team = Team(torch.get_num_threads())

    def prefill(self, x: Tensor, cache: Cache, first: int, past: int) -> Tensor:
        """As Gpt.prefill."""
        rows, length, channels = x.shape
        numbers = torch.arange(first, first + rows).repeat_interleave(length)
        positions = torch.arange(past, past + length).repeat(rows)
        return self._run(x.reshape(-1, channels), cache, numbers, positions).view(rows, length, channels)

    def decode(self, x: Tensor, cache: Cache, lengths: Tensor) -> Tensor:
        """As Gpt.decode."""
        return self._run(x, cache, torch.arange(len(x)), lengths.clone())

    def states_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As Gpt.states_and_logits."""
        x = x.float().contiguous()
        states = torch.empty_like(x)
        logits = x.new_empty(len(x), self._model.head.codes)
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, states, logits)]
        with self._lock:
            run = library.library().run_head
            model = ctypes.byref(self._model)
            if not run(model, self._team.handle, len(x), *pointers, torch.get_num_threads()):
                raise MemoryError
        return states, logits[:, : self._settings.audio_tokens]

    def _run(self, x: Tensor, cache: Cache, rows: Tensor, positions: Tensor) -> Tensor:
        out = x.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        blocks = ctypes.c_void_p * self._settings.layers
        one_pass = _Pass(
            len(out),
            cache.capacity,
            rows.data_ptr(),
            positions.data_ptr(),
            out.data_ptr(),
            blocks(*(keys.data_ptr() for keys in cache.keys)),
            blocks(*(values.data_ptr() for values in cache.values)),
        )
        with self._lock:
            run = library.library().run_layers
            if not run(
                ctypes.byref(self._model), self._team.handle, ctypes.byref(one_pass), torch.get_num_threads()
            ):
                raise MemoryError
        return out

    def _layer(self, weights: Weights, settings: Settings, precision: Precision) -> _Layer:
        channels, scale = settings.channels, (settings.channels // settings.heads) ** -0.5

        def product(
            name: str, out: int, into: int, change: Callable[[Tensor], None] | None = None
        ) -> _Product:
            weight, bias = weights(f"{name}.weight", out, into), weights(f"{name}.bias", out)
            if change is not None:  # the query is divided by the root of the head's size
                change(weight)
                change(bias)
            return _Product(*map(self._keep, packed(weight, bias, precision)))

        def divide(tensor: Tensor) -> None:
            tensor[:channels] *= scale

        return _Layer(
            *self._norms(weights, channels, "ln_1", "ln_2"),
            product("attn.c_attn", 3 * channels, channels, divide),
            product("attn.c_proj", channels, channels),
            product("mlp.c_fc", 4 * channels, channels),
            product("mlp.c_proj", channels, 4 * channels),
        )

    def _head(self, weights: Weights, settings: Settings) -> _Head:
        codes, channels = settings.audio_tokens, settings.channels
        weight, bias = weights("mel_head.weight", codes, channels), weights("mel_head.bias", codes)
        more = -codes % PANEL
        product = packed(F.pad(weight, (0, 0, 0, more)), F.pad(bias, (0, more)), "fp32")
        norms = self._norms(weights, channels, "gpt.ln_f", "final_norm")
        return _Head(*norms, _Product(*map(self._keep, product)), codes + more)

    def _norms(self, weights: Weights, channels: int, *names: str) -> list[int | None]:
        return [
            self._keep(weights(f"{name}.{part}", channels).float().clone())
            for name in names
            for part in ("weight", "bias")
        ]

    def _keep(self, tensor: Tensor | None) -> int | None:
        if tensor is None:
            return None
        self._kept.append(tensor)
        return int(tensor.data_ptr())


def packed(weight: Tensor, bias: Tensor, precision: Precision) -> tuple[Tensor, Tensor, Tensor | None]:
    """A product's (cells, bias, scales) in layers.c's layout; fp32 has no scales."""
    outputs, inputs = weight.shape
    bias = bias.float().clone()
    if precision == "fp32":
        return _in_panels(weight, 1), bias, None
    small = precision == "int8"
    blocks, most = -(-inputs // _BLOCK), 127.0 if small else 511.0
    shape, dtype = ((inputs // 4, PANEL, 4), torch.uint8) if small else ((inputs // 8, 5, LANES), torch.int32)
    cells = pages.zeros((outputs // PANEL, *shape), dtype)
    scales = torch.empty(outputs // PANEL, blocks, PANEL, dtype=torch.bfloat16)
    panels = -(-_PART // (PANEL * inputs))
    for some, kept, scale in zip(
        weight.split(panels * PANEL), cells.split(panels), scales.split(panels), strict=True
    ):
        apart = F.pad(some, (0, blocks * _BLOCK - inputs)).view(-1, blocks, _BLOCK)
        each = apart.abs().amax(2, keepdim=True).clamp_(min=1e-8).div_(most)
        each = (each.view(torch.int32) + 0xFFFF & ~0xFFFF).view(torch.float32)  # up to the next in bf16
        whole = (apart / each).round_().view(len(some), -1)[:, :inputs]
        scale.copy_(each.view(-1, PANEL, blocks).transpose(1, 2))
        kept.copy_(_in_panels((whole + 128.0).to(torch.uint8), 4) if small else _in_10_bits(whole))
    return cells, bias, scales


def _in_panels(numbers: Tensor, group: int) -> Tensor:
    """(outputs, inputs) → (outputs / PANEL, inputs / group, PANEL, group), a copy."""
    outputs, inputs = numbers.shape
    panels = numbers.reshape(outputs // PANEL, PANEL, inputs // group, group).transpose(1, 2)
    return panels.clone(memory_format=torch.contiguous_format)


def _in_10_bits(whole: Tensor) -> Tensor:
    """Whole numbers (outputs, inputs) → cells (outputs / PANEL, inputs / 8, 5, LANES)."""
    vectors = _in_panels(whole.to(torch.int16), 2).view(len(whole) // PANEL, -1, 8, 2 * LANES)
    a, b, c = (vectors[:, :, 5:] & 0x3FF).unbind(2)
    rest = torch.stack([a >> 4, (a & 15) << 2 | b >> 8, b >> 2 & 63, (b & 3) << 4 | c >> 6, c & 63], dim=2)
    return (vectors[:, :, :5] * 64 | rest).view(torch.int32)
