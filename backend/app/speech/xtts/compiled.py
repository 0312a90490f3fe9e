"""The GPT's layers as compiled code, where processor and C compiler allow it. The code is layers.c's.

It is compiled when it is first needed (some seconds) and kept in the user's cache folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from app.speech.xtts.checkpoint import Settings, Weights

if TYPE_CHECKING:
    from app.speech.xtts.gpt import Cache
    from app.speech.xtts.linear import Precision

_SOURCE = Path(__file__).with_name("layers.c")
_PARTS = ("avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "avx512_bf16", "avx512_vnni")
_FLAGS = ("-O2", "-shared", "-fPIC", "-pthread", "-mfma", *(f"-m{part.replace('_', '')}" for part in _PARTS))
_PANEL, _LANES = 32, 16
_HEADS = (16, 64)  # channels of a head that layers.c knows
_CODES = {"fp32": 0, "bf16": 1, "int8": 2}
_log = logging.getLogger(__name__)


class _Product(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("cells", "bias", "scale", "sums")]


class _Layer(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in ("norm_1_weight", "norm_1_bias", "norm_2_weight", "norm_2_bias")
        ),
        *((name, _Product) for name in ("qkv", "projection", "expansion", "contraction")),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(_Layer)),
        *((name, ctypes.c_int32) for name in ("count", "channels", "heads", "precision")),
    ]


class _Pass(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("tokens", "capacity")),
        *((name, ctypes.c_void_p) for name in ("rows", "positions", "x")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("keys", "values")),
    ]


def supported(settings: Settings, device: torch.device) -> bool:
    """Whether layers.c runs here: on a processor with AVX-512, bf16 and VNNI, for sizes like the model's.

    Not where there is AMX, which only PyTorch's products use.
    """
    if device.type != "cpu" or os.name != "posix":
        return False
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fits = settings.channels % _PANEL == 0 and settings.channels // settings.heads in _HEADS
    return (
        fits and all(has.get(part) for part in _PARTS) and not has.get("amx_bf16") and library() is not None
    )


@once
def library() -> Any:
    """layers.c, compiled; None where that fails: PyTorch then computes the same, more slowly."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        _log.warning("tts.xtts.no_compiler")
        return None
    name = hashlib.sha256(_SOURCE.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:16]
    try:
        folder = _folder()
        path = folder / f"layers-{name}.so"
        if not path.is_file():
            fresh = folder / f"{path.name}.{os.getpid()}"
            command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(fresh), "-lm"]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            fresh.replace(path)
        found = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("tts.xtts.not_compiled", extra={"error": type(error).__name__})
        return None
    found.team_new.argtypes, found.team_new.restype = [ctypes.c_int32], ctypes.c_void_p
    found.team_free.argtypes, found.team_free.restype = [ctypes.c_void_p], None
    found.run_layers.argtypes = [
        ctypes.POINTER(_Model),
        ctypes.c_void_p,
        ctypes.POINTER(_Pass),
        ctypes.c_int32,
    ]
    found.run_layers.restype = ctypes.c_bool
    return found


def _folder() -> Path:
    """Where only this user writes: what lies there is run."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "moksori"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        pass
    return Path(tempfile.mkdtemp(prefix="moksori-"))


class CompiledLayers:
    """The layers' weights, packed, and the two passes over them. Results hang neither on what else is in a
    pass nor on the number of threads, which is PyTorch's at each call."""

    def __init__(self, weights: Weights, settings: Settings, precision: Precision) -> None:
        self._settings = settings
        self._kept: list[Tensor] = []  # what the structures point into
        self._lock = threading.Lock()
        channels = settings.channels
        self._layers = (_Layer * settings.layers)(
            *(self._layer(weights.under(f"h.{n}"), settings, precision) for n in range(settings.layers))
        )
        self._model = _Model(self._layers, settings.layers, channels, settings.heads, _CODES[precision])
        self._library = library()
        self._team = self._library.team_new(torch.get_num_threads() - 1)
        if not self._team:
            raise MemoryError
        weakref.finalize(self, self._library.team_free, self._team)

    def prefill(self, x: Tensor, cache: Cache, first: int, past: int) -> Tensor:
        """As Gpt.prefill."""
        rows, length, channels = x.shape
        numbers = torch.arange(first, first + rows).repeat_interleave(length)
        positions = torch.arange(past, past + length).repeat(rows)
        return self._run(x.reshape(-1, channels), cache, numbers, positions).view(rows, length, channels)

    def decode(self, x: Tensor, cache: Cache, lengths: Tensor) -> Tensor:
        """As Gpt.decode."""
        return self._run(x, cache, torch.arange(len(x)), lengths.clone())

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
            if not self._library.run_layers(self._model, self._team, one_pass, torch.get_num_threads()):
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
            return _Product(*map(self._keep, (*packed(weight, bias, precision),)))

        def divide(tensor: Tensor) -> None:
            tensor[:channels] *= scale

        norms = [
            self._keep(weights(f"{name}.{part}", channels).float().clone())
            for name in ("ln_1", "ln_2")
            for part in ("weight", "bias")
        ]
        return _Layer(
            *norms,
            product("attn.c_attn", 3 * channels, channels, divide),
            product("attn.c_proj", channels, channels),
            product("mlp.c_fc", 4 * channels, channels),
            product("mlp.c_proj", channels, 4 * channels),
        )

    def _keep(self, tensor: Tensor | None) -> int | None:
        if tensor is None:
            return None
        self._kept.append(tensor)
        return int(tensor.data_ptr())


def packed(
    weight: Tensor, bias: Tensor, precision: Precision
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """A product's (cells, bias, scale, sums) in layers.c's layout; of int8 alone the last two."""
    outputs, inputs = weight.shape
    scale = sums = None
    if precision == "int8":
        scale = weight.abs().amax(1).clamp(min=1e-8) / 127.0
        weight = (weight / scale[:, None]).round()
        sums = weight.sum(1).to(torch.int32)
    sizes = {"fp32": (1, torch.float32), "bf16": (2, torch.bfloat16), "int8": (4, torch.int8)}
    group, dtype = sizes[precision]
    cells = weight.to(dtype).view(outputs // _PANEL, _PANEL, inputs // group, group).transpose(1, 2)
    return cells.clone(memory_format=torch.contiguous_format), bias.float().clone(), scale, sums
