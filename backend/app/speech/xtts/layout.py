"""The tensors of an XTTS v2 checkpoint: their names, and the shapes that config.json or the design gives them.

What neither settles (how many text tokens there are, how wide vocoder and speaker encoder are, how many blocks the
latter has) is read off the tensors themselves, and holds for all that belong together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.speech.xtts.checkpoint import Settings

Shape = tuple[int, ...]
_Shapes = Iterator[tuple[str, Shape]]

LATENTS = 32  # of a voice, before every text
SPEAKER = 512  # numbers of a speaker embedding
MEL_BANDS = 80  # of what is conditioned on
HEAD_CHANNELS = 64  # of the perceiver
STRIDES = (8, 8, 2, 2)  # of the vocoder's stages
DILATIONS = (1, 3, 5)  # of a block's convolutions
TEXT_EMBEDDING = "gpt.text_embedding.weight"  # as many rows as there are tokens, whatever config.json says
_ATTENTION_BLOCKS, _PERCEIVER_LAYERS, _PERCEIVER_HEADS = 6, 2, 8
_TAPS, _ENDS = (3, 7, 11), 7  # of the vocoder: of a stage's blocks, of the first and last convolution
_STAGES, _REDUCTION, _ATTENTION, _ROWS = (1, 2, 3, 4), 8, 128, 8  # of the speaker encoder; rows at its end


def problem(settings: Settings, found: Mapping[str, Shape]) -> str | None:
    """What is missing among tensors found, or has another shape than it must have; None: nothing.

    What is there besides does not matter, but for layers: to speak with some of them is to speak nonsense.
    """
    for name, shape in _tensors(settings, found):
        if name not in found:
            return f"lacks the tensor {name}"
        if found[name] != shape:
            return f"has {name} in the shape {found[name]}, and config.json or the design asks for {shape}"
    if any(name.startswith(f"gpt.gpt.h.{settings.layers}.") for name in found):
        return f"has more layers than the {settings.layers} of config.json"
    return None


def _tensors(settings: Settings, found: Mapping[str, Shape]) -> _Shapes:
    yield "mel_stats", (MEL_BANDS,)
    yield from _under("gpt", _gpt(settings, _outputs(TEXT_EMBEDDING, found)))
    yield from _under("gpt.conditioning_encoder", _conditioning_encoder(settings.channels))
    yield from _under("gpt.conditioning_perceiver", _perceiver(settings.channels))
    for part, shapes in (("waveform_decoder", _vocoder), ("speaker_encoder", _speaker_encoder)):
        prefix = f"hifigan_decoder.{part}."
        inside = {name[len(prefix) :]: shape for name, shape in found.items() if name.startswith(prefix)}
        yield from _under(prefix[:-1], shapes(settings, inside))


def _gpt(settings: Settings, text_tokens: int) -> _Shapes:
    channels = settings.channels
    yield TEXT_EMBEDDING.removeprefix("gpt."), (text_tokens, channels)
    yield "text_pos_embedding.emb.weight", (settings.max_text + 2, channels)  # start and stop
    yield "mel_embedding.weight", (settings.audio_tokens, channels)
    yield "mel_pos_embedding.emb.weight", (settings.max_audio + 3, channels)  # and one that is not used
    for layer in range(settings.layers):
        for norm in ("ln_1", "ln_2"):
            yield from _biased(f"gpt.h.{layer}.{norm}", channels)
        yield from _biased(f"gpt.h.{layer}.attn.c_attn", 3 * channels, channels)
        yield from _biased(f"gpt.h.{layer}.attn.c_proj", channels, channels)
        yield from _biased(f"gpt.h.{layer}.mlp.c_fc", 4 * channels, channels)
        yield from _biased(f"gpt.h.{layer}.mlp.c_proj", channels, 4 * channels)
    yield from _biased("gpt.ln_f", channels)
    yield from _biased("final_norm", channels)
    yield from _biased("mel_head", settings.audio_tokens, channels)


def _conditioning_encoder(channels: int) -> _Shapes:
    yield from _biased("init", channels, MEL_BANDS, 1)
    for block in range(_ATTENTION_BLOCKS):
        yield from _biased(f"attn.{block}.norm", channels)
        yield from _biased(f"attn.{block}.qkv", 3 * channels, channels, 1)
        yield from _biased(f"attn.{block}.proj_out", channels, channels, 1)


def _perceiver(channels: int) -> _Shapes:
    inner, hidden = _PERCEIVER_HEADS * HEAD_CHANNELS, channels * 4 * 2 // 3
    yield "latents", (LATENTS, channels)
    yield "norm.gamma", (channels,)
    for layer in range(_PERCEIVER_LAYERS):
        yield f"layers.{layer}.0.to_q.weight", (inner, channels)
        yield f"layers.{layer}.0.to_kv.weight", (2 * inner, channels)
        yield f"layers.{layer}.0.to_out.weight", (channels, inner)
        yield from _biased(f"layers.{layer}.1.0", 2 * hidden, channels)
        yield from _biased(f"layers.{layer}.1.2", channels, hidden)


def _vocoder(settings: Settings, found: Mapping[str, Shape]) -> _Shapes:
    channels = _outputs("conv_pre.weight", found)
    yield from _biased("conv_pre", channels, settings.channels, _ENDS)
    yield from _biased("cond_layer", channels, SPEAKER, 1)
    for stage, stride in enumerate(STRIDES):
        before, channels = channels, channels // 2
        yield f"ups.{stage}.weight", (before, channels, 2 * stride)
        yield f"ups.{stage}.bias", (channels,)
        yield from _biased(f"conds.{stage}", channels, SPEAKER, 1)
        for number, taps in enumerate(_TAPS):
            for each in range(len(DILATIONS)):
                for convolution in ("convs1", "convs2"):
                    block = f"resblocks.{stage * len(_TAPS) + number}"
                    yield from _biased(f"{block}.{convolution}.{each}", channels, channels, taps)
    yield "conv_post.weight", (1, channels, _ENDS)


def _speaker_encoder(settings: Settings, found: Mapping[str, Shape]) -> _Shapes:
    channels = _outputs("conv1.weight", found)
    yield from _biased("conv1", channels, 1, 3, 3)
    yield from _normed("bn1", channels)
    for stage in _STAGES:
        numbers = [match[1] for name in found if (match := re.match(rf"layer{stage}\.(\d{{1,2}})\.", name))]
        for block in range(max(map(int, numbers), default=0) + 1):
            name, before = f"layer{stage}.{block}", channels
            channels = _outputs(f"layer{stage}.0.conv1.weight", found)
            yield f"{name}.conv1.weight", (channels, before, 3, 3)
            yield f"{name}.conv2.weight", (channels, channels, 3, 3)
            for norm in ("bn1", "bn2"):
                yield from _normed(f"{name}.{norm}", channels)
            yield from _biased(f"{name}.se.fc.0", channels // _REDUCTION, channels)
            yield from _biased(f"{name}.se.fc.2", channels, channels // _REDUCTION)
            if stage > 1 and block == 0:
                yield f"{name}.downsample.0.weight", (channels, before, 1, 1)
                yield from _normed(f"{name}.downsample.1", channels)
    pooled = channels * _ROWS
    yield from _biased("attention.0", _ATTENTION, pooled, 1)
    yield from _normed("attention.2", _ATTENTION)
    yield from _biased("attention.3", pooled, _ATTENTION, 1)
    yield from _biased("fc", SPEAKER, 2 * pooled)


def _under(prefix: str, shapes: _Shapes) -> _Shapes:
    return ((f"{prefix}.{name}", shape) for name, shape in shapes)


def _biased(name: str, *shape: int) -> _Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _normed(name: str, channels: int) -> _Shapes:
    """Of a batch norm."""
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)


def _outputs(name: str, found: Mapping[str, Shape]) -> int:
    """Of a matrix or filter. Where it is missing, that is found first."""
    return next(iter(found.get(name, ())), 0)
