"""The vocoder on a GPU: 78 convolutions, each with all that follows it in one kernel."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts.checkpoint import Weights
from app.speech.xtts.gpu import convolution
from app.speech.xtts.gpu.recording import Recorder

_RECORDED = 32  # shapes


@dataclass(frozen=True, slots=True)
class _Convolution:
    """weight (taps, outputs, inputs), bias (1, outputs) in fp32."""

    weight: Tensor
    bias: Tensor
    dilation: int = 1


@dataclass(frozen=True, slots=True)
class Tiles:
    """What one program computes and reads at once, its warps, and tiles on their way."""

    places: int
    outputs: int
    inputs: int
    warps: int
    stages: int


@dataclass(frozen=True, slots=True)
class _Recording:
    """Where what is to be spoken goes, and where its audio is after a replay."""

    graph: torch.cuda.CUDAGraph
    frames: Tensor
    speakers: Tensor
    audio: Tensor


class Generator:
    """HiFi-GAN: frames (batch, length, channels), speakers (batch, 512) → fp32 audio (batch, length × 256), which is
    there until the next call. One thread only.

    Signals are (batch, length, channels), with as many channels as tensor cores want: multiples of 16.
    """

    def __init__(
        self,
        weights: Weights,
        dtype: torch.dtype,
        device: torch.device,
        strides: Sequence[int],
        dilations: Sequence[int],
        slopes: tuple[float, float],
    ) -> None:
        self._dtype, self._device, self._strides, self._slopes = dtype, device, strides, slopes
        self._dilations = dilations
        self._convolutions = {
            "conv_pre": self._take(weights, "conv_pre"),
            "conv_post": self._take(weights, "conv_post"),
        }
        self._speakers = {"conv_pre": self._listen(weights, "cond_layer")}
        for stage, stride in enumerate(strides):
            name = f"ups.{stage}"
            self._convolutions[name] = self._upsampling(weights, name, stride)
            weight, bias = self._listen(weights, f"conds.{stage}")
            self._speakers[name] = weight.repeat(stride, 1), bias.repeat(stride)
        for name in weights.names():
            if name.startswith("resblocks.") and name.endswith(".weight"):
                name, number = name.removesuffix(".weight"), int(name.split(".")[-2])
                dilation = dilations[number] if ".convs1." in name else 1
                self._convolutions[name] = self._take(weights, name, dilation)
        self._recorder = Recorder()
        self._recordings: OrderedDict[tuple[int, int], _Recording | None] = OrderedDict()
        self._blocks = sum(name.endswith("convs1.0") for name in self._convolutions) // len(strides)

    def kernels(self) -> list[Callable[[], object]]:
        """As Runner.kernels: a convolution of every size."""
        sizes = {one.weight.shape[1:]: name for name, one in self._convolutions.items()}
        return [
            partial(self._convolve, name, torch.zeros(1, 1, size[1], dtype=self._dtype, device=self._device))
            for size, name in sizes.items()
        ]

    def __call__(self, frames: Tensor, speakers: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return self._speak(frames, speakers)
        # Recorded for batches of a power of two, once a shape comes again.
        size = 1 << (len(frames) - 1).bit_length(), frames.shape[1]
        if size not in self._recordings:
            self._recordings[size] = None
            return self._speak(frames, speakers)
        self._recordings.move_to_end(size)
        recording = self._recordings[size]
        if recording is None:
            recording = self._recordings[size] = self._record(frames, speakers, size[0])
            while len(self._recordings) > _RECORDED:
                self._recordings.popitem(last=False)
        recording.frames[: len(frames)] = frames
        recording.speakers[: len(frames)] = speakers
        recording.graph.replay()
        return recording.audio[: len(frames)]

    def _record(self, frames: Tensor, speakers: Tensor, batch: int) -> _Recording:
        frames, speakers = (each.new_zeros(batch, *each.shape[1:]) for each in (frames, speakers))
        graph, audio = self._recorder.record(lambda: self._speak(frames, speakers))
        return _Recording(graph, frames, speakers, audio)

    def _speak(self, frames: Tensor, speakers: Tensor) -> Tensor:
        speakers = speakers.float()
        x = frames.to(self._dtype).contiguous()
        active = self._convolve("conv_pre", x, speakers=speakers)[1]
        for stage, stride in enumerate(self._strides):
            x, active = self._convolve(f"ups.{stage}", active, speakers=speakers, keep=True)
            # One place's outputs are those of `stride` places.
            x, active = (each.view(len(x), x.shape[1] * stride, -1) for each in (x, active))
            active = self._stage(stage, x, active)
        audio = self._convolve("conv_post", active, keep=True, active=False)[0]
        return torch.tanh(audio[:, :, 0].float())

    def _stage(self, stage: int, x: Tensor, active: Tensor) -> Tensor:
        """The mean of a stage's blocks, through the next one's ReLU."""
        last_stage = stage == len(self._strides) - 1
        total = None
        y = active
        for block in range(self._blocks):
            name, signal, y = f"resblocks.{stage * self._blocks + block}", x, active
            for number in range(len(self._dilations)):
                y = self._convolve(f"{name}.convs1.{number}", y)[1]
                second = f"{name}.convs2.{number}"
                if number < len(self._dilations) - 1:
                    signal, y = self._convolve(second, y, signal, keep=True)
                elif block < self._blocks - 1:
                    total = self._convolve(second, y, signal, total, keep=True, active=False)[0]
                else:
                    mean, slope = 1 / self._blocks, self._slopes[last_stage]
                    y = self._convolve(second, y, signal, total, scale=mean, slope=slope)[1]
        return y

    def _convolve(
        self,
        name: str,
        x: Tensor,
        residual: Tensor | None = None,
        before: Tensor | None = None,
        keep: bool = False,
        active: bool = True,
        scale: float = 1.0,
        slope: float | None = None,
        speakers: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The result, plus `residual` and `before`, times `scale`, if it is to be kept; and through a leaky ReLU."""
        one = self._convolutions[name]
        bias = one.bias
        if speakers is not None:
            weight, more = self._speakers[name]
            bias = F.linear(speakers, weight, more) + bias
        taps, outputs, inputs = one.weight.shape
        windows, length = x.shape[:2]
        y, z = (x.new_empty(windows, length, outputs) if wanted else x for wanted in (keep, active))
        tiles = tiles_of(inputs, outputs, x.dtype)
        convolution.convolve[(-(-length // tiles.places), -(-outputs // tiles.outputs), windows)](
            x,
            one.weight,
            bias,
            x if residual is None else residual,
            x if before is None else before,
            y,
            z,
            length,
            outputs if len(bias) > 1 else 0,
            taps,
            one.dilation,
            int(residual is not None),
            int(before is not None),
            int(keep),
            int(active),
            self._slopes[0] if slope is None else slope,
            scale,
            INPUTS=inputs,
            OUTPUTS=outputs,
            PRECISION="tf32x3" if x.dtype is torch.float32 else "ieee",
            BLOCK_PLACES=tiles.places,
            BLOCK_OUTPUTS=tiles.outputs,
            BLOCK_INPUTS=min(tiles.inputs, inputs),
            num_warps=tiles.warps,
            num_stages=tiles.stages,
            enable_fp_fusion=True,
        )
        return y, z

    def _take(self, weights: Weights, name: str, dilation: int = 1) -> _Convolution:
        """(outputs, inputs, taps) as it is kept here."""
        weight = weights(f"{name}.weight")
        bias = weights(f"{name}.bias") if weights.has(f"{name}.bias") else torch.zeros(len(weight))
        return self._kept(weight.permute(2, 0, 1), bias, dilation)

    def _upsampling(self, weights: Weights, name: str, stride: int) -> _Convolution:
        """A transposed convolution (inputs, outputs, taps) as one of `stride` times as many outputs: output number
        j × outputs + i of a place is output i of place × stride + j."""
        weight, bias = _filled(weights(f"{name}.weight"), 1), _filled(weights(f"{name}.bias"), 0)
        inputs, outputs, taps = weight.shape
        padding = (taps - stride) // 2
        reach = -(-padding // stride)
        filters = torch.zeros(2 * reach + 1, stride, outputs, inputs)
        for tap in range(-reach, reach + 1):
            for result in range(stride):
                number = result + padding - stride * tap
                if 0 <= number < taps:
                    filters[tap + reach, result] = weight[:, :, number].T
        return self._kept(filters.flatten(1, 2), bias.repeat(stride))

    def _kept(self, weight: Tensor, bias: Tensor, dilation: int = 1) -> _Convolution:
        weight = _filled(_filled(weight, 1), 2).to(self._device, self._dtype).contiguous()
        return _Convolution(weight, _filled(bias, 0).to(self._device)[None], dilation)

    def _listen(self, weights: Weights, layer: str) -> tuple[Tensor, Tensor]:
        """What a convolution's bias gains by the speaker: a matrix and a bias."""
        weight, bias = weights(f"{layer}.weight")[:, :, 0], weights(f"{layer}.bias")
        return _filled(weight, 0).to(self._device), _filled(bias, 0).to(self._device)


def _filled(x: Tensor, dimension: int) -> Tensor:
    """x with zeros at the end of a dimension, up to a multiple of 16."""
    more = -x.shape[dimension] % 16
    return F.pad(x, (0, 0) * (x.dim() - 1 - dimension) + (0, more))


def tiles_of(inputs: int, outputs: int, dtype: torch.dtype) -> Tiles:
    """The tiles that were fastest on an H200, by channels."""
    if dtype is torch.float32:
        return Tiles(64, 16 if outputs <= 16 else 32, 16, 4, 2)
    if outputs >= 128:
        return Tiles(128, 128, 64, 4, 3)
    if outputs >= 64:
        return Tiles(128, 64, 64, 8, 3)
    return Tiles(128, 32 if outputs > 16 else 16, 32, 4, 2)
