"""From recordings to the 32 latents that stand before every text, and to the speaker embedding.

Mel → conditioning encoder (attention blocks over time) → perceiver → (32, channels). Long audio goes in
chunks whose latents are averaged, as coqui-tts does it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from app.speech.interface import Audio, Recording
from app.speech.recordings import LEAST_SECONDS_IN_ALL, samples_of
from app.speech.xtts.checkpoint import Settings, Weights
from app.speech.xtts.layout import HEAD_CHANNELS, MEL_BANDS
from app.speech.xtts.speaker import RATE as SPEAKER_RATE
from app.speech.xtts.speaker import SpeakerEncoder
from app.speech.xtts.spectrum import mel_filters, power_mel, resample

RATE = 22050
_N_FFT, _WINDOW, _HOP, _F_MAX = 2048, 1024, 256, 8000.0


class Conditioning:
    """`__call__` turns recordings of one voice into (latents (32, channels), speaker embedding (512,))."""

    def __init__(
        self, weights: Weights, settings: Settings, speaker: SpeakerEncoder, device: torch.device
    ) -> None:
        self._settings = settings
        self._speaker = speaker
        self._device = device
        gpt = weights.under("gpt")
        self._weights = {
            f"{part}.{name}": gpt.under(part)(name).to(device)
            for part in ("conditioning_encoder", "conditioning_perceiver")
            for name in gpt.under(part).names()
        }
        self._mel_stats = weights("mel_stats").to(device)
        self._filters = mel_filters(MEL_BANDS, _N_FFT, RATE, _F_MAX, slaney=True).to(device)
        self._window = torch.hann_window(_WINDOW, device=device)

    @torch.inference_mode()
    def __call__(self, recordings: Sequence[Recording]) -> tuple[Tensor, Tensor]:
        """Raises BadRecording."""
        audios = [
            self._prepared(samples, recording.sample_rate)
            for samples, recording in zip(samples_of(recordings), recordings, strict=True)
        ]
        embeddings = [self._speaker(resample(audio, RATE, SPEAKER_RATE)) for audio in audios]
        return self.latents(torch.cat(audios)), torch.stack(embeddings).mean(0)

    def latents(self, audio: Tensor) -> Tensor:
        """(samples,) at 22.05 kHz → (32, channels), the mean over chunks."""
        seconds, chunk = self._settings.condition_seconds, self._settings.condition_chunk_seconds * RATE
        if seconds > 0:
            audio = audio[: seconds * RATE]
        chunks = [part for part in audio.split(chunk) if part.shape[0] >= LEAST_SECONDS_IN_ALL * RATE]
        return torch.stack([self._perceive(self._encode(self._mel(part))) for part in chunks]).mean(0)

    def _prepared(self, samples: Audio, rate: int) -> Tensor:
        # No longer than needed before resampling: a recording of an hour costs no more than one of 30 s.
        samples = samples[: (self._settings.reference_seconds + 1) * rate]
        audio = resample(torch.from_numpy(samples).to(self._device), rate, RATE).clamp(-1, 1)
        audio = audio[: self._settings.reference_seconds * RATE]
        if self._settings.normalize_references:
            audio = audio / audio.abs().max().clamp(min=1e-5) * 0.75
        return audio

    def _mel(self, audio: Tensor) -> Tensor:
        """(samples,) → (80, frames)."""
        mel = power_mel(audio, self._filters, self._window, _N_FFT, _HOP)
        return mel.clamp(min=1e-5).log() / self._mel_stats[:, None]

    def _encode(self, mel: Tensor) -> Tensor:
        """(80, frames) → (frames, channels)."""
        part = "conditioning_encoder"
        x = F.conv1d(mel[None], self._weights[f"{part}.init.weight"], self._weights[f"{part}.init.bias"])
        block = 0
        while f"{part}.attn.{block}.norm.weight" in self._weights:
            x = self._attend(f"{part}.attn.{block}", x)
            block += 1
        return x[0].T

    def _attend(self, name: str, x: Tensor) -> Tensor:
        """(1, channels, frames): attention whose residual is the normalised input."""
        w, heads = self._weights, self._settings.heads
        channels, frames = x.shape[1:]
        x = F.group_norm(x, _groups(channels), w[f"{name}.norm.weight"], w[f"{name}.norm.bias"])
        qkv = F.conv1d(x, w[f"{name}.qkv.weight"], w[f"{name}.qkv.bias"])
        # Each head's query, key and value lie together.
        q, k, v = qkv.view(heads, 3, channels // heads, frames).transpose(2, 3).unbind(1)
        h = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]  # (heads, frames, head channels)
        h = h.transpose(1, 2).reshape(1, channels, frames)
        return x + F.conv1d(h, w[f"{name}.proj_out.weight"], w[f"{name}.proj_out.bias"])

    def _perceive(self, context: Tensor) -> Tensor:
        """(frames, channels) → (32, channels): the latents look at themselves and at the context."""
        w, part = self._weights, "conditioning_perceiver"
        latents, layer = w[f"{part}.latents"], 0
        while (name := f"{part}.layers.{layer}.0") + ".to_q.weight" in w:
            seen = torch.cat((latents, context))
            q = _split_heads(F.linear(latents, w[f"{name}.to_q.weight"]))
            k, v = map(_split_heads, F.linear(seen, w[f"{name}.to_kv.weight"]).chunk(2, -1))
            attended = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
            attended = attended.transpose(0, 1).flatten(1)
            latents = latents + F.linear(attended, w[f"{name}.to_out.weight"])
            forward = f"{part}.layers.{layer}.1"
            hidden, gate = F.linear(latents, w[f"{forward}.0.weight"], w[f"{forward}.0.bias"]).chunk(2, -1)
            hidden = hidden * F.gelu(gate)
            latents = latents + F.linear(hidden, w[f"{forward}.2.weight"], w[f"{forward}.2.bias"])
            layer += 1
        return F.normalize(latents, dim=-1) * latents.shape[-1] ** 0.5 * w[f"{part}.norm.gamma"]


def _split_heads(x: Tensor) -> Tensor:
    """(length, heads × 64) → (heads, length, 64)."""
    return x.view(x.shape[0], -1, HEAD_CHANNELS).transpose(0, 1)


def _groups(channels: int) -> int:
    """How many groups the encoder's norm has, by the rule that the model was built with."""
    groups = 8 if channels <= 16 else 16 if channels <= 64 else 32
    while channels % groups:
        groups //= 2
    return groups
