"""An actor's voice: what the recordings sound like, frame by frame, and how espeak-ng's speech maps there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from app.speech.builtin import analysis
from app.speech.builtin.analysis import FRAME, MELS, Floats, Frames
from app.speech.builtin.espeak import Espeak
from app.speech.interface import BadVoice, Recording, SpeechError, VoiceState

ENGINE = "builtin"
FORMAT = 1
ORDER = 20  # mel-cepstral coefficients that frames are compared by
NEAREST = 6  # of the actor's frames, whose mean takes a frame's place
MOST_FRAMES = round(120 / FRAME)  # two minutes of speech; more changes little and slows every frame down
LEAST_FRAMES = round(1.0 / FRAME)

# Korean with every initial, vowel and final in it: what espeak-ng's speech is like on the whole.
CALIBRATION = (
    "서울특별시 강남구 테헤란로에 있는 저희 회사는 평일 오전 아홉 시부터 오후 여섯 시까지 운영합니다.",
    "고객님께서 요청하신 서류는 접수되었으며, 처리 결과는 문자 메시지로 알려 드리겠습니다.",
    "빨간 꽃과 파란 하늘, 따뜻한 햇볕과 짭짤한 바닷바람이 여행객을 반깁니다.",
    "의사 선생님은 왜 웬일로 귀띔을 했는지 얘기하지 않았다.",
    "쌀쌀한 날씨에 감기 조심하시고, 외출할 때에는 두꺼운 겉옷을 챙기세요.",
)


@dataclass(frozen=True, slots=True)
class Target:
    """A voice ready to convert to.

    envelope: (n, MELS) log amplitudes of the actor's frames; aperiodicity: (n, bands) dB; features:
    (n, ORDER) their normalised mel-cepstra; square: (n,) their squared lengths. The rest are the
    statistics that normalise a source frame: `source_*` of espeak-ng, `actor_*` of the actor.
    """

    envelope: Floats
    aperiodicity: Floats
    features: Floats
    square: Floats
    top: int
    source_mean: Floats
    source_scale: Floats
    gain: float
    source_pitch: tuple[float, float]
    actor_pitch: tuple[float, float]

    def convert(self, source: Frames) -> tuple[Floats, Floats, Floats]:
        """The source's f0, envelope and aperiodicity as the actor would have them."""
        wanted = (cepstrum(source.envelope, self.top) - self.source_mean) / self.source_scale
        distance = self.square - 2 * (wanted @ self.features.T)
        nearest = np.argpartition(distance, NEAREST, axis=1)[:, :NEAREST]
        envelope = self.envelope[nearest].mean(axis=1)
        level = source.envelope[:, : self.top].mean(axis=1) + self.gain
        envelope += (level - envelope[:, : self.top].mean(axis=1))[:, None]
        voiced = source.f0 > 0
        aperiodicity = np.where(voiced[:, None], self.aperiodicity[nearest].mean(axis=1), 0)
        return self._pitch(source.f0), envelope, aperiodicity.astype(np.float32)

    def _pitch(self, f0: Floats) -> Floats:
        (mean, spread), (actor_mean, actor_spread) = self.source_pitch, self.actor_pitch
        log = np.log(np.maximum(f0, 1))
        mapped = np.exp((log - mean) / spread * actor_spread + actor_mean)
        return np.where(f0 > 0, np.clip(mapped, analysis.F0_FLOOR, analysis.F0_CEIL), 0).astype(np.float32)


def cepstrum(envelope: Floats, top: int) -> Floats:
    """Mel-cepstra 1..ORDER of the lowest `top` points: (n, MELS) to (n, ORDER)."""
    return np.asarray(scipy.fft.dct(envelope[:, :top], axis=1, norm="ortho")[:, 1 : ORDER + 1], np.float32)


def build(recordings: Sequence[Recording], espeak: Espeak) -> VoiceState:
    """Compute a voice. Raises SpeechError when the recordings hold less than a second of speech."""
    actor = _join([_frames(recording) for recording in recordings])
    top = _band(actor)
    spoken = actor.envelope[_speech(actor, top)]
    if len(spoken) < LEAST_FRAMES or not (actor.f0 > 0).any():
        raise SpeechError(
            "The recordings hold less than a second of speech.", "Add recordings of the actor speaking."
        )
    keep = np.flatnonzero(_speech(actor, top))
    keep = keep[np.linspace(0, len(keep) - 1, min(len(keep), MOST_FRAMES)).astype(int)]
    source = _join([analysis.analyze(espeak.say(text)[0]) for text in CALIBRATION])
    heard = _speech(source, top)
    source_cepstra = cepstrum(source.envelope[heard], top)
    gain = actor.envelope[keep, :top].mean() - source.envelope[heard, :top].mean()
    return VoiceState(
        ENGINE,
        {
            "envelope": actor.envelope[keep].astype(np.float16),
            "aperiodicity": actor.aperiodicity[keep].astype(np.float16),
            "source_mean": source_cepstra.mean(axis=0),
            "source_scale": source_cepstra.std(axis=0),
        },
        {
            "format": FORMAT,
            "sample_rate": analysis.RATE,
            "top": top,
            "gain": float(gain),
            "source_pitch": _pitch_statistics(source.f0),
            "actor_pitch": _pitch_statistics(actor.f0),
            "recordings": len(recordings),
            "seconds": round(len(actor) * FRAME, 2),
            "espeak": espeak.version,
        },
    )


def target(voice: VoiceState) -> Target:
    """Read a voice. Raises BadVoice when it is another engine's, of another format, or damaged."""
    if voice.engine != ENGINE:
        raise BadVoice(f"This voice was made by {voice.engine!r}.", "Train the model again with this engine.")
    try:
        facts: dict[str, Any] = dict(voice.metadata)
        top = int(facts["top"])
        arrays = {name: np.asarray(array, np.float32) for name, array in voice.arrays.items()}
        envelope = arrays["envelope"]
        pitches = [(float(facts[k][0]), float(facts[k][1])) for k in ("source_pitch", "actor_pitch")]
        sound = (
            facts["format"] == FORMAT
            and envelope.ndim == 2
            and envelope.shape[1] == MELS
            and len(envelope) > NEAREST
            and ORDER < top <= MELS
            and arrays["aperiodicity"].shape == (len(envelope), analysis.BANDS)
            and arrays["source_mean"].shape == arrays["source_scale"].shape == (ORDER,)
            and all(np.isfinite(array).all() for array in arrays.values())
            and np.isfinite([*pitches[0], *pitches[1], float(facts["gain"])]).all()
            and bool((arrays["source_scale"] > 0).all())
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadVoice("This voice is damaged.", "Train the model again.") from error
    if not sound:
        raise BadVoice("This voice is damaged.", "Train the model again.")
    cepstra = cepstrum(envelope, top)
    features = (cepstra - cepstra.mean(axis=0)) / np.maximum(cepstra.std(axis=0), 1e-3)
    return Target(
        envelope,
        arrays["aperiodicity"],
        features,
        (features**2).sum(axis=1),
        top,
        arrays["source_mean"],
        arrays["source_scale"],
        float(facts["gain"]),
        *pitches,
    )


def _frames(recording: Recording) -> Frames:
    audio = np.asarray(recording.audio, np.float32)
    if audio.ndim != 1 or len(audio) < recording.sample_rate // 10 or not np.isfinite(audio).all():
        raise SpeechError("A recording is not mono audio of a tenth of a second or more.", "Leave it out.")
    return analysis.analyze(analysis.resample(audio, recording.sample_rate), breath=True)


def _join(parts: Sequence[Frames]) -> Frames:
    if not parts:
        raise SpeechError("There is no recording.", "Add recordings of the actor speaking.")
    return Frames(
        np.concatenate([part.f0 for part in parts]),
        np.concatenate([part.envelope for part in parts]),
        np.concatenate([part.aperiodicity for part in parts]),
    )


def _speech(frames: Frames, top: int) -> NDArray[np.bool_]:
    """Which frames are speech: within some 45 dB of the loud ones."""
    level = frames.envelope[:, :top].mean(axis=1)
    return np.asarray(level > np.percentile(level, 95) - 5.0)


def _band(frames: Frames) -> int:
    """How many points of the envelope lie within the recordings' band (8 kHz files end at 4 kHz)."""
    loud = frames.envelope[_speech(frames, MELS // 2)]
    usual = np.percentile(loud, 90, axis=0) if len(loud) else np.zeros(MELS)
    inside = np.flatnonzero(usual > usual.max() - 8.0)
    return max(int(inside[-1]) + 1 if len(inside) else MELS, ORDER + 4)


def _pitch_statistics(f0: Floats) -> tuple[float, float]:
    """Median and spread of the log of F0, both robust against octave errors."""
    log = np.log(f0[f0 > 0])
    median = float(np.median(log))
    return median, max(float(1.4826 * np.median(np.abs(log - median))), 0.02)
