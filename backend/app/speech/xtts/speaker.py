"""The checkpoint's speaker encoder: 16 kHz audio → 512 numbers that tell who speaks.

A ResNet with squeeze-and-excitation over a log-mel picture, pooled by attentive statistics
(H/ASP, Heo et al. 2020, https://arxiv.org/abs/2009.14153). Sizes come from the weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.xtts.checkpoint import Weights
from app.speech.xtts.spectrum import mel_filters, power_mel

RATE = 16000
_BANDS, _N_FFT, _WINDOW, _HOP = 64, 512, 400, 160
_EMPHASIS = 0.97


class SpeakerEncoder:
    """`__call__` gives an L2-normalised embedding, (512,)."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self._device = device
        self._weights = {name: _laid_out(weights(name).to(device)) for name in weights.names()}
        self._filters = mel_filters(_BANDS, _N_FFT, RATE, RATE / 2, slaney=False).to(device)
        self._window = torch.hamming_window(_WINDOW, device=device)
        self._stages = [
            [
                f"layer{stage}.{block}"
                for block in range(100)
                if weights.has(f"layer{stage}.{block}.conv1.weight")
            ]
            for stage in (1, 2, 3, 4)
        ]
        weights("fc.weight", 512, -1)  # says what is wrong before the first voice does

    def __call__(self, audio: Tensor) -> Tensor:
        """(samples,) at 16 kHz → (512,)."""
        x = _laid_out(self._picture(audio.to(self._device)))
        x = self._norm("bn1", F.relu(F.conv2d(x, self._w("conv1.weight"), self._w("conv1.bias"), padding=1)))
        for stage, blocks in enumerate(self._stages):
            for number, block in enumerate(blocks):
                x = self._block(block, x, stride=2 if stage > 0 and number == 0 else 1)
        x = x.flatten(1, 2)  # (1, channels × bands, frames)
        weight = F.conv1d(x, self._w("attention.0.weight"), self._w("attention.0.bias"))
        weight = self._norm("attention.2", F.relu(weight))
        weight = F.conv1d(weight, self._w("attention.3.weight"), self._w("attention.3.bias")).softmax(2)
        mean = (x * weight).sum(2)
        deviation = ((x.square() * weight).sum(2) - mean.square()).clamp(min=1e-5).sqrt()
        pooled = torch.cat((mean, deviation), 1)
        return F.normalize(F.linear(pooled, self._w("fc.weight"), self._w("fc.bias")), dim=1)[0]

    def _w(self, name: str) -> Tensor:
        return self._weights[name]

    def _picture(self, audio: Tensor) -> Tensor:
        """(samples,) → (1, 1, bands, frames): emphasised, log-mel, each band normalised over time."""
        padded = torch.cat((audio[1:2], audio))
        emphasised = padded[1:] - _EMPHASIS * padded[:-1]
        mel = power_mel(emphasised, self._filters, self._window, _N_FFT, _HOP)
        return F.instance_norm((mel + 1e-6).log()[None])[None]

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.batch_norm(
            x,
            self._w(f"{name}.running_mean"),
            self._w(f"{name}.running_var"),
            self._w(f"{name}.weight"),
            self._w(f"{name}.bias"),
        )

    def _block(self, name: str, x: Tensor, stride: int) -> Tensor:
        y = F.relu(F.conv2d(x, self._w(f"{name}.conv1.weight"), stride=stride, padding=1))
        y = F.conv2d(self._norm(f"{name}.bn1", y), self._w(f"{name}.conv2.weight"), padding=1)
        y = self._norm(f"{name}.bn2", y)
        gate = F.relu(
            F.linear(y.mean((2, 3)), self._w(f"{name}.se.fc.0.weight"), self._w(f"{name}.se.fc.0.bias"))
        )
        gate = F.linear(gate, self._w(f"{name}.se.fc.2.weight"), self._w(f"{name}.se.fc.2.bias")).sigmoid()
        if f"{name}.downsample.0.weight" in self._weights:
            x = F.conv2d(x, self._w(f"{name}.downsample.0.weight"), stride=stride)
            x = self._norm(f"{name}.downsample.1", x)
        return F.relu(y * gate[:, :, None, None] + x)


def _laid_out(x: Tensor) -> Tensor:
    """Pictures and their filters with the channels last: convolutions of few channels take under half the time."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
