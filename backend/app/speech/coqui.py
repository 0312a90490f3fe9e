"""The coqui-tts library as it is: the reference that the `xtts` engine is measured against.

One utterance at a time, everything through the library's own public calls. The library is imported when
the engine is loaded, and only then; without it `ping` says so and the rest of the service does not care.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.speech import packages
from app.speech.interface import (
    Audio,
    BadVoice,
    Clip,
    EngineStatus,
    EngineUnavailable,
    Failure,
    Recording,
    RunawayGeneration,
    SpeechError,
    Utterance,
    VoiceState,
)
from app.speech.recordings import LEAST_SECONDS, samples_of

NEEDED_FILES = ("config.json", "model.pth", "vocab.json")
# torchaudio's last wheel fits PyTorch 2.11; transformers 5.24 hands coqui-tts no cache; six is imported undeclared.
INSTALL = "Run: pip install 'coqui-tts==0.28.*' 'transformers<5.24' 'torch==2.11.*' 'torchaudio==2.11.*' torchcodec six"
FETCH = "Run `moksori weights fetch xtts-v2 --accept-license cpml`, or `moksori weights import FOLDER`."
CONDITIONING_RATE = 22050


class CoquiEngine:
    """XTTS v2 by coqui-tts, from the official folder `weights` (config.json, model.pth, vocab.json).

    A voice of the `xtts` engine is taken as well: both are the same two arrays of the same checkpoint.
    """

    name = "coqui"
    simulated = False
    sample_rate = 24000
    measures_elsewhere = False

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._model: Any = None
        self._busy = threading.Lock()
        self._speaking: set[str] = set()

    def load(self) -> None:
        if self._model is not None:
            return
        status = self.ping()
        if not status.available:
            raise EngineUnavailable(status.detail, status.fix)
        try:
            import torch
            from TTS.tts.configs.xtts_config import XttsConfig
            from TTS.tts.models.xtts import Xtts
        except Exception as error:  # torchaudio and torchcodec fail to be imported in ways of their own.
            raise EngineUnavailable(f"coqui-tts cannot be imported: {error}", INSTALL) from error
        try:
            config = XttsConfig()
            config.load_json(str(self._weights / "config.json"))
            model = Xtts.init_from_config(config)
            # The library's own reader rewrites model.pth in place where it finds an old configuration in
            # it, and the file would no longer be the one whose hash was checked.
            model._load_checkpoint = _read_checkpoint
            model.load_checkpoint(config, checkpoint_dir=str(self._weights), eval=True)
        except Exception as error:
            # The message may list a thousand tensors, or advise to run what is pickled; the chained
            # exception keeps it.
            reason = str(error).strip().partition("\n")[0].partition(". ")[0]
            raise EngineUnavailable(f"coqui-tts cannot load {self._weights}: {reason}", FETCH) from error
        # It warns of long texts by logging them, and no transcript belongs in a log.
        logging.getLogger("TTS.tts.layers.xtts.tokenizer").disabled = True
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu")

    def close(self) -> None:
        self._model = None

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        """Speaker embeddings averaged, latents from the joined audio, as the library does with files.

        Raises BadRecording.
        """
        import torch
        import torchaudio

        model, config = self._loaded(), self._loaded().config
        parts = []
        for samples, recording in zip(samples_of(recordings), recordings, strict=True):
            audio = torch.from_numpy(samples)[None].to(model.device)
            audio = torchaudio.functional.resample(audio, recording.sample_rate, CONDITIONING_RATE)
            parts.append(audio.clip(-1, 1)[:, : CONDITIONING_RATE * config.max_ref_len])
        try:
            with self._busy, torch.inference_mode():
                embeddings = [model.get_speaker_embedding(part, CONDITIONING_RATE) for part in parts]
                latents = model.get_gpt_cond_latents(
                    torch.cat(parts, dim=-1),
                    CONDITIONING_RATE,
                    length=config.gpt_cond_len,
                    chunk_length=config.gpt_cond_chunk_len,
                )
        except RuntimeError as error:
            raise SpeechError(
                f"The recordings cannot serve as a voice: {error}", "Give samples of a few seconds each."
            ) from error
        embedding = torch.stack(embeddings).mean(dim=0)
        return VoiceState(
            engine=self.name,
            arrays={
                "latents": latents[0].float().cpu().numpy(),
                "speaker": embedding.flatten().float().cpu().numpy(),
            },
        )

    async def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        async for utterance in utterances:
            speak = self._stream if utterance.stream else self._whole
            pieces = speak(utterance)
            self._speaking.add(utterance.id)
            try:
                while (answer := await asyncio.to_thread(self._next, utterance, pieces)) is not None:
                    yield answer
            finally:
                self._speaking.discard(utterance.id)

    def cancel(self, utterance_id: str) -> None:
        """The library stops at the next code, speaks those that it has, and what it spoke is dropped."""
        self._speaking.discard(utterance_id)

    def similarity(self, audio: Audio, sample_rate: int, voice: VoiceState) -> float | None:
        import torch

        model = self._loaded()
        mine = _array(voice, "speaker").ravel()
        if len(audio) < LEAST_SECONDS * sample_rate:
            return None
        with self._busy, torch.inference_mode():
            clip = torch.from_numpy(np.array(audio, dtype=np.float32, ndmin=2))
            theirs = model.get_speaker_embedding(clip, sample_rate).flatten().float().cpu().numpy()
        return float(mine @ theirs / (np.linalg.norm(mine) * np.linalg.norm(theirs)))

    def ping(self) -> EngineStatus:
        if importlib.util.find_spec("TTS") is None:
            return EngineStatus(self.name, False, "coqui-tts is not installed", INSTALL)
        versions = packages.versions("coqui-tts", "torch", "torchaudio", "torchcodec", "six")
        # As far as versions tell, since to import it takes seconds.
        if missing := [name for name in ("torch", "torchaudio", "torchcodec", "six") if name not in versions]:
            return EngineStatus(self.name, False, f"coqui-tts needs {', '.join(missing)} beside it", INSTALL)
        torch, torchaudio = (".".join(versions[name].split(".")[:2]) for name in ("torch", "torchaudio"))
        if torch != torchaudio:
            detail = f"PyTorch {torch} and torchaudio {torchaudio} do not go together"
            return EngineStatus(self.name, False, detail, INSTALL, versions=versions)
        missing = [name for name in NEEDED_FILES if not (self._weights / name).is_file()]
        if missing:
            detail = f"{self._weights} lacks {', '.join(missing)}"
            return EngineStatus(self.name, False, detail, FETCH, versions=versions)
        device = str(self._model.device) if self._model is not None else "cpu"
        detail = "loaded" if self._model is not None else "ready to load"
        return EngineStatus(self.name, True, detail, device=device, versions=versions)

    def _next(self, utterance: Utterance, pieces: Iterator[Clip]) -> Clip | Failure | None:
        """The next clip, the failure in its place, or None after the last one. Runs in a thread."""
        answer: Clip | Failure | None
        try:
            with self._busy:
                answer = next(pieces, None) if utterance.id in self._speaking else None
        except SpeechError as error:
            answer = Failure(utterance.id, error)
        except Exception as error:  # Whatever the library raises concerns this utterance alone.
            answer = Failure(utterance.id, SpeechError(f"coqui-tts could not speak this: {error}"))
        return answer if utterance.id in self._speaking else None

    def _whole(self, utterance: Utterance) -> Iterator[Clip]:
        model = self._loaded()
        codes = self._codes(utterance)
        said = self._seeded(model.inference, utterance, codes)
        codes.require_end()
        yield self._clip(utterance, said["wav"])

    def _stream(self, utterance: Utterance) -> Iterator[Clip]:
        model = self._loaded()
        codes = self._codes(utterance)
        chunks = self._seeded(model.inference_stream, utterance, codes)
        held = next(chunks)
        for chunk in chunks:
            yield self._clip(utterance, held.cpu().numpy(), final=False)
            held = chunk
        codes.require_end()
        yield self._clip(utterance, held.cpu().numpy())

    def _codes(self, utterance: Utterance) -> _Codes:
        stop = self._loaded().gpt.stop_audio_token
        return _Codes(stop, lambda: utterance.id not in self._speaking)

    def _seeded(self, speak: Callable[..., Any], utterance: Utterance, codes: _Codes) -> Any:
        import torch

        config = self._loaded().config
        voice = utterance.voice
        latents = torch.from_numpy(np.array(_array(voice, "latents"), ndmin=3))
        embedding = torch.from_numpy(np.array(_array(voice, "speaker")).reshape(1, -1, 1))
        torch.manual_seed(utterance.seed)
        return speak(
            utterance.text,
            utterance.language,
            latents,
            embedding,
            temperature=config.temperature,
            length_penalty=config.length_penalty,
            repetition_penalty=float(config.repetition_penalty),
            top_k=config.top_k,
            top_p=config.top_p,
            speed=utterance.speed,
            stopping_criteria=[codes],
        )

    def _clip(self, utterance: Utterance, audio: Any, final: bool = True) -> Clip:
        samples = np.clip(np.asarray(audio, dtype=np.float32).ravel(), -1.0, 1.0)
        return Clip(utterance.id, samples, self.sample_rate, self.name, final)

    def _loaded(self) -> Any:
        if self._model is None:
            raise EngineUnavailable("The coqui engine is not loaded.", "Call load() first.")
        return self._model


class _Codes:
    """A stopping criterion of Hugging Face's, which `generate` shows the codes of one utterance at every step."""

    def __init__(self, stop: int, cancelled: Callable[[], bool]) -> None:
        self._stop = stop
        self._cancelled = cancelled
        self._last: Any = None

    def __call__(self, codes: Any, scores: Any, **more: Any) -> Any:
        """(rows, codes) → (rows,): whether to end here."""
        import torch

        self._last = codes[0, -1]
        return torch.full_like(codes[:, -1], self._cancelled(), dtype=torch.bool)

    def require_end(self) -> None:
        """Raise RunawayGeneration unless the last code was the one that ends an utterance."""
        if self._last is None or int(self._last) != self._stop:
            raise RunawayGeneration("coqui-tts went on to its last possible code.")


def _array(voice: VoiceState, name: str) -> Audio:
    if voice.engine not in {"coqui", "xtts"} or name not in voice.arrays:
        raise BadVoice(
            f"A voice of {voice.engine!r} cannot be spoken by coqui-tts.",
            "Build the voice model again with the engine in use.",
        )
    return np.asarray(voice.arrays[name], dtype=np.float32)


def _read_checkpoint(path: Path) -> Any:
    import torch
    from TTS.tts.models import xtts

    with xtts._legacy_safe_globals():
        return torch.load(path, map_location="cpu", weights_only=True)["model"]
