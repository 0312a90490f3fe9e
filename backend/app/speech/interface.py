"""What every engine is: voices in, utterances in, clips out.

An engine knows nothing of language rules, files or SQL: an utterance's text is already normalised, a
voice is a bundle of arrays, and a clip is an array. Audio is float32, mono, within -1..1.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]


class SpeechError(Exception):
    """An engine could not do what was asked. `retry` tells whether another try may go better."""

    code = "speech_failed"
    retry = False

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class EngineUnavailable(SpeechError):
    """The engine cannot run here: a package, a program or the weights are missing."""

    code = "engine_unavailable"


class BadVoice(SpeechError):
    """The voice state is not this engine's, or was damaged."""

    code = "voice_unusable"


class BadRecording(SpeechError):
    """A recording cannot serve as a voice."""

    code = "recording_unusable"


class RunawayGeneration(SpeechError):
    """The model went on past the cap that the text allows, with every seed that the engine tried."""

    code = "generation_ran_on"


@dataclass(frozen=True, slots=True)
class Recording:
    """One sample of an actor as an engine gets it: mono audio, (samples,), at `sample_rate` Hz."""

    audio: Audio
    sample_rate: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class VoiceState:
    """What an engine needs to speak in one voice; written as safetensors and JSON, never a pickle."""

    engine: str
    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One piece of spoken text to say: no digit, no Latin letter (in Korean), at most some 90 characters.

    `speed` is a factor, 0.5–2.0. The same seed, text, voice and speed give the same audio, whatever else
    is spoken at the time. `interactive` ones go first. With `stream`, audio comes in several clips.
    """

    id: str
    text: str
    voice: VoiceState
    language: str = "ko"
    speed: float = 1.0
    seed: int = 0
    interactive: bool = False
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """Audio of one utterance, (samples,) at `sample_rate` Hz; the whole of it unless it was streamed.

    Of a streamed utterance, the clips joined are the whole, and the last one has `final` set.
    """

    utterance_id: str
    audio: Audio
    sample_rate: int
    engine: str
    final: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """Comes in the place of an utterance's (last) clip when it could not be spoken; its neighbours go on."""

    utterance_id: str
    error: SpeechError


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An engine's answer to `ping`: cheap, never loads anything."""

    engine: str
    available: bool
    detail: str
    fix: str = ""
    device: str = "cpu"
    versions: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class SpeechEngine(Protocol):
    """A way to speak. Implementations are picked in `app.bootstrap` alone."""

    name: str
    simulated: bool
    sample_rate: int

    @property
    def measures_elsewhere(self) -> bool:
        """Whether `similarity` takes no core of this process: a GPU or another process computes it, and one waits."""

    def load(self) -> None:
        """Get ready to speak (weights, programs); idempotent. Raises EngineUnavailable with what to do."""

    def close(self) -> None:
        """Give back memory and processes; `load` may follow."""

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        """Compute a voice from one or more recordings. Raises SpeechError where they cannot serve."""

    def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        """Speak utterances as they arrive, in completion order, until the iterable ends.

        The iterable may go on for hours: an engine takes from it whenever it has room.
        """

    def cancel(self, utterance_id: str) -> None:
        """Stop speaking an utterance and free its place; no clip of it need follow. Thread-safe."""

    def similarity(self, audio: Audio, sample_rate: int, voice: VoiceState) -> float | None:
        """How much a clip sounds like the voice, -1..1 (cosine of speaker embeddings); None: cannot say."""

    def ping(self) -> EngineStatus:
        """Whether this engine could run here, and with what."""
