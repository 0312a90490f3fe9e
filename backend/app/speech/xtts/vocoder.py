"""HiFi-GAN: latents and a speaker embedding → audio, in windows that meet exactly.

Codes come 1,024 samples of 22.05 kHz apart. Their latents are interpolated linearly to frames of 256
samples at 24 kHz, on a grid that starts with the utterance, whichever part of it is asked for; a frame's
audio then depends on `CONTEXT` frames on either side. So any part of an utterance can be spoken by itself
as soon as the latents around it are there.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts.checkpoint import Settings, Weights
from app.speech.xtts.linear import Precision, compute_dtype

RATE = 24000
HOP = 256
# Half the receptive field: 3 of the first convolution, 1 + 7.5 of the first stage, then ever less: 13.3.
CONTEXT = 14
_SLOPE = 0.1
_STRIDES = (8, 8, 2, 2)
_DILATIONS = (1, 3, 5)


class Frames:
    """The grid from latents to frames of one utterance at one speed.

    Three linear interpolations, each as PyTorch's `interpolate` with a scale factor has it: length by
    1 / speed (left out at 1), then × 4, then × 24000 / 22050. Where a speed near 1 leaves the rounded length
    as it was, `interpolate` copies; here it is interpolated all the same, because a stream cannot know yet.
    """

    def __init__(self, speed: float = 1.0) -> None:
        stretch = [] if speed == 1.0 else [1.0 / max(speed, 0.05)]
        self._scales = [*stretch, 4.0, RATE / 22050]

    def total(self, latents: int) -> int:
        """How many frames a finished utterance of so many latents has."""
        for scale in self._scales:
            latents = math.floor(latents * scale)
        return latents

    def ready(self, latents: int) -> int:
        """How many frames are settled by the first so many latents, when more are to come."""
        for scale in self._scales:
            latents = max(0, math.floor((latents - 0.5) * scale - 0.5))
        return latents

    def __call__(self, latents: Tensor, start: int, stop: int) -> Tensor:
        """Frames `start` … `stop` of latents (count, channels) → (stop - start, channels)."""
        return self._interpolate(latents, len(self._scales), start, stop)

    def _interpolate(self, latents: Tensor, stages: int, start: int, stop: int) -> Tensor:
        if stages == 0:
            return latents[start:stop]
        scale = self._scales[stages - 1]
        length = latents.shape[0]
        for earlier in self._scales[: stages - 1]:
            length = math.floor(length * earlier)
        places = torch.arange(start, stop, dtype=torch.float64, device=latents.device)
        places = ((places + 0.5) / scale - 0.5).clamp(0, length - 1)
        low = places.floor().long()
        high = (low + 1).clamp(max=length - 1)
        first = max(0, math.floor((start + 0.5) / scale - 0.5))
        source = self._interpolate(latents, stages - 1, first, min(length, int(stop / scale) + 3))
        weight = (places - low).to(latents.dtype)[:, None]
        return torch.lerp(source[low - first], source[high - first], weight)


class Vocoder:
    """The generator. Sizes come from the weights; strides and dilations are the design's."""

    def __init__(
        self, weights: Weights, settings: Settings, precision: Precision, device: torch.device
    ) -> None:
        self._dtype = compute_dtype(precision)
        self._device = device
        weights("conv_pre.weight", -1, settings.channels, 7)
        self._weights = {
            # Convolutions run as (1, width) ones: in two dimensions PyTorch knows the layout with
            # the channels last, which saves it from rearranging every input and output.
            name: tensor.to(device, self._dtype).unsqueeze(2)
            if tensor.dim() == 3
            else tensor.to(device, self._dtype)
            for name in weights.names()
            for tensor in [weights(name)]
        }
        self._kernels = sum(1 for name in self._weights if name.endswith("convs1.0.weight")) // len(_STRIDES)

    @torch.inference_mode()
    def __call__(self, frames: Tensor, speakers: Tensor) -> Tensor:
        """Frames (batch, length, channels), speakers (batch, 512) → fp32 audio (batch, length × 256)."""
        w = self._weights
        x = frames.to(self._device, self._dtype).transpose(1, 2).unsqueeze(2)
        x = x.contiguous(memory_format=torch.channels_last)
        speaker = speakers.to(self._device, self._dtype)[:, :, None, None]
        x = self._convolve("conv_pre", x) + self._convolve("cond_layer", speaker)
        for stage, stride in enumerate(_STRIDES):
            kernel = w[f"ups.{stage}.weight"].shape[-1]
            x = F.conv_transpose2d(
                F.leaky_relu(x, _SLOPE),
                w[f"ups.{stage}.weight"],
                w[f"ups.{stage}.bias"],
                stride=(1, stride),
                padding=(0, (kernel - stride) // 2),
            )
            x = x + self._convolve(f"conds.{stage}", speaker)
            blocks = range(stage * self._kernels, (stage + 1) * self._kernels)
            x = sum(self._block(f"resblocks.{block}", x) for block in blocks) / self._kernels
        audio = torch.tanh(self._convolve("conv_post", F.leaky_relu(x)))
        return audio.flatten(1).float()

    def _convolve(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        weight = self._weights[f"{name}.weight"]
        padding = (weight.shape[-1] - 1) * dilation // 2
        return F.conv2d(
            x, weight, self._weights.get(f"{name}.bias"), padding=(0, padding), dilation=(1, dilation)
        )

    def _block(self, name: str, x: Tensor) -> Tensor:
        for number, dilation in enumerate(_DILATIONS):
            y = self._convolve(f"{name}.convs1.{number}", F.leaky_relu(x, _SLOPE), dilation)
            y = self._convolve(f"{name}.convs2.{number}", F.leaky_relu_(y, _SLOPE))
            x = y.add_(x)
        return x
