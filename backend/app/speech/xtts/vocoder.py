"""HiFi-GAN: latents and a speaker embedding → audio, in windows that meet exactly.

Codes come 1,024 samples of 22.05 kHz apart. Their latents are interpolated linearly to frames of 256
samples at 24 kHz, on a grid that starts with the utterance, whichever part of it is asked for; a frame's
audio then depends on `CONTEXT` frames on either side. So any part of an utterance can be spoken by itself
as soon as the latents around it are there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts import gpu
from app.speech.xtts.checkpoint import Weights
from app.speech.xtts.compiled import convolutions, library
from app.speech.xtts.compiled.convolutions import Convolution, Link, Place
from app.speech.xtts.compiled.tiles import width
from app.speech.xtts.layout import DILATIONS, STRIDES
from app.speech.xtts.linear import Precision, compute_dtype

RATE = 24000
HOP = 256
# Half the receptive field: 3 of the first convolution, 1 + 7.5 of the first stage, then ever less: 13.3.
CONTEXT = 14
_SLOPE, _LAST_SLOPE = 0.1, 0.01  # of the leaky ReLUs


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
        return self._length(latents, len(self._scales))

    def ready(self, latents: int) -> int:
        """How many frames are settled by the first so many latents, when more are to come."""
        for scale in self._scales:
            latents = max(0, math.floor((latents - 0.5) * scale - 0.5))
        return latents

    def __call__(self, latents: Tensor, start: int, stop: int) -> Tensor:
        """Frames `start` … `stop` of latents (count, channels) → (stop - start, channels)."""
        places, weights = self._taps(np.arange(start, stop)[:, None], len(self._scales), len(latents))
        # One operation, because on a GPU each costs more to begin than to do.
        return F.embedding_bag(
            torch.from_numpy(places).to(latents.device),
            latents,
            mode="sum",
            per_sample_weights=torch.from_numpy(weights).to(latents),
        )

    def _taps(
        self, places: NDArray[np.int64], stages: int, latents: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Places (frames, n) after so many interpolations: the latents that each frame is a sum of, and how much of
        each; two for every place and interpolation."""
        weights = np.ones(places.shape)
        for stage in reversed(range(stages)):
            length = self._length(latents, stage)
            exact = np.clip((places + 0.5) / self._scales[stage] - 0.5, 0, length - 1)
            low = np.floor(exact).astype(np.int64)
            rest = exact - low
            places = np.concatenate((low, np.minimum(low + 1, length - 1)), axis=1)
            weights = np.concatenate((weights * (1 - rest), weights * rest), axis=1)
        return places, weights

    def _length(self, latents: int, stages: int) -> int:
        for scale in self._scales[:stages]:
            latents = math.floor(latents * scale)
        return latents


class Vocoder:
    """The generator. Sizes come from the weights; strides and dilations are the design's.

    In precisions below fp32, convolutions are convolutions.c's where it runs: faster than PyTorch's in bf16,
    and nearer to fp32.
    """

    def __init__(self, weights: Weights, precision: Precision, device: torch.device) -> None:
        self._device = device
        self._generator: Callable[[Tensor, Tensor], Tensor]
        self._kernels: Callable[[], list[Callable[[], object]]] = list
        if gpu.usable(device):
            from app.speech.xtts.gpu.generator import Generator

            dtype, slopes = compute_dtype(precision), (_SLOPE, _LAST_SLOPE)
            self._generator = generator = Generator(weights, dtype, device, STRIDES, DILATIONS, slopes)
            self._kernels = generator.kernels
        elif precision != "fp32" and library.supported(device) and _Compiled.fits(weights):
            self._generator = _Compiled(weights)
        else:
            self._generator = _Plain(weights, compute_dtype(precision), device)

    @property
    def compiled(self) -> bool:
        """Whether convolutions.c computes it, and not PyTorch."""
        return isinstance(self._generator, _Compiled)

    def kernels(self) -> list[Callable[[], object]]:
        """As Runner.kernels."""
        return self._kernels()

    @torch.inference_mode()
    def __call__(self, frames: Tensor, speakers: Tensor) -> Tensor:
        """Frames (batch, length, channels), speakers (batch, 512) → fp32 audio (batch, length × 256)."""
        return self._generator(frames.to(self._device), speakers.to(self._device))


def _kernels(weights: Weights) -> int:
    """How many blocks, each with a kernel of its own, a stage has."""
    return sum(1 for name in weights.names() if name.endswith("convs1.0.weight")) // len(STRIDES)


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
        for stage, stride in enumerate(STRIDES):
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
        for number, dilation in enumerate(DILATIONS):
            y = self._convolve(f"{name}.convs1.{number}", F.leaky_relu(x, _SLOPE), dilation)
            y = self._convolve(f"{name}.convs2.{number}", F.leaky_relu_(y, _SLOPE))
            x = y.add_(x)
        return x


class _Compiled:
    """In convolutions.c. Activations are (positions, channels).

    A stage's blocks are added up unscaled, and the next filter is divided instead.
    """

    def __init__(self, weights: Weights) -> None:
        self._kernels = _kernels(weights)
        self._convolutions: dict[str, Convolution] = {}
        self._biases: dict[str, Tensor] = {}
        self._speaker: dict[str, tuple[Tensor, Tensor, int]] = {}  # weight, bias and repetitions of a bias
        self._take(weights, "conv_pre", slope=1.0)
        self._listen(weights, "conv_pre", "cond_layer")
        divisor = 1
        for stage, stride in enumerate(STRIDES):
            name = f"ups.{stage}"
            up = weights(f"{name}.weight") / divisor
            self._convolutions[name] = Convolution.upsampling(up, stride, _SLOPE)
            self._biases[name] = self._padded(weights(f"{name}.bias")).repeat(stride)
            self._listen(weights, name, f"conds.{stage}", stride)
            for block in self._blocks(stage):
                for number, dilation in enumerate(DILATIONS):
                    self._take(weights, f"resblocks.{block}.convs1.{number}", dilation)
                    self._take(weights, f"resblocks.{block}.convs2.{number}")
            divisor = self._kernels
        self._take(weights, "conv_post", slope=_LAST_SLOPE, divisor=divisor)
        self._team = library.Team(torch.get_num_threads())
        self._lock = threading.Lock()
        # Kept, because new memory is slow to write to, page by page.
        self._signals, self._memory = [torch.empty(0)] * (1 + len(STRIDES)), torch.empty(0)

    @staticmethod
    def fits(weights: Weights) -> bool:
        """Whether convolutions.c has what this generator needs."""
        upsampled = all(
            convolutions.upsamples(weights(f"ups.{stage}.weight"), stride)
            for stage, stride in enumerate(STRIDES)
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
        biases = self._biases | {
            name: self._biases[name] + self._padded(torch.addmv(bias, weight, speaker)).repeat(times)
            for name, (weight, bias, times) in self._speaker.items()
        }
        before = Link(self._convolutions["conv_pre"], biases["conv_pre"], Place.INPUT, Place.OUTPUT)
        x = self._run(0, [before], self._padded(frames).contiguous())
        for stage in range(len(STRIDES)):
            x = self._run(stage + 1, self._stage(stage, biases), x)
        return torch.tanh(x[:, 0])

    def _run(self, number: int, links: list[Link], x: Tensor) -> Tensor:
        """x through a chain, into memory of this number."""
        positions, channels = len(x) * links[0].expand, links[-1].convolution.outputs // links[-1].expand
        if self._signals[number].numel() < positions * channels:
            self._signals[number] = torch.empty(positions * channels)
        y = self._signals[number][: positions * channels].view(positions, channels)
        self._memory = convolutions.run(links, x, y, self._team, self._memory)
        return y

    def _stage(self, stage: int, biases: dict[str, Tensor]) -> list[Link]:
        """From a stage's input to the sum of its blocks; of the last one, to audio."""
        up, inner, state, total = Place.FIRST, Place.SECOND, Place.THIRD, Place.FOURTH

        def link(name: str, x: Place, y: Place, *others: Place) -> Link:
            return Link(self._convolutions[name], biases[name], x, y, *others)

        links = [link(f"ups.{stage}", Place.INPUT, up)._replace(expand=STRIDES[stage])]
        for block in self._blocks(stage):
            before, so_far = up, Place.NOTHING if block == self._blocks(stage)[0] else total
            for number in range(len(DILATIONS)):
                name, last = f"resblocks.{block}.convs{{}}.{number}", number == len(DILATIONS) - 1
                links.append(link(name.format(1), before, inner))
                links.append(
                    link(name.format(2), inner, total, before, so_far)
                    if last
                    else link(name.format(2), inner, state, before)
                )
                before = state
        if stage == len(STRIDES) - 1:
            return [*links, link("conv_post", total, Place.OUTPUT)]
        return [*links[:-1], links[-1]._replace(y=Place.OUTPUT)]

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
