"""Resampling and mel spectrograms as torchaudio computes them, in a few lines of PyTorch.

The formulas are torchaudio's documented ones (`functional.resample`, `transforms.MelSpectrogram`);
the checkpoint was trained on their output, so the details are part of the model.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_PHASES = 512  # computed at once: all of those that usual rates have


def resample(audio: Tensor, rate: int, wanted: int) -> Tensor:
    """Band-limited by a Hann-windowed sinc, six zero crossings wide, at 0.99 of the lower Nyquist rate.

    (samples,) or (clips, samples) at `rate` Hz → as many clips of samples' at `wanted` Hz.
    """
    if rate == wanted:
        return audio
    if audio.dim() == 1:
        return resample(audio[None], rate, wanted)[0]
    divisor = math.gcd(rate, wanted)
    source, target = rate // divisor, wanted // divisor
    crossings, base = 6, min(source, target) * 0.99
    width = math.ceil(crossings * source / base)
    padded = F.pad(audio, (width, width + source))
    frames = audio.shape[1] // source + 1
    phases = []
    # A filter for each of `target` phases. Odd rates have thousands; neighbours hear about the same samples.
    for start in range(0, target, _PHASES):
        phase = torch.arange(start, min(start + _PHASES, target), dtype=torch.float64)
        first, last = (each * source // target for each in (start, start + len(phase) - 1))
        taps = torch.arange(first - width, last + width + 1).double() / source
        time = ((taps - phase[:, None] / target) * base).clamp(-crossings, crossings)
        window = torch.cos(time * math.pi / crossings / 2) ** 2
        kernel = torch.sinc(time) * window * (base / source)
        heard = padded[:, first : first + (frames - 1) * source + kernel.shape[1]]
        phases.append(F.conv1d(heard[:, None], kernel[:, None].to(audio), stride=source))
    samples = torch.cat(phases, 1).mT.reshape(len(audio), -1)
    return samples[:, : math.ceil(target * audio.shape[1] / source)]


def mel_filters(bands: int, n_fft: int, rate: int, f_max: float, slaney: bool) -> Tensor:
    """Triangles on the HTK mel scale, (n_fft // 2 + 1, bands); `slaney` divides each by its width."""
    frequencies = torch.linspace(0, rate // 2, n_fft // 2 + 1)
    top = 2595.0 * math.log10(1.0 + f_max / 700.0)
    corners = 700.0 * (10.0 ** (torch.linspace(0, top, bands + 2) / 2595.0) - 1.0)
    widths = corners[1:] - corners[:-1]
    slopes = corners[None, :] - frequencies[:, None]
    filters = torch.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]).clamp(min=0)
    return filters * (2.0 / (corners[2:] - corners[:-2])) if slaney else filters


def power_mel(
    audio: Tensor, filters: Tensor, window: Tensor, n_fft: int, hop: int, centred: bool = True
) -> Tensor:
    """(samples,) → (bands, frames), or of clips: the power spectrum of frames, `centred` with the ends reflected."""
    spectrum = torch.stft(
        audio,
        n_fft,
        hop,
        window.shape[0],
        window=window,
        center=centred,
        pad_mode="reflect",
        normalized=False,
        onesided=True,
        return_complex=True,
    )
    return (torch.view_as_real(spectrum).square().sum(-1).mT @ filters).mT
