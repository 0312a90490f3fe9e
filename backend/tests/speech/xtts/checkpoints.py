"""Checkpoints with made-up weights, in the official folder layout, the same on every machine.

The real weights cannot be shipped. A weight here depends on its name and shape alone, so the folder that
coqui-tts computed the reference arrays from can be rebuilt from a small list of names and shapes, without
coqui-tts. The reference builder in `tools/reference` uses this very file.
"""

from __future__ import annotations

import json
import string
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent / "reference"
FloatArray = NDArray[np.float32]
STOP_CODE = 1025


def weight(name: str, shape: Sequence[int], stop_bias: float = 0.0) -> FloatArray:
    """A weight from its name: scaled so that signals neither die out nor explode, and logits differ."""
    if ".torch_spec." in name:
        return _spectrum(name, shape).astype(np.float32)
    # RandomState's stream is frozen by numpy's own promise; Generator's is not.
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if name == "mel_stats":
        return 1.0 + 0.1 * np.abs(noise)
    if leaf == "running_var":
        return 1.0 + 0.2 * np.abs(noise)
    if leaf in ("running_mean", "bias"):
        bias = 0.1 * noise
        if name.endswith("mel_head.bias"):
            bias[STOP_CODE] += np.float32(stop_bias)
        return bias
    if leaf == "original0":  # the norms of weight-normed convolutions
        return np.float32(np.sqrt(1.5) if ".ups." in name else 0.7) * (1.0 + 0.1 * noise)
    if leaf == "original1":
        return noise
    if leaf == "gamma" or len(shape) == 1:
        return 1.0 + 0.1 * noise
    if "embedding" in name or leaf == "latents" or ".wte." in name:
        return (0.3 if "pos" in name else 1.0) * noise
    fan_in = shape[0] if ".gpt.h." in name else int(np.prod(shape[1:]))  # GPT-2 keeps (in, out)
    gain = 4.0 if "mel_head" in name else 0.3 if "conv_post" in name else 1.0
    return np.float32(gain / np.sqrt(fan_in)) * noise


def _spectrum(name: str, shape: Sequence[int]) -> NDArray[np.float64]:
    """What the speaker encoder makes its picture with: no weights, but official folders have them as well."""
    match name.rsplit(".", 1)[-1]:
        case "filter":  # emphasises what is high
            return np.array([-0.97, 1.0]).reshape(shape)
        case "window":
            return np.hamming(shape[0] + 1)[:-1]
        case "fb":  # triangles on the mel scale, (frequencies, bands)
            mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), shape[1] + 2)
            corners = 700 * (10 ** (mels / 2595) - 1)
            frequencies = np.linspace(0, 8000, shape[0])
            bands = [np.interp(frequencies, corners[n : n + 3], [0, 1, 0]) for n in range(shape[1])]
            return np.stack(bands, 1)
    raise ValueError(name)


def recording(seed: int, seconds: float, rate: int) -> FloatArray:
    """Something like a voice: a gliding buzz with a changing colour, and breath. (samples,)"""
    count = int(seconds * rate)
    time = np.arange(count) / rate
    random = np.random.RandomState(seed)
    pitch = 110.0 * 2 ** random.uniform(0, 1) * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * time + seed))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    harmonics = np.arange(1, 25)[:, None]
    colour = 1 / harmonics * (1 + 0.9 * np.sin(harmonics * 0.9 + 2 * np.pi * random.uniform(1, 4) * time))
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * 2.3 * time + random.uniform(0, 6))
    voice = (np.sin(harmonics * phase) * colour).sum(0) * loudness * 0.05
    return (voice + 0.005 * random.standard_normal(count)).astype(np.float32)


def vocabulary(size: int) -> dict[str, Any]:
    """A tokenizers BPE over romanised Korean: marks, letters, then syllables, `size` ids in all."""
    special = ["[STOP]", "[UNK]", "[SPACE]", "[START]", "[ko]", "[en]", "[ja]", "[zh-cn]"]
    letters = [*string.ascii_lowercase, *string.punctuation.replace("[", "").replace("]", ""), "…", "“", "”"]
    vocab: dict[str, int] = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[START]": 261}
    merges: list[list[str]] = []
    numbers = iter([n for n in range(3, size) if n != 261])

    def add(token: str) -> bool:
        if token not in vocab:
            number = next(numbers, None)
            if number is None:
                return False
            vocab[token] = number
        return True

    for token in [*special, *letters]:
        add(token)
    for left, right in _syllables():
        if (token := left + right) not in vocab:
            if not add(token):
                break
            merges.append([left, right])
    for number in numbers:
        vocab[f"<unused{number}>"] = number
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": vocab[token],
                "special": True,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for token in sorted(special, key=lambda t: vocab[t])
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def _syllables() -> Iterator[tuple[str, str]]:
    onsets = "gndrmbsjcktph"
    vowels = "aeouiyw"
    yield from ((v, w) for v in vowels for w in vowels)
    yield from ((o, v) for o in onsets for v in vowels)
    codas = "nlmgbstk"
    yield from ((o + v, c) for o in onsets for v in vowels for c in codas)
    bodies = [o + v + c for o in onsets for v in vowels for c in codas]
    yield from ((first, o + v) for first in bodies for o in onsets for v in vowels)


def write_checkpoint(
    folder: Path,
    shapes: Mapping[str, Sequence[int]],
    config: Mapping[str, Any],
    stop_bias: float = 0.0,
) -> Path:
    """An official folder: config.json, vocab.json and model.pth, tensors made one by one."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    size = int(config["model_args"]["gpt_number_text_tokens"])
    (folder / "vocab.json").write_text(json.dumps(vocabulary(size), ensure_ascii=False))
    state = {
        name: torch.zeros(list(shape), dtype=torch.int64)
        if name.endswith("num_batches_tracked")
        else torch.from_numpy(weight(name, shape, stop_bias))
        for name, shape in shapes.items()
    }
    torch.save({"model": state}, folder / "model.pth")
    return folder


def tiny(folder: Path, stop_bias: float = 0.0) -> Path:
    """The small checkpoint that `reference/tiny.npz` was computed from."""
    return described("tiny", folder, stop_bias)


def full(folder: Path) -> Path:
    """XTTS v2's size (1.9 GB, half a minute); its stop code never wins, so that lengths can be chosen."""
    return described("full", folder, stop_bias=-1000.0)


def described(name: str, folder: Path, stop_bias: float) -> Path:
    """The checkpoint whose names, shapes and settings are in `reference`."""
    description = json.loads((HERE / f"{name}.json").read_text())
    return write_checkpoint(folder, description["shapes"], description["config"], stop_bias)


@cache
def shrink() -> None:
    """Make coqui-tts build vocoder and speaker encoder as small as `tiny`'s; its settings cannot ask for that."""
    import TTS.tts.layers.xtts.hifigan_decoder as decoder
    import TTS.tts.models.xtts as model

    class SmallSpeakerEncoder(decoder.ResNetSpeakerEncoder):  # type: ignore[misc]
        def __init__(self, **settings: Any) -> None:
            super().__init__(num_filters=[8, 8, 16, 16], layers=[1, 2, 1, 1], **settings)

    class SmallDecoder(decoder.HifiDecoder):  # type: ignore[misc]
        def __init__(self, **settings: Any) -> None:
            super().__init__(upsample_initial_channel_decoder=32, **settings)

    decoder.ResNetSpeakerEncoder = SmallSpeakerEncoder
    model.HifiDecoder = SmallDecoder


def reference() -> dict[str, NDArray[Any]]:
    """What coqui-tts computed from `tiny`, by name; `tools/reference/build.py` says how."""
    with np.load(HERE / "tiny.npz") as arrays:
        return dict(arrays)
