"""The GPT's layers and head in layers.c: their weights, packed, the two passes, and what follows them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts.checkpoint import Settings, Weights
from app.speech.xtts.compiled import library
from app.speech.xtts.compiled.choice import How
from app.speech.xtts.compiled.library import PANEL, Team
from app.speech.xtts.compiled.weights import BITS, CODES, packed

if TYPE_CHECKING:
    from app.speech.xtts.gpt import Cache
    from app.speech.xtts.linear import Precision
    from app.speech.xtts.sampling import Sampling

_HEADS = (16, 64)  # channels of a head that layers.c knows
_LAST_NORMS = ("last_norm", "final_norm")
_CACHED_BITS = {"bf16": 10, "int8": 8}  # of a number of the cache
_DONE, _NO_MEMORY = 0, 1  # what comes of a pass


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


class _Speech(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("code", "count", "lengths", "draws", "seen", "states")),
        *((name, ctypes.c_void_p) for name in ("of_codes", "of_counts")),
        *((name, ctypes.c_int32) for name in ("most", "codes", "counts")),
        ("sampling", How),
    ]


class _Pass(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("tokens", "layers", "cache_rows", "capacity")),
        *((name, ctypes.c_void_p) for name in ("rows", "positions", "x")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("keys", "values")),
        *((name, ctypes.c_void_p) for name in ("states", "logits")),
        ("speech", ctypes.POINTER(_Speech)),
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
        return self._through_layers(x.reshape(-1, channels), cache, numbers, positions).view(x.shape)

    def decode(self, x: Tensor, cache: Cache, lengths: Tensor) -> Tensor:
        """As Gpt.decode."""
        return self._through_layers(x, cache, torch.arange(len(x)), lengths.clone())

    def states_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As Gpt.states_and_logits."""
        x = _copied(x)
        states = torch.empty_like(x)
        logits = torch.empty(len(x), self._model.head.codes)
        self._run(_Pass(tokens=len(x), x=x.data_ptr(), states=states.data_ptr(), logits=logits.data_ptr()))
        return states, logits[:, : self._settings.audio_tokens]

    def steps(
        self, sampling: Sampling, tensors: dict[str, Tensor], of_codes: Tensor, of_counts: Tensor
    ) -> Callable[[Cache, Sequence[int]], None]:
        """As Gpt.steps."""
        kept = tensors | {"of_codes": of_codes, "of_counts": of_counts}
        most, codes = tensors["draws"].shape[1], tensors["seen"].shape[1]
        speech = _Speech(most=most, codes=codes, counts=len(of_counts), sampling=How(sampling, codes))
        for name, tensor in kept.items():
            assert tensor.is_contiguous()
            setattr(speech, name, tensor.data_ptr())
        speech.kept = kept  # as long as it points there

        def step(cache: Cache, rows: Sequence[int]) -> None:
            numbers = (ctypes.c_int64 * len(rows))(*rows)
            into = {"rows": ctypes.addressof(numbers), "speech": ctypes.pointer(speech)}
            self._run(_Pass(tokens=len(rows), **into, **self._of(cache)))

        return step

    def _through_layers(self, x: Tensor, cache: Cache, rows: Tensor, positions: Tensor) -> Tensor:
        """The last layer's output of x (tokens, channels)."""
        x = _copied(x)
        into = {"rows": rows.data_ptr(), "positions": positions.data_ptr(), "x": x.data_ptr()}
        self._run(_Pass(tokens=len(x), **into, **self._of(cache)))
        return x

    def _of(self, cache: Cache) -> dict[str, Any]:
        """A cache, for a pass."""
        size = {"cache_rows": cache.rows, "capacity": cache.capacity}
        keys, values = cache.pointers
        return size | {"layers": self._settings.layers, "keys": keys, "values": values}

    def _run(self, one_pass: _Pass) -> None:
        """Raises ValueError for rows and positions that the cache has not."""
        run, model = library.library().run_layers, ctypes.byref(self._model)
        with self._lock:
            outcome = run(model, self._team.handle, ctypes.byref(one_pass), torch.get_num_threads())
        if outcome == _NO_MEMORY:
            raise MemoryError
        if outcome != _DONE:
            size = f"{one_pass.cache_rows} rows of {one_pass.capacity} positions"
            raise ValueError(f"There is a place that a cache of {size} has not.")

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
