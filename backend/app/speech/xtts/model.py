"""A checkpoint's parts, loaded: what the engine speaks, conditions and compares with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from app.kit import limits
from app.speech.interface import Audio, EngineUnavailable, Recording, VoiceState
from app.speech.recordings import LEAST_SECONDS
from app.speech.xtts import gpu, memory
from app.speech.xtts.batch import ENGINE, Batch, arrays_of
from app.speech.xtts.checkpoint import IMPORT_AGAIN, Checkpoint, open_checkpoint
from app.speech.xtts.compiled import library
from app.speech.xtts.conditioning import Conditioning
from app.speech.xtts.gpt import Gpt
from app.speech.xtts.gpu.building import COMPILER
from app.speech.xtts.gpu.losing import leave_if_lost
from app.speech.xtts.linear import Precision
from app.speech.xtts.measuring import Measuring
from app.speech.xtts.runner import Runner
from app.speech.xtts.sampling import Sampling
from app.speech.xtts.speaker import RATE as SPEAKER_RATE
from app.speech.xtts.speaker import SpeakerEncoder
from app.speech.xtts.spectrum import resample
from app.speech.xtts.threads import alone
from app.speech.xtts.tokenizer import Tokenizer
from app.speech.xtts.vocoder import Vocoder
from app.speech.xtts.voicing import Voicing

_log = logging.getLogger(__name__)


class Model:
    """Everything of one checkpoint, on one device.

    Raises EngineUnavailable where the folder cannot serve, or the device has not the precision.
    """

    def __init__(
        self,
        folder: Path,
        precision: Literal["auto"] | Precision = "auto",
        threads: int | None = None,
    ) -> None:
        torch.set_num_threads(threads or min(torch.get_num_threads(), limits.cores()))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cuda":  # fp32 is to mean fp32 in convolutions too
            torch.backends.cudnn.allow_tf32 = False
        self.precision: Precision = best_precision(self.device) if precision == "auto" else precision
        check_precision(self.precision, self.device)
        checkpoint = open_checkpoint(folder)
        self.settings = checkpoint.settings
        self.fingerprint = fingerprint(checkpoint)
        self.tokenizer = Tokenizer(checkpoint.vocabulary, checkpoint.text_tokens)
        weights = checkpoint.weights
        with memory.loading(), torch.inference_mode():
            self.gpt = Gpt(weights, self.settings, self.precision, self.device)
            decoder = weights.under("hifigan_decoder")
            self.vocoder = Vocoder(decoder.under("waveform_decoder"), self.precision, self.device)
            self._speaker = SpeakerEncoder(
                decoder.under("speaker_encoder"), self.device, quickly=self.precision != "fp32"
            )
            self._conditioning = Conditioning(weights, self.settings, self._speaker, self.device)
        self._measuring = Measuring(self._speaker, self.device) if self.device.type == "cuda" else None
        self.description = f"XTTS v2 in {self.precision} on {self.device}"
        if self.gpt.compiled:
            self.description += ", compiled for this processor"
        elif library.capable(self.device) and library.library() is None:
            self.description += "; with a C compiler (Debian: gcc, libc6-dev) it would be faster"
        elif gpu.capable(self.device) and not gpu.usable(self.device):
            self.description += f"; with {COMPILER} it would be faster"

    def batch(self, slots: int | None = None, sampling: Sampling | None = None) -> Batch:
        """A batch of its own buffers over these weights; without `sampling`, as config.json has it."""
        settings = self.settings
        if sampling is None:
            sampling = Sampling(
                settings.temperature, settings.top_k, settings.top_p, settings.repetition_penalty
            )
        slots = slots or self.default_slots()
        runner = Runner(self.gpt, slots, sampling, slots * memory.POSITIONS)
        voicing = Voicing(self.vocoder, self.device)
        return Batch(self.tokenizer, runner, voicing, settings, self.fingerprint, self.device)

    def default_slots(self) -> int:
        """How many utterances to decode together: as many as fit, up to what gains."""
        positions = memory.POSITIONS if self.gpt.paged else memory.longest(self.settings, self.gpt.max_prompt)
        slot = memory.slot_bytes(self.settings, self.gpt.vector_bytes, positions)
        if self.device.type == "cuda":
            return memory.slots_within(torch.cuda.mem_get_info()[0], 0, slot, "cuda")
        weights = memory.weight_bytes(self.settings, self.gpt.bits)
        return memory.slots_within(limits.memory(), weights, slot, "cpu")

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        """Raises BadRecording, and EngineUnavailable where it is the weights that are damaged."""
        latents, speaker = self._conditioning(recordings)
        if not (latents.isfinite().all() and speaker.isfinite().all()):  # though the recordings are
            raise EngineUnavailable(
                "The weights hold no numbers: what they make of a recording is none.", fix=IMPORT_AGAIN
            )
        return VoiceState(
            ENGINE,
            {"latents": latents.cpu().numpy(), "speaker": speaker.cpu().numpy()},
            {"checkpoint": self.fingerprint},
        )

    @torch.inference_mode()
    def similarity(self, audio: Audio, sample_rate: int, voice: VoiceState) -> float | None:
        """Cosine of speaker embeddings; None for a clip too short to tell, or where measuring it breaks."""
        _, speaker = arrays_of(voice, self.settings.channels, self.fingerprint)
        if len(audio) < LEAST_SECONDS * sample_rate:
            return None
        samples = torch.from_numpy(np.array(audio, np.float32))
        try:
            embedding = self._measured(samples, sample_rate)
        except Exception as error:
            if not memory.ran_out(error):
                leave_if_lost(self.device)
            _log.warning("tts.xtts.no_similarity", exc_info=error)  # a take is worth more than its figure
            return None
        return float(F.cosine_similarity(embedding, torch.from_numpy(speaker), dim=0))

    def _measured(self, samples: Tensor, rate: int) -> Tensor:
        """A measurement to two digits, and every take's: it need not be dearer than speaking is."""
        if self._measuring is not None:
            return self._measuring(samples, rate)
        with alone():  # beside the engine, threads that wait for one another cost half as much again
            return self._speaker.measure(resample(samples, rate, SPEAKER_RATE))


def best_precision(device: torch.device) -> Precision:
    """bf16 where it is fast, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = torch.backends.mkldnn.is_available() and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return "bf16" if fast else "fp32"


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise EngineUnavailable for a precision that this device cannot compute; int8 takes bf16 beside it."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # where oneDNN has it not, PyTorch's own convolutions take twenty times as long as in fp32
        has_bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if precision != "fp32" and not has_bf16:
        what = "GPU" if device.type == "cuda" else "processor"
        raise EngineUnavailable(
            f"This {what} has not the instructions that {precision} needs.",
            fix="Set MOKSORI_XTTS_PRECISION=auto.",
        )


def fingerprint(checkpoint: Checkpoint) -> str:
    """Tells one trained model from another, official or converted: a hash of the perceiver's latents."""
    latents = checkpoint.weights("gpt.conditioning_perceiver.latents")
    return hashlib.sha256(latents.numpy().tobytes()).hexdigest()[:16]
