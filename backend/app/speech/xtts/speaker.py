"""The checkpoint's speaker encoder: 16 kHz audio → 512 numbers that tell who speaks.

A ResNet with squeeze-and-excitation over a log-mel picture, pooled by attentive statistics
(H/ASP, Heo et al. 2020, https://arxiv.org/abs/2009.14153). Sizes come from the weights.
"""

from __future__ import annotations

import threading

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts.checkpoint import Weights
from app.speech.xtts.compiled import library, pictures
from app.speech.xtts.memory import loading
from app.speech.xtts.spectrum import mel_filters, power_mel

RATE = 16000
_BANDS, _N_FFT, _WINDOW, _HOP = 64, 512, 400, 160
_EMPHASIS = 0.97
_EPSILON = 1e-5  # of the norms
_Compiled = dict[str, pictures.Convolution]  # by the name of the one in PyTorch


class SpeakerEncoder:
    """`__call__` and `measure` give an L2-normalised embedding, (512,), of audio (samples,) at 16 kHz.

    If it is to measure `quickly`, most of its convolutions are pictures.c's, and where that does not run, in bf16.
    """

    def __init__(self, weights: Weights, device: torch.device, quickly: bool = False) -> None:
        self._device = device
        self._weights = {name: _laid_out(weights(name).to(device)) for name in weights.names()}
        self._filters = mel_filters(_BANDS, _N_FFT, RATE, RATE / 2, slaney=False).to(device)
        self._window = torch.hamming_window(_WINDOW, device=device)
        self._blocks = [
            (f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1)
            for stage in (1, 2, 3, 4)
            for block in range(100)
            if weights.has(f"layer{stage}.{block}.conv1.weight")
        ]
        self._quickly = quickly
        self._compiled: _Compiled | None = None
        self._compiling = threading.Lock()

    def __call__(self, audio: Tensor) -> Tensor:
        return self._embed(self._picture(audio.to(self._device)), {})[0]

    def measure(self, audio: Tensor) -> Tensor:
        """To two or three digits, if quickly."""
        with self._compiling:
            if self._compiled is None:  # not before the first time: it takes half a second
                self._compiled = self._compile()
        roughly = self._quickly and not self._compiled
        with torch.autocast(self._device.type, torch.bfloat16, enabled=roughly):
            return self._embed(self._picture(audio.to(self._device)), self._compiled).float()[0]

    def measure_together(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """(clips, samples), of which so many are each clip's → (clips, 512), as `measure` gives them one by one.

        A GPU takes hardly longer for dozens than for one.
        """
        picture, heard = self._pictures(audio.to(self._device), lengths.to(self._device))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._quickly):
            return self._embed(picture, {}, heard).float()

    def _embed(self, picture: Tensor, compiled: _Compiled, heard: Tensor | None = None) -> Tensor:
        """(clips, 1, bands, frames) → (clips, 512); of frames that are not `heard`, nothing comes through."""
        x = self._convolve("conv1", "bn1", picture, compiled, rectified=True)
        x = _only(x, heard)
        for block, stride in self._blocks:
            heard = heard[..., ::stride] if heard is not None else None
            x = self._block(block, x, compiled, stride, heard)
        x = x.flatten(1, 2)  # (clips, channels × bands, frames)
        weight = F.conv1d(x, self._w("attention.0.weight"), self._w("attention.0.bias"))
        weight = self._norm("attention.2", F.relu(weight))
        weight = F.conv1d(weight, self._w("attention.3.weight"), self._w("attention.3.bias"))
        if heard is not None:
            weight = weight.masked_fill(heard[:, 0] == 0, -torch.inf)
        weight = weight.softmax(2)
        mean = (x * weight).sum(2)
        deviation = ((x.square() * weight).sum(2) - mean.square()).clamp(min=1e-5).sqrt()
        pooled = torch.cat((mean, deviation), 1)
        return F.normalize(F.linear(pooled, self._w("fc.weight"), self._w("fc.bias")), dim=1)

    def _w(self, name: str) -> Tensor:
        return self._weights[name]

    def _picture(self, audio: Tensor) -> Tensor:
        """(samples,) → (1, 1, bands, frames): emphasised, log-mel, each band normalised over time."""
        padded = torch.cat((audio[1:2], audio))
        emphasised = padded[1:] - _EMPHASIS * padded[:-1]
        mel = power_mel(emphasised, self._filters, self._window, _N_FFT, _HOP)
        bands = F.instance_norm((mel + 1e-6).log()[None]).contiguous()
        return bands[..., None].permute(0, 3, 1, 2)  # so that the one channel is the last

    def _pictures(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The same of clips of different lengths, each by itself, and which frames are whose: (clips, 1, 1, frames)."""
        padded = torch.cat((audio[:, 1:2], audio), 1)
        emphasised = padded[:, 1:] - _EMPHASIS * padded[:, :-1]
        # Frames are centred, and each clip is reflected at its own ends.
        place = torch.arange(-(_N_FFT // 2), audio.shape[1] + _N_FFT // 2, device=audio.device).abs()
        last = lengths[:, None] - 1
        place = torch.where(place > last, 2 * last - place, place).clamp(min=0)
        mel = power_mel(emphasised.gather(1, place), self._filters, self._window, _N_FFT, _HOP, centred=False)
        count = (lengths // _HOP + 1)[:, None, None]
        heard = (torch.arange(mel.shape[2], device=audio.device) < count).to(mel.dtype)
        bands = (mel + 1e-6).log()
        bands = bands - (bands * heard).sum(2, keepdim=True) / count
        variance = (bands.square() * heard).sum(2, keepdim=True) / count
        bands = bands / (variance + _EPSILON).sqrt() * heard
        return bands.contiguous()[..., None].permute(0, 3, 1, 2), heard[:, None]

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.batch_norm(
            x,
            self._w(f"{name}.running_mean"),
            self._w(f"{name}.running_var"),
            self._w(f"{name}.weight"),
            self._w(f"{name}.bias"),
            eps=_EPSILON,
        )

    def _compile(self) -> _Compiled:
        if not (self._quickly and library.supported(self._device)):
            return {}
        convolutions = [
            (f"{block}.conv1", f"{block}.bn1", True) for block, stride in self._blocks if stride == 1
        ]
        convolutions += [(f"{block}.conv2", f"{block}.bn2", False) for block, _ in self._blocks]
        compiled: _Compiled = {}
        with loading():
            for name, norm, rectified in convolutions:
                weight = self._w(f"{name}.weight")
                if pictures.fits(weight):
                    gain = self._w(f"{norm}.weight") / (self._w(f"{norm}.running_var") + _EPSILON).sqrt()
                    shift = self._w(f"{norm}.bias") - self._w(f"{norm}.running_mean") * gain
                    compiled[name] = pictures.Convolution(weight, gain, shift, rectified)
        return compiled

    def _convolve(
        self, name: str, norm: str, x: Tensor, compiled: _Compiled, stride: int = 1, rectified: bool = False
    ) -> Tensor:
        if convolution := compiled.get(name):
            return convolution(x)
        bias = self._weights.get(f"{name}.bias")
        y = F.conv2d(x, self._w(f"{name}.weight"), bias, stride=stride, padding=1)
        return self._norm(norm, F.relu(y) if rectified else y)

    def _block(self, name: str, x: Tensor, compiled: _Compiled, stride: int, heard: Tensor | None) -> Tensor:
        y = self._convolve(f"{name}.conv1", f"{name}.bn1", x, compiled, stride, rectified=True)
        y = _only(self._convolve(f"{name}.conv2", f"{name}.bn2", _only(y, heard), compiled), heard)
        mean = y.mean((2, 3))
        if heard is not None:
            mean = mean / heard.mean((2, 3))
        gate = F.relu(F.linear(mean, self._w(f"{name}.se.fc.0.weight"), self._w(f"{name}.se.fc.0.bias")))
        gate = F.linear(gate, self._w(f"{name}.se.fc.2.weight"), self._w(f"{name}.se.fc.2.bias")).sigmoid()
        if f"{name}.downsample.0.weight" in self._weights:
            x = F.conv2d(x, self._w(f"{name}.downsample.0.weight"), stride=stride)
            x = self._norm(f"{name}.downsample.1", x)
        if f"{name}.conv2" in compiled:
            return pictures.gated(y, gate, x)
        return _only(F.relu(y * gate[:, :, None, None] + x), heard)


def _only(x: Tensor, heard: Tensor | None) -> Tensor:
    """Silence where nobody's frames are: convolutions see there what they see beyond a picture's end."""
    return x if heard is None else x * heard.to(x.dtype)


def _laid_out(x: Tensor) -> Tensor:
    """Pictures and their filters with the channels last: convolutions of few channels take under half the time."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
