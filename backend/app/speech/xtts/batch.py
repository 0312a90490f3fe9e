"""Utterances in, clips out, one step at a time: schedule, run, speak, retire. No thread, no clock."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
from app.speech.xtts.gpu.losing import leave_if_lost
from app.speech.xtts.layout import LATENTS, SPEAKER
from app.speech.xtts.memory import ran_out
from app.speech.xtts.runner import Job, Runner
from app.speech.xtts.scheduler import Scheduler
from app.speech.xtts.tokenizer import Tokenizer
from app.speech.xtts.vocoder import RATE
from app.speech.xtts.voicing import FIRST_CODES, Spoken, Track, Voicing, Window

ENGINE = "xtts"
_ATTEMPTS = 3
# On a CPU, while somebody waits, the others take part in one of so many steps; in one of 16 as long as what is waited
# for has fewer than LEAD codes: pieces of a stream are short at first.
_TURN, _FIRST_TURN, _LEAD = 4, 16, 40
_log = logging.getLogger(__name__)


class TextTooLong(SpeechError):
    """The model has no position for so much text."""

    code = "text_too_long"


class TooLittleMemory(SpeechError):
    """Not even one utterance can be spoken in the memory there is."""

    code = "out_of_memory"
    retry = True


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raises TooLittleMemory where memory runs out in it."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise _too_little_memory(error) from error


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


@dataclass(slots=True, eq=False)
class _Piece:
    """Windows that make up one clip."""

    utterance_id: str
    windows: list[Window]
    final: bool
    urgent: bool  # somebody waits for it
    begun: bool = False  # it is being spoken


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
        self._scheduler = Scheduler(runner.slots, runner.room)
        self._speeches: dict[str, _Speech] = {}
        self._pieces: list[_Piece] = []
        self._underway: list[tuple[list[_Piece], Spoken]] = []
        self._tried: list[_Piece] = []  # the last ones that were begun with, well or badly
        self._suspects: set[str] = set()  # spoken one at a time, since one of them broke a step
        self._hurried = 0  # steps since the last one in which all took part
        self._events: list[Clip | Failure] = []  # of the step under way; a step that breaks loses none
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
        with enough_memory():
            track = Track(torch.from_numpy(speaker).to(self._device), utterance.speed)
        self._scheduler.add(utterance.id, utterance.interactive, self._runner.takes(job))
        self._speeches[utterance.id] = _Speech(utterance, job, track)

    def cancel(self, utterance_id: str) -> bool:
        """Forget an utterance and free its slot; False if it is not here."""
        kept = [piece for piece in self._pieces if piece.utterance_id != utterance_id]
        known = utterance_id in self._speeches or len(kept) < len(self._pieces)
        self._pieces = kept
        if self._speeches.pop(utterance_id, None) is not None:
            self._scheduler.cancel(utterance_id)
            self._drop(utterance_id)
        return known

    def prepare(self) -> None:
        """On a GPU, do once what is slow at first: compile and record. Nothing else is here yet."""
        if self._device.type != "cuda":
            return
        try:
            with ThreadPoolExecutor() as pool:
                for each in [
                    pool.submit(kernel) for kernel in (*self._runner.kernels(), *self._voicing.kernels())
                ]:
                    each.result()
            self._runner.prepare()
            self._voicing.prepare(self._settings.channels)
        except Exception as error:
            if self._runner.slots == 1 or not ran_out(error):
                raise
            self._shrink(error)
            self.prepare()
            return
        shapes = {"latents": (LATENTS, self._settings.channels), "speaker": (SPEAKER,)}
        arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        voice = VoiceState(ENGINE, arrays, {"checkpoint": self._fingerprint})
        before, self.exact_codes = self.exact_codes, 2 * FIRST_CODES
        with suppress(SpeechError):
            self.add(Utterance("", "네", voice, stream=True))
        while self.busy:
            self.step()
        self.exact_codes = before
        torch.cuda.empty_cache()  # what was only needed for recording

    def step(self) -> list[Clip | Failure]:
        """Give everything that is spoken its next code; returns the audio that came of it."""
        try:
            self._step()
        except Exception as error:
            if not ran_out(error):
                raise
            self._shrink(error)
        return self._outcome()

    def recover(self, error: Exception) -> list[Clip | Failure]:
        """A step broke: begin what it was about again, one utterance at a time, and give up what breaks alone.

        What was heard stays heard. Ends this process where the GPU is lost with the step.
        """
        leave_if_lost(self._device)
        running = list(self._scheduler.running)
        begun = {
            piece.utterance_id
            for pieces in (self._tried, *(p for p, _ in self._underway))
            for piece in pieces
        }
        suspects = {*running, *(piece.utterance_id for piece in self._pieces if piece.utterance_id in begun)}
        suspects = suspects or {*self._waited_for()}
        for request in running:
            self._scheduler.requeue(request)
        for piece in self._pieces:
            piece.begun = False
        self._tried, self._underway = [], []
        self._runner.resize(self._runner.slots)
        if len(suspects) > 1 and not self._suspects:
            self._suspects = suspects
            self._scheduler.resize(1, self._runner.room)
            return self._outcome()
        failure = SpeechError(f"Speaking failed: {type(error).__name__}.")
        failure.retry = len(suspects) > 1
        for request in suspects:
            self.cancel(request)
            self._fail(request, failure)
        return self._outcome()

    def _outcome(self) -> list[Clip | Failure]:
        events, self._events = self._events, []
        return events

    def _waited_for(self) -> list[str]:
        """Utterances that somebody still expects audio of."""
        return [*self._speeches, *(piece.utterance_id for piece in self._pieces if piece.final)]

    def _step(self) -> None:
        if self._suspects:
            self._suspects.intersection_update(self._waited_for())
            if not self._suspects:
                self._scheduler.resize(self._runner.slots, self._runner.room)
        if not (self._suspects and self._pieces):  # suspects are spoken to their ends by themselves
            self._admit()
        self._voicing.settle()
        self._runner.start(self._hurry())
        self._speak()  # of the step before: on a GPU beside the decoding
        self._runner.finish()
        self._gather()
        if self._device.type == "cpu":
            self._speak()
        self._deliver()

    def _hurry(self) -> list[int]:
        """The rows that somebody waits for, if the next step is only theirs; none: it is everybody's.

        Beside a full batch a CPU is slower than speech; by themselves a few rows are several times as fast.
        """
        rows = self._runner.rows
        urgent = [number for number, row in enumerate(rows) if _is_urgent(self._speeches[row.job.id])]
        if not 0 < len(urgent) < len(rows) or not self._runner.can_step_some:
            self._hurried = 0
            return []
        begins = any(rows[number].states < _LEAD for number in urgent)
        self._hurried += 1
        if self._hurried >= (_FIRST_TURN if begins else _TURN):
            self._hurried = 0
        return urgent if self._hurried else []

    def _admit(self) -> None:
        plan = self._scheduler.schedule()
        for request in plan.evicted:
            self._drop(request)
        if plan.admit:
            self._runner.admit([self._speeches[request].job for request, _ in plan.admit])
            self._gather()

    def _gather(self) -> None:
        """Cut what is due into windows, and retire what has ended."""
        for number in reversed(range(len(self._runner.rows))):
            row = self._runner.rows[number]
            speech = self._speeches[row.job.id]
            if row.ended:
                if row.stopped or self.exact_codes:
                    self._cut(speech, number, final=True)
                    self._forget(row.job.id)
                else:
                    self._again(speech)
            elif speech.utterance.stream and speech.track.due(row.states):
                self._cut(speech, number, final=False)

    def _cut(self, speech: _Speech, row: int, final: bool) -> None:
        states = self._runner.states(row)
        windows = self._voicing.cut(speech.track, states, final)
        if windows or final:
            self._pieces.append(_Piece(speech.utterance.id, windows, final, _is_urgent(speech)))

    def _speak(self) -> None:
        """Begin with the pieces whose turn it is. They stay in line until their audio is there."""
        pieces = self._turn()
        if not pieces:
            return
        self._tried = pieces
        try:
            spoken = self._voicing([window for piece in pieces for window in piece.windows])
        except Exception as error:
            if self._runner.slots > 1 or not ran_out(error):
                raise
            for piece in pieces:
                self.cancel(piece.utterance_id)
                self._fail(piece.utterance_id, _too_little_memory(error))
            return
        for piece in pieces:
            piece.begun = True
        self._underway.append((pieces, spoken))

    def _deliver(self) -> None:
        """Clips of what has been spoken; waits for the first of it if there is nothing else to do."""
        decoding = bool(self._runner.rows if self._suspects else self._speeches)
        idle = not decoding and all(piece.begun for piece in self._pieces)
        while self._underway and (self._underway[0][1].ready or idle):
            pieces, spoken = self._underway.pop(0)
            audio, idle = iter(spoken.audio()), False
            for piece in pieces:
                parts = [next(audio) for _ in piece.windows]
                if piece in self._pieces:  # else it was cancelled
                    self._pieces.remove(piece)
                    joined = np.concatenate(parts) if parts else np.zeros(0, np.float32)
                    if not np.isfinite(joined).all():
                        self.cancel(piece.utterance_id)
                        self._fail(piece.utterance_id, _no_audio())
                        continue
                    self._events.append(Clip(piece.utterance_id, joined, RATE, ENGINE, piece.final))

    def _turn(self) -> list[_Piece]:
        """Pieces to begin with now, the urgent ones first.

        While somebody waits, a CPU speaks one of the others in a step that is everybody's, so that they delay nobody
        for long, are not starved, and do not pile up; a GPU speaks them when there are enough to fill it, or when no more of
        them are to come. With little memory it is one at a time.
        """
        waiting = [piece for piece in self._pieces if not piece.begun]
        if self.slots == 1:
            return waiting[:1]
        urgent = [piece for piece in waiting if piece.urgent]
        others = [piece for piece in waiting if not piece.urgent]
        kinds = set(map(_is_urgent, self._speeches.values()))
        if self._device.type == "cpu":
            if self._hurried:
                others.clear()
            elif True in kinds:
                del others[max(1, len(others) - self.slots) :]
        elif False in kinds and sum(len(piece.windows) for piece in others) < self._voicing.batch:
            others.clear()
        return urgent + others

    def _again(self, speech: _Speech) -> None:
        """A run-away starts anew with another seed; not when part of it was heard, and not for ever."""
        if speech.track.begun or speech.attempt + 1 >= _ATTEMPTS:
            error = RunawayGeneration(
                f"The model did not end within {speech.job.cap} codes, in {speech.attempt + 1} attempts.",
                fix="Try another seed, or split the text.",
            )
            self._fail(speech.utterance.id, error)
            self._forget(speech.utterance.id)
            return
        speech.attempt += 1
        speech.job = replace(speech.job, seed=_seed(speech.utterance.seed, speech.attempt))
        self._scheduler.requeue(speech.utterance.id)
        self._drop(speech.utterance.id)

    def _fail(self, utterance_id: str, error: SpeechError) -> None:
        """Nothing comes after this, not even audio that is under way."""
        self._pieces = [piece for piece in self._pieces if piece.utterance_id != utterance_id]
        self._events.append(Failure(utterance_id, error))

    def _forget(self, utterance_id: str) -> None:
        """Nothing is left to decode of it. What may break comes last, so that it is not forgotten by half."""
        self._scheduler.retire(utterance_id)
        del self._speeches[utterance_id]
        self._drop(utterance_id)

    def _drop(self, utterance_id: str) -> None:
        row = self._runner.index(utterance_id)
        if row is not None:
            self._runner.release(row)

    def _shrink(self, error: Exception) -> None:
        """Out of memory: halve the batch and begin its utterances again; what was heard stays heard."""
        running = list(self._scheduler.running)
        if self._runner.slots == 1:
            for request in running:
                self._scheduler.retire(request)
                del self._speeches[request]
                self._fail(request, _too_little_memory(error))
            self._runner.resize(1)
        else:
            for request in running:
                self._scheduler.requeue(request)
            self._runner.resize(self._runner.slots // 2)
            self._scheduler.resize(self._runner.slots, self._runner.room)
            self._suspects.clear()
            self._voicing.shrink()
        _log.warning("tts.xtts.out_of_memory", extra={"slots": self.slots})


def _too_little_memory(error: Exception) -> SpeechError:
    return TooLittleMemory(
        f"There is too little memory to speak even one utterance ({type(error).__name__}).",
        fix="Give the worker more memory, or end what else uses it.",
    )


def _no_audio() -> SpeechError:
    return BadVoice(
        "The model computed numbers that are no audio.", fix="Build the voice model again from other samples."
    )


def _is_urgent(speech: _Speech) -> bool:
    return speech.utterance.stream or speech.utterance.interactive


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
