"""HiFi-GAN: latents and a speaker embedding → audio, in windows that meet exactly.

Codes come 1,024 samples of 22.05 kHz apart. Their latents are interpolated linearly to frames of 256
samples at 24 kHz, on a grid that starts with the utterance, whichever part of it is asked for; a frame's
audio then depends on `CONTEXT` frames on either side. So any part of an utterance can be spoken by itself
as soon as the latents around it are there.
"""

from __future__ import annotations

import math
import threading

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts.checkpoint import Settings, Weights
from app.speech.xtts.compiled import convolutions, library
from app.speech.xtts.compiled.convolutions import Convolution, Step, width
from app.speech.xtts.linear import Precision, compute_dtype

RATE = 24000
HOP = 256
# Half the receptive field: 3 of the first convolution, 1 + 7.5 of the first stage, then ever less: 13.3.
CONTEXT = 14
_SLOPE, _LAST_SLOPE = 0.1, 0.01  # of the leaky ReLUs
_STRIDES = (8, 8, 2, 2)
_DILATIONS = (1, 3, 5)
# Frames of a segment, and those beside it that the later stages see: 60 of the second stage's 64 positions
# a frame, half and a quarter as much of the others', and a few of the upsampling filters'.
_SEGMENT, _BESIDE = 64, 2


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
    """The generator. Sizes come from the weights; strides and dilations are the design's.

    In precisions below fp32, convolutions are convolutions.c's where it runs: faster than PyTorch's in bf16,
    and nearer to fp32.
    """

    def __init__(
        self, weights: Weights, settings: Settings, precision: Precision, device: torch.device
    ) -> None:
        self._device = device
        weights("conv_pre.weight", -1, settings.channels, 7)
        self._generator: _Compiled | _Plain
        if precision != "fp32" and library.supported(device) and _Compiled.fits(weights):
            self._generator = _Compiled(weights)
        else:
            self._generator = _Plain(weights, compute_dtype(precision), device)

    @property
    def compiled(self) -> bool:
        """Whether convolutions.c computes it, and not PyTorch."""
        return isinstance(self._generator, _Compiled)

    @torch.inference_mode()
    def __call__(self, frames: Tensor, speakers: Tensor) -> Tensor:
        """Frames (batch, length, channels), speakers (batch, 512) → fp32 audio (batch, length × 256)."""
        return self._generator(frames.to(self._device), speakers.to(self._device))


def _kernels(weights: Weights) -> int:
    """How many blocks, each with a kernel of its own, a stage has."""
    return sum(1 for name in weights.names() if name.endswith("convs1.0.weight")) // len(_STRIDES)


class _Plain:
    """In PyTorch."""

    def __init__(self, weights: Weights, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype = dtype
        self._weights = {
            # Convolutions run as (1, width) ones: in two dimensions PyTorch knows the layout with
            # the channels last, which saves it from rearranging every input and output.
            name: tensor.to(device, dtype).unsqueeze(2) if tensor.dim() == 3 else tensor.to(device, dtype)
            for name in weights.names()
            for tensor in [weights(name)]
        }
        self._kernels = _kernels(weights)

    def __call__(self, frames: Tensor, speakers: Tensor) -> Tensor:
        w = self._weights
        x = frames.to(self._dtype).transpose(1, 2).unsqueeze(2)
        x = x.contiguous(memory_format=torch.channels_last)
        speaker = speakers.to(self._dtype)[:, :, None, None]
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
        audio = torch.tanh(self._convolve("conv_post", F.leaky_relu(x, _LAST_SLOPE)))
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


class _Compiled:
    """In convolutions.c. Activations are (positions, channels).

    A stage's blocks are added up unscaled, and the next filter is divided instead. All stages but the first
    go through the frames in segments, so that what they work on stays near the processor.
    """

    def __init__(self, weights: Weights) -> None:
        self._kernels = _kernels(weights)
        self._convolutions: dict[str, Convolution] = {}
        self._biases: dict[str, Tensor] = {}
        self._speaker: dict[str, tuple[Tensor, Tensor, int]] = {}  # weight, bias and repetitions of a bias
        self._take(weights, "conv_pre", slope=1.0)
        self._listen(weights, "conv_pre", "cond_layer")
        divisor = 1
        for stage, stride in enumerate(_STRIDES):
            name = f"ups.{stage}"
            up = weights(f"{name}.weight") / divisor
            self._convolutions[name] = Convolution.upsampling(up, stride, _SLOPE)
            self._biases[name] = self._padded(weights(f"{name}.bias")).repeat(stride)
            self._listen(weights, name, f"conds.{stage}", stride)
            for block in self._blocks(stage):
                for number, dilation in enumerate(_DILATIONS):
                    self._take(weights, f"resblocks.{block}.convs1.{number}", dilation)
                    self._take(weights, f"resblocks.{block}.convs2.{number}")
            divisor = self._kernels
        self._take(weights, "conv_post", slope=_LAST_SLOPE, divisor=divisor)
        self._team = library.Team()
        self._lock = threading.Lock()
        # Kept, because new memory is slow to write to, page by page.
        self._rooms = {part: [torch.empty(0)] * 4 for part in ("whole", "segment")}

    @staticmethod
    def fits(weights: Weights) -> bool:
        """Whether convolutions.c has what this generator needs."""
        upsampled = all(
            convolutions.upsamples(weights(f"ups.{stage}.weight"), stride)
            for stage, stride in enumerate(_STRIDES)
        )
        others = [
            name for name in weights.names() if name.endswith("weight") and name[:4] not in ("ups.", "cond")
        ]
        return upsampled and all(convolutions.fits(weights(name)) for name in others)

    def __call__(self, frames: Tensor, speakers: Tensor) -> Tensor:
        with self._lock:
            windows = zip(frames.float(), speakers.float(), strict=True)
            return torch.stack([self._speak(*window) for window in windows])

    def _speak(self, frames: Tensor, speaker: Tensor) -> Tensor:
        """Frames (length, channels), speaker (512,) → audio (length × 256,)."""
        length, stride = len(frames), _STRIDES[0]
        biases = self._biases | {
            name: self._biases[name] + self._padded(torch.addmv(bias, weight, speaker)).repeat(times)
            for name, (weight, bias, times) in self._speaker.items()
        }
        rooms = self._room("whole", length * max(self._numbers("conv_pre", 1), self._numbers("ups.0", 1)))
        steps: list[Step] = []
        x = self._convolve("conv_pre", self._padded(frames).contiguous(), rooms[0], biases, steps)
        x = self._stage(0, x, rooms, biases, steps)
        convolutions.run(steps, self._team)
        audio = torch.empty(length * HOP)
        for start in range(0, length, _SEGMENT):
            stop = min(length, start + _SEGMENT)
            low, high = max(0, start - _BESIDE), min(length, stop + _BESIDE)
            positions, largest = stride, 0
            for stage, more in enumerate(_STRIDES[1:], 1):
                largest = max(largest, self._numbers(f"ups.{stage}", positions))
                positions *= more
            largest = max(largest, self._numbers("conv_post", positions))
            rooms, steps = self._room("segment", (high - low) * largest), []
            y = x[low * stride : high * stride]
            for stage in range(1, len(_STRIDES)):
                y = self._stage(stage, y, rooms, biases, steps)
            y = self._convolve("conv_post", y, rooms[1], biases, steps)
            convolutions.run(steps, self._team)
            torch.tanh(y[(start - low) * HOP : (stop - low) * HOP, 0], out=audio[start * HOP : stop * HOP])
        return audio

    def _stage(
        self, stage: int, x: Tensor, rooms: list[Tensor], biases: dict[str, Tensor], steps: list[Step]
    ) -> Tensor:
        """Steps from x (positions, channels), which may lie in the first room, to the sum of the blocks there."""
        total, up, inner, state = rooms
        x = self._convolve(f"ups.{stage}", x, up, biases, steps)
        x = x.view(len(x) * _STRIDES[stage], -1)
        for block in self._blocks(stage):
            before, onto = x, None if block == self._blocks(stage)[0] else total
            for number in range(len(_DILATIONS)):
                name, last = f"resblocks.{block}.convs{{}}.{number}", number == len(_DILATIONS) - 1
                y = self._convolve(name.format(1), before, inner, biases, steps)
                before = self._convolve(
                    name.format(2), y, total if last else state, biases, steps, before, onto if last else None
                )
        return before

    def _convolve(
        self,
        name: str,
        x: Tensor,
        room: Tensor,
        biases: dict[str, Tensor],
        steps: list[Step],
        residual: Tensor | None = None,
        onto: Tensor | None = None,
    ) -> Tensor:
        convolution = self._convolutions[name]
        y = room[: len(x) * convolution.outputs].view(len(x), convolution.outputs)
        steps.append(convolution.step(x, biases[name], y, residual, onto))
        return y

    def _numbers(self, name: str, positions: int) -> int:
        """How many numbers a convolution writes for so many positions."""
        return positions * self._convolutions[name].outputs

    def _room(self, part: str, numbers: int) -> list[Tensor]:
        """Four of them."""
        if self._rooms[part][0].numel() < numbers:
            self._rooms[part] = [torch.empty(numbers) for _ in self._rooms[part]]
        return self._rooms[part]

    def _blocks(self, stage: int) -> range:
        return range(stage * self._kernels, (stage + 1) * self._kernels)

    def _take(
        self, weights: Weights, name: str, dilation: int = 1, slope: float = _SLOPE, divisor: int = 1
    ) -> None:
        weight = weights(f"{name}.weight")
        bias = weights(f"{name}.bias") if weights.has(f"{name}.bias") else torch.zeros(len(weight))
        self._convolutions[name] = Convolution(weight / divisor, dilation, slope)
        self._biases[name] = self._padded(bias)

    def _listen(self, weights: Weights, name: str, layer: str, times: int = 1) -> None:
        """What a convolution adds for the speaker."""
        self._speaker[name] = weights(f"{layer}.weight")[:, :, 0], weights(f"{layer}.bias"), times

    @staticmethod
    def _padded(x: Tensor) -> Tensor:
        return F.pad(x, (0, width(x.shape[-1]) - x.shape[-1]))
