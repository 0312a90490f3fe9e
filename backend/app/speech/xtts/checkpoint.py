"""A folder with an XTTS v2 checkpoint, official or converted, and its tensors by name.

Official: `config.json`, `vocab.json`, `model.pth` (a pickle, read with `weights_only=True`, so that no code
in it runs). Converted by `convert`: the same, with `model.safetensors` in the place of the pickle. Both are
memory-mapped, and a tensor's pages are given back once it was taken, so that loading stays small.

Names are the official ones, with three things settled once: weight norm is folded, GPT-2's (in, out)
matrices are (out, in), and what speaking does not need is left out.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import mmap
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil
import safetensors
import torch
from torch import Tensor

from app.speech.interface import EngineUnavailable
from app.speech.xtts import layout

CONVERTED, OFFICIAL = "model.safetensors", "model.pth"
FORMAT = "moksori-xtts-1"
# The published model.pth pickles its configuration too (coqui-ai/TTS#4121): classes of these names, which
# coqui-tts 0.28 keeps in another module than before.
_CONFIGURATIONS = (
    "TTS.tts.configs.xtts_config.XttsConfig",
    "TTS.tts.configs.xtts_config.XttsArgs",
    "TTS.tts.configs.xtts_config.XttsAudioConfig",
    "TTS.tts.models.xtts.XttsArgs",
    "TTS.tts.models.xtts.XttsAudioConfig",
    "TTS.config.shared_configs.BaseDatasetConfig",
)
# PyTorch writes entries as they are: one that is packed could come to any size when it is read. The published
# model.pth has some 150 KB of names and shapes beside its tensors.
_MOST_PICKLED = 2**22
IMPORT_AGAIN = "Fetch or import the weights again: moksori weights fetch xtts-v2."
_NEEDED = ("gpt.", "hifigan_decoder.", "mel_stats")
_UNNEEDED = ("gpt.gpt_inference.", "gpt.text_head.", "gpt.gpt.wte.", "gpt.gpt.wpe.")
_FOLDED = re.compile(r"(.*)\.(?:parametrizations\.weight\.original0|weight_g)$")
_DIRECTION = re.compile(r"(.*)\.(?:parametrizations\.weight\.original1|weight_v)$")
_MOST_FP16 = torch.finfo(torch.float16).max
_GPT2_MATRIX = re.compile(r"gpt\.gpt\.h\.\d+\.(?:attn|mlp)\.c_\w+\.weight$")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What config.json says of the model and of how it is spoken with."""

    layers: int
    channels: int
    heads: int
    start_text: int
    stop_text: int
    audio_tokens: int
    start_audio: int
    stop_audio: int
    max_audio: int
    max_text: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    condition_seconds: int
    condition_chunk_seconds: int
    reference_seconds: int
    normalize_references: bool

    @property
    def max_codes(self) -> int:
        """Codes that one utterance may have: what coqui-tts allows (positions less start, stop and one)."""
        return self.max_audio - 3


class _Stored(NamedTuple):
    """A tensor in a file: what it will be when it is read."""

    shape: layout.Shape
    read: Callable[[], Tensor]


class Weights:
    """Tensors by name, read when asked for. `under` gives a part of them, with shorter names."""

    def __init__(self, tensors: Mapping[str, Callable[[], Tensor]], source: Path, prefix: str = "") -> None:
        self._tensors = tensors
        self._source = source
        self._prefix = prefix

    def under(self, prefix: str) -> Weights:
        return Weights(self._tensors, self._source, f"{self._prefix}{prefix}.")

    def has(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def names(self) -> list[str]:
        """All names below the prefix, without it."""
        return [name[len(self._prefix) :] for name in self._tensors if name.startswith(self._prefix)]

    def __call__(self, name: str) -> Tensor:
        """A copy in fp32. Raises EngineUnavailable."""
        full = self._prefix + name
        read = self._tensors.get(full)
        if read is None:
            raise EngineUnavailable(f"{self._source} lacks the tensor {full}.", fix=IMPORT_AGAIN)
        tensor = read()
        copy = tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        _give_back(tensor)
        return copy


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open folder."""

    folder: Path
    settings: Settings
    weights: Weights
    text_tokens: int  # that the model knows
    converted: bool

    @property
    def vocabulary(self) -> Path:
        return self.folder / "vocab.json"


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a folder. Raises EngineUnavailable that says what is missing or wrong, and what to do.

    A converted file that cannot be used is passed over, with a warning, where model.pth is there as well.
    """
    source, *others = _model_files(folder)
    try:
        return _open(folder, source)
    except EngineUnavailable as error:
        if not others:
            raise
        checkpoint = _open(folder, others[0])
        _log.warning(
            "tts.xtts.conversion_unusable", extra={"error": str(error), "fix": "moksori weights convert"}
        )
        return checkpoint


def _model_files(folder: Path) -> list[Path]:
    """One or two files with the weights of a folder that lacks nothing, the converted one first."""
    if not folder.is_dir():
        raise EngineUnavailable(f"There is no folder {folder}.", fix=IMPORT_AGAIN)
    found = [folder / name for name in (CONVERTED, OFFICIAL) if (folder / name).is_file()]
    missing = [name for name in ("config.json", "vocab.json") if not (folder / name).is_file()]
    if not found:
        missing.append(f"{OFFICIAL} (or {CONVERTED})")
    if missing:
        raise EngineUnavailable(f"{folder} lacks {', '.join(missing)}.", fix=IMPORT_AGAIN)
    return found


def _open(folder: Path, source: Path) -> Checkpoint:
    settings = _settings(folder / "config.json")
    converted = source.name == CONVERTED
    tensors = _converted_tensors(source) if converted else _official_tensors(source)
    absent = [part for part in _NEEDED if not any(name.startswith(part) for name in tensors)]
    if absent:
        raise EngineUnavailable(
            f"{source} is no XTTS v2 model: it has no tensor under {', '.join(absent)}.", fix=IMPORT_AGAIN
        )
    shapes = {name: each.shape for name, each in tensors.items()}
    wrong = layout.problem(settings, shapes)
    text_tokens, marks = 0, (settings.start_text, settings.stop_text)
    if wrong is None:
        text_tokens = shapes[layout.TEXT_EMBEDDING][0]
        if not 0 <= min(marks) <= max(marks) < text_tokens:
            wrong = f"knows {text_tokens} text tokens, and config.json begins and ends texts with {marks}"
    if wrong:
        raise EngineUnavailable(
            f"{source} {wrong}.", fix=f"Weights and config.json must be of one model. {IMPORT_AGAIN}"
        )
    weights = Weights({name: each.read for name, each in tensors.items()}, source)
    return Checkpoint(folder, settings, weights, text_tokens, converted)


def convert(folder: Path, target: Path, precision: Literal["fp32", "fp16"] = "fp16") -> Path:
    """Write an official folder as a converted one, tensor by tensor; the GPT's matrices in `precision`.

    fp16 takes as much room as bf16 and is eight times nearer to fp32, so that hardly anything is rounded twice.

    Little memory is needed, and an interrupted conversion leaves no usable-looking file behind. A folder that
    has only a converted file is converted again, but never to numbers finer than it has. Raises
    EngineUnavailable, and OSError where the target cannot be written.
    """
    source = _model_files(folder)[-1]  # model.pth, whatever a conversion beside it holds
    checkpoint = _open(folder, source)
    if checkpoint.converted and (kept := _precision(source)) not in ("fp32", precision):
        raise EngineUnavailable(
            f"{folder} has no {OFFICIAL}, and {CONVERTED} holds the numbers of {kept}: in {precision} they "
            "would be no nearer to the official ones.",
            fix=IMPORT_AGAIN,
        )
    target.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    for name in ("config.json", "vocab.json"):
        if target != folder:
            (target / name).write_bytes((folder / name).read_bytes())
    partial = target / f".{CONVERTED}.{os.getpid()}"
    try:
        _write_safetensors(partial, checkpoint.weights, precision)
        partial.replace(target / CONVERTED)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _sweep(target: Path) -> None:
    """Remove what conversions left that were killed: a gigabyte each."""
    for left in target.glob(f".{CONVERTED}.*"):
        owner = left.name.rpartition(".")[2]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            left.unlink(missing_ok=True)


def _precision(path: Path) -> str:
    """In which numbers a converted file holds the GPT's matrices."""
    with safetensors.safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("precision", "unknown precision")


def _settings(path: Path) -> Settings:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model = config["model_args"]
        settings = Settings(
            layers=int(model["gpt_layers"]),
            channels=int(model["gpt_n_model_channels"]),
            heads=int(model["gpt_n_heads"]),
            start_text=int(model["gpt_start_text_token"]),
            stop_text=int(model["gpt_stop_text_token"]),
            audio_tokens=int(model["gpt_num_audio_tokens"]),
            start_audio=int(model["gpt_start_audio_token"]),
            stop_audio=int(model["gpt_stop_audio_token"]),
            max_audio=int(model["gpt_max_audio_tokens"]),
            max_text=int(model["gpt_max_text_tokens"]),
            temperature=float(config["temperature"]),
            top_k=int(config["top_k"]),
            top_p=float(config["top_p"]),
            repetition_penalty=float(config["repetition_penalty"]),
            condition_seconds=int(config["gpt_cond_len"]),
            condition_chunk_seconds=int(config["gpt_cond_chunk_len"]),
            reference_seconds=int(config["max_ref_len"]),
            normalize_references=bool(config.get("sound_norm_refs", False)),
        )
        _check(settings)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise EngineUnavailable(
            f"{path} is no configuration of XTTS v2 ({type(error).__name__}: {error}).", fix=IMPORT_AGAIN
        ) from error
    if not model.get("gpt_use_perceiver_resampler", False):
        raise EngineUnavailable(
            f"{path} is of XTTS v1, which has no perceiver.", fix="Use a checkpoint of XTTS v2."
        )
    return settings


def _check(settings: Settings) -> None:
    """Raises ValueError."""
    counts = ("layers", "channels", "heads", "audio_tokens", "max_audio", "max_text")
    seconds = ("condition_chunk_seconds", "reference_seconds")
    for name in (*counts, *seconds):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} is {getattr(settings, name)}")
    if settings.channels % settings.heads:
        raise ValueError(f"{settings.channels} channels for {settings.heads} heads")
    if settings.max_codes < 1:
        raise ValueError(f"max_audio is {settings.max_audio}")
    for name in ("start_audio", "stop_audio"):
        if not 0 <= getattr(settings, name) < settings.audio_tokens:
            raise ValueError(f"{name} is {getattr(settings, name)} of {settings.audio_tokens}")
    for name in ("temperature", "top_p", "repetition_penalty"):
        if not 0 < getattr(settings, name) < math.inf:
            raise ValueError(f"{name} is {getattr(settings, name)}")
    if settings.top_k < 0:
        raise ValueError(f"top_k is {settings.top_k}")


def _stand_in(name: str) -> type:
    """An empty class for a configuration that lies beside the tensors: read over, and nothing of it is run."""
    return type(name.rpartition(".")[2], (), {})


def _official_tensors(path: Path) -> dict[str, _Stored]:
    try:
        _check_archive(path)
        with torch.serialization.safe_globals([(_stand_in(name), name) for name in _CONFIGURATIONS]):
            loaded = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        state = loaded.get("model", loaded)
        items = {str(name).removeprefix("xtts."): tensor for name, tensor in state.items()}
        return {name: _Stored(shape, read) for name, shape, read in _plain(items)}
    except (
        OSError,
        RuntimeError,
        ValueError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        raise EngineUnavailable(
            f"{path} is damaged, or holds more than weights ({type(error).__name__}).",
            fix=f"It is read without running code in it, on purpose. {IMPORT_AGAIN}",
        ) from error


def _check_archive(path: Path) -> None:
    """Raises ValueError for what would be far larger when it is read than it is in the file."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            most = _MOST_PICKLED if entry.filename.endswith("data.pkl") else math.inf
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
                raise ValueError(entry.filename)


def _plain(items: Mapping[str, Any]) -> Iterator[tuple[str, layout.Shape, Callable[[], Tensor]]]:
    """What speaking needs: names, shapes, and how to read it. Raises TypeError and ValueError for what is no plain
    tensor."""
    directions = {match[1]: name for name in items if (match := _DIRECTION.match(name))}
    for name, tensor in items.items():
        if not name.startswith(_NEEDED) or name.startswith(_UNNEEDED) or ".torch_spec." in name:
            continue
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise TypeError(name)
        shape = tuple(tensor.shape)
        if match := _FOLDED.match(name):
            if match[1] in directions:
                direction = items[directions[match[1]]]
                if tensor.numel() != direction.shape[0]:
                    raise ValueError(name)
                yield f"{match[1]}.weight", tuple(direction.shape), _folding(tensor, direction)
        elif _GPT2_MATRIX.match(name):
            yield name, shape[::-1], tensor.t
        elif not _DIRECTION.match(name) and tensor.is_floating_point():
            yield name, shape, _constantly(tensor)


def _constantly(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


def _folding(norm: Tensor, direction: Tensor) -> Callable[[], Tensor]:
    """Weight norm (Salimans and Kingma 2016): `norm` × direction / ‖direction‖, a row of dimension 0 each."""

    def fold() -> Tensor:
        rows = direction.float().flatten(1)
        folded = rows * (norm.float().flatten() / rows.norm(dim=1))[:, None]
        return folded.view(direction.shape)

    return fold


def _converted_tensors(path: Path) -> dict[str, _Stored]:
    try:
        file: Any = safetensors.safe_open(path, framework="pt")
        metadata = file.metadata() or {}
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise EngineUnavailable(f"{path} is damaged ({error}).", fix=IMPORT_AGAIN) from error
    if metadata.get("format") != FORMAT:
        raise EngineUnavailable(f"{path} was not written by this version's conversion.", fix=IMPORT_AGAIN)

    def reading(name: str) -> Callable[[], Tensor]:
        return lambda: file.get_tensor(name)

    return {name: _Stored(shape, reading(name)) for name, shape in shapes.items()}


def _write_safetensors(path: Path, weights: Weights, precision: str) -> None:
    """The safetensors format: a length, a JSON header, then the tensors' bytes one after the other."""
    names = sorted(weights.names())

    def stored(name: str) -> Tensor:
        tensor = weights(name)
        if precision == "fp16" and _GPT2_MATRIX.match(name) and tensor.abs().amax() < _MOST_FP16:
            return tensor.half()
        return tensor

    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "precision": precision}}
    offset = 0
    for name in names:
        tensor = stored(name)
        size = tensor.numel() * tensor.element_size()
        kind = "F16" if tensor.dtype is torch.float16 else "F32"
        header[name] = {
            "dtype": kind,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(stored(name).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())


def _give_back(tensor: Tensor) -> None:
    """Drop the pages of a tensor that nobody reads any more; those of a mapped file can be read again.

    Without this, the whole file would count as this process's memory once it was read.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    storage = tensor.untyped_storage()
    start = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (storage.data_ptr() + storage.nbytes()) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
