"""The GPT's layers and head in layers.c: their weights, packed, the two passes, and what follows them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts.checkpoint import Settings, Weights
from app.speech.xtts.compiled import library
from app.speech.xtts.compiled.library import PANEL, Team
from app.speech.xtts.compiled.weights import BITS, CODES, packed

if TYPE_CHECKING:
    from app.speech.xtts.gpt import Cache
    from app.speech.xtts.linear import Precision

_HEADS = (16, 64)  # channels of a head that layers.c knows
_LAST_NORMS = ("last_norm", "final_norm")
_CACHED_BITS = {"bf16": 10, "int8": 8}  # of a number of the cache


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
        *((name, ctypes.c_int32) for name in ("codes", "precision")),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(_Layer)),
        ("head", _Head),
        *((name, ctypes.c_int32) for name in ("channels", "heads", "precision")),
    ]


class _Pass(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("tokens", "capacity", "layers")),
        *((name, ctypes.c_void_p) for name in ("rows", "positions", "x")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("keys", "values")),
        *((name, ctypes.c_void_p) for name in ("states", "logits")),
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
        head = settings.channels // settings.heads
        self.cached, self.width = torch.float32, head
        if precision != "fp32":  # bytes, the last four of them a scale
            self.cached, self.width = torch.uint8, head * _CACHED_BITS[precision] // 8 + 4
        self.bits = BITS[precision]  # of a weight
        self._kept: list[Tensor] = []  # what the structures point into
        self._team = Team(torch.get_num_threads())
        self._lock = threading.Lock()
        channels = settings.channels
        self._layers = (_Layer * settings.layers)(
            *(self._layer(weights.under(f"gpt.h.{n}"), settings, precision) for n in range(settings.layers))
        )
        sizes = (channels, settings.heads, CODES[precision])
        # Its weights in fp16 are what a converted checkpoint has.
        of_head: Literal["fp32", "fp16"] = "fp32" if precision == "fp32" else "fp16"
        self._model = _Model(self._layers, self._head(weights, settings, of_head), *sizes)

    def prefill(self, x: Tensor, cache: Cache, first: int, past: int) -> Tensor:
        """As Gpt.prefill."""
        rows, length, channels = x.shape
        numbers = torch.arange(first, first + rows).repeat_interleave(length)
        positions = torch.arange(past, past + length).repeat(rows)
        out = _copied(x.reshape(-1, channels))
        self._run(self._through_layers(out, cache, numbers, positions))
        return out.view(rows, length, channels)

    def decode(self, x: Tensor, cache: Cache, lengths: Tensor) -> Tensor:
        """As Gpt.decode."""
        out = _copied(x)
        self._run(self._through_layers(out, cache, torch.arange(len(x)), lengths.clone()))
        return out

    def step(
        self, x: Tensor, cache: Cache, lengths: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As Gpt.step, of the cache's first rows or of those that are named."""
        rows = torch.arange(len(x)) if rows is None else rows
        return self._with_head(self._through_layers(_copied(x), cache, rows, lengths.clone()))

    def states_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As Gpt.states_and_logits."""
        x = _copied(x)
        return self._with_head(_Pass(tokens=len(x), x=x.data_ptr()))

    def _through_layers(self, x: Tensor, cache: Cache, rows: Tensor, positions: Tensor) -> _Pass:
        """x becomes the last layer's output, in its place. Raises ValueError for places that the cache has not."""
        least, most = map(int, positions.aminmax())
        if not 0 <= least <= most < cache.capacity:
            raise ValueError(f"positions from {least} to {most} of a cache of {cache.capacity}")
        least, most = map(int, rows.aminmax())
        if not 0 <= least <= most < cache.rows:
            raise ValueError(f"rows from {least} to {most} of a cache of {cache.rows} rows")
        blocks = ctypes.c_void_p * self._settings.layers
        one_pass = _Pass(
            tokens=len(x),
            capacity=cache.capacity,
            layers=self._settings.layers,
            rows=rows.data_ptr(),
            positions=positions.data_ptr(),
            x=x.data_ptr(),
            keys=blocks(*(keys.data_ptr() for keys in cache.keys)),
            values=blocks(*(values.data_ptr() for values in cache.values)),
        )
        one_pass.kept = x, rows, positions  # as long as it points there
        return one_pass

    def _with_head(self, one_pass: _Pass) -> tuple[Tensor, Tensor]:
        states = torch.empty(one_pass.tokens, self._settings.channels)
        logits = torch.empty(one_pass.tokens, self._model.head.codes)
        one_pass.states, one_pass.logits = states.data_ptr(), logits.data_ptr()
        self._run(one_pass)
        return states, logits[:, : self._settings.audio_tokens]

    def _run(self, one_pass: _Pass) -> None:
        run, model = library.library().run_layers, ctypes.byref(self._model)
        with self._lock:
            if not run(model, self._team.handle, ctypes.byref(one_pass), torch.get_num_threads()):
                raise MemoryError

    def _layer(self, weights: Weights, settings: Settings, precision: Precision) -> _Layer:
        channels, scale = settings.channels, (settings.channels // settings.heads) ** -0.5

        def product(name: str, change: Callable[[Tensor], None] | None = None) -> _Product:
            weight, bias = weights(f"{name}.weight"), weights(f"{name}.bias")
            if change is not None:  # the query is divided by the root of the head's size
                change(weight)
                change(bias)
            return _Product(*map(self._keep, packed(weight, bias, precision, self._team)))

        def divide(tensor: Tensor) -> None:
            tensor[:channels] *= scale

        return _Layer(
            *self._norms(weights, "ln_1", "ln_2"),
            product("attn.c_attn", divide),
            product("attn.c_proj"),
            product("mlp.c_fc"),
            product("mlp.c_proj"),
        )

    def _head(self, weights: Weights, settings: Settings, precision: Literal["fp32", "fp16"]) -> _Head:
        codes = settings.audio_tokens
        weight, bias = weights("mel_head.weight"), weights("mel_head.bias")
        more = -codes % PANEL
        product = packed(F.pad(weight, (0, 0, 0, more)), F.pad(bias, (0, more)), precision, self._team)
        norms = self._norms(weights, "gpt.ln_f", "final_norm")
        return _Head(*norms, _Product(*map(self._keep, product)), codes + more, CODES[precision])

    def _norms(self, weights: Weights, *names: str) -> list[int | None]:
        return [
            self._keep(weights(f"{name}.{part}").float().clone())
            for name in names
            for part in ("weight", "bias")
        ]

    def _keep(self, tensor: Tensor | None) -> int | None:
        if tensor is None:
            return None
        self._kept.append(tensor)
        return int(tensor.data_ptr())


def _copied(x: Tensor) -> Tensor:
    return x.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
