"""Utterances in, clips out, one step at a time: schedule, run, speak, retire. No thread, no clock."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from app.speech.interface import (
    BadVoice,
    Clip,
    Failure,
    RunawayGeneration,
    SpeechError,
    Utterance,
    VoiceState,
)
from app.speech.xtts.checkpoint import Settings
from app.speech.xtts.runner import Job, Runner
from app.speech.xtts.scheduler import Scheduler
from app.speech.xtts.tokenizer import Tokenizer
from app.speech.xtts.vocoder import RATE
from app.speech.xtts.voicing import Track, Voicing, Window

ENGINE = "xtts"
LATENTS = 32
SPEAKER = 512
_ATTEMPTS = 3
_log = logging.getLogger(__name__)


class TextTooLong(SpeechError):
    """The model has no position for so much text."""

    code = "text_too_long"


def cap_of(text: str, language: str, most: int) -> int:
    """The codes that a text can need at most: twice what a slow speaker takes, and room for pauses.

    A Korean syllable takes 3 to 6 of the 21.5 codes a second, a letter elsewhere 1 to 2.
    """
    spoken = sum(character.isalnum() for character in text)
    pauses = len(text) - spoken
    return min(
        most, 40 + (12 if language.partition("-")[0] in ("ko", "ja", "zh") else 4) * spoken + 6 * pauses
    )


@dataclass(slots=True)
class _Speech:
    """One utterance on its way."""

    utterance: Utterance
    job: Job
    track: Track
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """Windows that make up one clip."""

    utterance_id: str
    windows: list[Window]
    final: bool
    urgent: bool  # somebody waits for it


class Batch:
    """All utterances that are being spoken or wait for it."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        runner: Runner,
        voicing: Voicing,
        settings: Settings,
        fingerprint: str,
        device: torch.device,
    ) -> None:
        self._tokenizer = tokenizer
        self._runner = runner
        self._voicing = voicing
        self._settings = settings
        self._fingerprint = fingerprint
        self._device = device
        self._scheduler = Scheduler(runner.slots)
        self._speeches: dict[str, _Speech] = {}
        self._pieces: list[_Piece] = []
        # Benchmarks compare runtimes at the same number of codes: then reaching it is the end.
        self.exact_codes: int | None = None

    @property
    def busy(self) -> bool:
        return bool(self._speeches or self._pieces)

    @property
    def slots(self) -> int:
        return self._scheduler.slots

    def add(self, utterance: Utterance) -> None:
        """Let an utterance wait for its turn. Raises SpeechError where it cannot be spoken."""
        if utterance.id in self._speeches:
            raise SpeechError(f"Utterance {utterance.id} is being spoken already.")
        if not 0.5 <= utterance.speed <= 2.0:
            raise SpeechError(f"Speed {utterance.speed} is not within 0.5–2.0.", fix="Choose another speed.")
        latents, speaker = arrays_of(utterance.voice, self._settings.channels, self._fingerprint)
        tokens = self._tokenizer.encode(utterance.text, utterance.language)
        if len(tokens) >= self._settings.max_text:
            raise TextTooLong(
                f"The text has {len(tokens)} tokens; the model takes {self._settings.max_text - 1}.",
                fix="Split it at a sentence or a comma.",
            )
        cap = self.exact_codes or cap_of(utterance.text, utterance.language, self._settings.max_codes)
        voice = hashlib.sha256(latents.tobytes()).hexdigest()
        job = Job(utterance.id, tokens, voice, latents, _seed(utterance.seed, 0), cap)
        track = Track(torch.from_numpy(speaker).to(self._device), utterance.speed)
        self._scheduler.add(utterance.id, interactive=utterance.interactive)
        self._speeches[utterance.id] = _Speech(utterance, job, track)

    def cancel(self, utterance_id: str) -> bool:
        """Forget an utterance and free its slot; False if it is not here."""
        if self._speeches.pop(utterance_id, None) is None:
            return False
        self._scheduler.cancel(utterance_id)
        self._drop(utterance_id)
        self._pieces = [piece for piece in self._pieces if piece.utterance_id != utterance_id]
        return True

    def step(self) -> list[Clip | Failure]:
        """Give everything that is spoken its next code; returns the audio that came of it."""
        try:
            return self._step()
        except torch.OutOfMemoryError as error:
            return self._shrink(error)

    def abandon(self, error: Exception) -> list[Failure]:
        """Something broke: give everything up, and be ready for what comes next."""
        failure = SpeechError(f"Speaking failed: {type(error).__name__}.")
        failure.retry = True
        failures = [Failure(request, failure) for request in self._waited_for()]
        self._scheduler = Scheduler(self.slots)
        self._runner.resize(self.slots)
        self._speeches.clear()
        self._pieces.clear()
        return failures

    def _waited_for(self) -> list[str]:
        """Utterances that somebody still expects audio of."""
        return [*self._speeches, *(piece.utterance_id for piece in self._pieces if piece.final)]

    def _step(self) -> list[Clip | Failure]:
        plan = self._scheduler.schedule()
        events: list[Clip | Failure] = []
        if plan.admit:
            self._runner.admit([self._speeches[request].job for request, _ in plan.admit])
            events += self._gather()
        self._voicing.settle()
        self._runner.start()
        events += self._speak()  # of the step before: on a GPU beside the decoding
        self._runner.finish()
        events += self._gather()
        if self._device.type == "cpu":
            events += self._speak()
        return events

    def _gather(self) -> list[Failure]:
        """Cut what is due into windows, and retire what has ended."""
        failures = []
        for number in reversed(range(len(self._runner.rows))):
            row = self._runner.rows[number]
            speech = self._speeches[row.job.id]
            if row.ended:
                if row.stopped or self.exact_codes:
                    self._cut(speech, number, final=True)
                    self._forget(row.job.id)
                else:
                    failures += self._again(speech)
            elif speech.utterance.stream and speech.track.due(row.states):
                self._cut(speech, number, final=False)
        return failures

    def _cut(self, speech: _Speech, row: int, final: bool) -> None:
        states = self._runner.states(row)
        windows = speech.track.windows(states, final, self._voicing.window_frames)
        if windows or final:
            urgent = speech.utterance.stream or speech.utterance.interactive
            self._pieces.append(_Piece(speech.utterance.id, windows, final, urgent))

    def _speak(self) -> list[Clip]:
        """Audio of the urgent pieces if there are any, else of all; the others' turn is at the next step."""
        pieces = [piece for piece in self._pieces if piece.urgent] or self._pieces
        audio = iter(self._voicing([window for piece in pieces for window in piece.windows]))
        spoken = set(map(id, pieces))
        self._pieces = [piece for piece in self._pieces if id(piece) not in spoken]
        clips = []
        for piece in pieces:
            parts = [next(audio) for _ in piece.windows]
            joined = np.concatenate(parts) if parts else np.zeros(0, np.float32)
            clips.append(Clip(piece.utterance_id, joined, RATE, ENGINE, piece.final))
        return clips

    def _again(self, speech: _Speech) -> list[Failure]:
        """A run-away starts anew with another seed; not when part of it was heard, and not for ever."""
        self._drop(speech.utterance.id)
        if speech.track.begun or speech.attempt + 1 >= _ATTEMPTS:
            self._scheduler.retire(speech.utterance.id)
            del self._speeches[speech.utterance.id]
            error = RunawayGeneration(
                f"The model did not end within {speech.job.cap} codes, in {speech.attempt + 1} attempts.",
                fix="Try another seed, or split the text.",
            )
            return [Failure(speech.utterance.id, error)]
        speech.attempt += 1
        speech.job = replace(speech.job, seed=_seed(speech.utterance.seed, speech.attempt))
        self._scheduler.requeue(speech.utterance.id)
        return []

    def _forget(self, utterance_id: str) -> None:
        """Its last states are cut: nothing but audio is left to make."""
        self._drop(utterance_id)
        self._scheduler.retire(utterance_id)
        del self._speeches[utterance_id]

    def _drop(self, utterance_id: str) -> None:
        row = self._runner.index(utterance_id)
        if row is not None:
            self._runner.release(row)

    def _shrink(self, error: Exception) -> list[Clip | Failure]:
        """Out of memory: halve the batch and begin its utterances again; what was heard stays heard."""
        running = list(self._scheduler.running)
        if self.slots == 1:
            self._runner.resize(1)
            for request in running:
                self._scheduler.retire(request)
                del self._speeches[request]
            failure = SpeechError("There is too little memory to speak even one utterance.", fix=str(error))
            return [Failure(request, failure) for request in running]
        for request in running:
            self._scheduler.requeue(request)
        self._scheduler.resize(self.slots // 2)
        self._runner.resize(self.slots)
        self._voicing.shrink()
        _log.warning("tts.xtts.out_of_memory", extra={"slots": self.slots})
        return []


def arrays_of(
    voice: VoiceState, channels: int, fingerprint: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A voice's latents (32, channels) and speaker embedding (512,). Raises BadVoice."""
    if voice.engine != ENGINE:
        raise BadVoice(
            f"The voice was made for the engine {voice.engine!r}.", fix="Build the voice model again."
        )
    if voice.metadata.get("checkpoint") != fingerprint:
        raise BadVoice("The voice was made with another checkpoint.", fix="Build the voice model again.")
    arrays = []
    for name, shape in (("latents", (LATENTS, channels)), ("speaker", (SPEAKER,))):
        array = np.asarray(voice.arrays.get(name, np.zeros(0)), np.float32)
        if array.shape != shape or not np.isfinite(array).all():
            raise BadVoice(f"The voice's {name} are damaged.", fix="Build the voice model again.")
        arrays.append(np.ascontiguousarray(array))
    return arrays[0], arrays[1]


def _seed(seed: int, attempt: int) -> int:
    """A seed of 128 bits: the utterance's in the lower half, the attempt in the upper one."""
    return seed % 2**64 + attempt * 2**64
