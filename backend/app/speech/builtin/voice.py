"""An actor's voice: what the recordings sound like, frame by frame, and how espeak-ng's speech maps there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from app.speech.builtin import analysis
from app.speech.builtin.analysis import FRAME, MELS, Floats, Frames
from app.speech.builtin.espeak import Espeak, Spoken
from app.speech.builtin.neighbours import Neighbours
from app.speech.interface import BadVoice, Recording, SpeechError, VoiceState

ENGINE = "builtin"
FORMAT = 2
# espeak-ng's variant and pitch. Of its female ones the second finds the most of an actor's frames, men's
# too, and comes nearest to them; a low pitch shows the envelope finely.
VARIANT, PITCH = "f2", 30
ORDER = 16  # mel-cepstral coefficients that frames are compared by
CONTEXT = 4  # rows before and after (20 ms) that count as well, so that movements find their like
CONTEXT_WEIGHT = 0.8
NEAREST = 2  # of the actor's frames, whose mean takes a frame's place: more sound duller, less like the actor
HOP = 2  # rows from one compared frame to the next: speech hardly changes in 10 ms
SMOOTH = 1.5  # rows: standard deviation of the window over chosen envelopes
SMOOTH_PITCH = 6.0  # rows: the same over the chosen frames' pitch
MOST_VARIANCE = 1.6  # by which the spread that averaging took away is given back, at most
MOST_FRAMES = round(120 / FRAME / HOP)  # two minutes of speech; more only slows every frame down
LEAST_FRAMES = round(1.0 / FRAME / HOP)
VOICING_WEIGHT = 6.0  # a voiced frame is hardly ever replaced by an unvoiced one
PITCH_WEIGHT = 2.2  # an envelope belongs to the pitch that it was sung at
OWN_PITCH = 0.4  # of the chosen frames' pitch in what is spoken; the rest is the melody
# Frames that lie near all of espeak-ng's would be chosen again and again, and others never: a frame is set
# back by this much of its mean squared distance to the nearest CROWD of espeak-ng's (cross-domain similarity
# local scaling: Conneau et al., 2018). With all of it only outliers would be chosen.
CROWDING = 0.9
CROWD = 20
DEPTH = 3 * ORDER + 2
MOST_HEIGHT = 2.2  # standard deviations of log F0: higher and lower are octave errors
OWN_LEVEL = 0.7  # of the actor's frames' loudness in what is loud
LOUD = 4.0  # nepers below the loudest: where loud begins
LOUDNESS = 0.09  # RMS of what is spoken, pauses included: peaks stay clear of full scale

# Korean with every initial, vowel and final in it: what espeak-ng's speech is like on the whole.
CALIBRATION = (
    "서울특별시 강남구 테헤란로에 있는 저희 회사는 평일 오전 아홉 시부터 오후 여섯 시까지 운영합니다.",
    "고객님께서 요청하신 서류는 접수되었으며, 처리 결과는 문자 메시지로 알려 드리겠습니다.",
    "빨간 꽃과 파란 하늘, 따뜻한 햇볕과 짭짤한 바닷바람이 여행객을 반깁니다.",
    "의사 선생님은 왜 웬일로 귀띔을 했는지 얘기하지 않았다.",
    "쌀쌀한 날씨에 감기 조심하시고, 외출할 때에는 두꺼운 겉옷을 챙기세요.",
    "지하철 이호선 강남역 십 번 출구로 나오시면 바로 앞에 건물이 보입니다.",
    "요금은 매월 말일에 등록하신 계좌에서 자동으로 빠져나갑니다.",
    "궁금하신 점이 있으시면 언제든지 고객 센터로 문의해 주십시오.",
    "회원 가입을 원하시면 일번, 해지를 원하시면 이번을 누르세요.",
    "폭우로 인하여 열차 운행이 늦어지고 있으니 양해 부탁드립니다.",
    "그 영화는 이야기가 워낙 재미있어서 세 번이나 보았어요.",
)


@dataclass(frozen=True, slots=True)
class Target:
    """A voice ready to convert to.

    envelope: (n, MELS) log amplitudes of the actor's frames; aperiodicity: (n, BANDS) dB; pitch: (n,) in
    the actor's standard deviations; neighbours finds them by DEPTH features.
    source_mean, source_scale: (2, ORDER) of espeak-ng's mel-cepstra. middle, variance: (MELS,) the point
    around which converted envelopes are spread, and how far. loud: the source's log level from which on
    the actor's own counts; offset: of the actor's log level against the source's there; gain: of all.
    Pitches are the mean and spread of log F0.
    """

    envelope: Floats
    aperiodicity: Floats
    pitch: Floats
    neighbours: Neighbours
    top: int
    source_mean: Floats
    source_scale: Floats
    middle: Floats
    variance: Floats
    loud: float
    offset: float
    gain: float
    source_pitch: tuple[float, float]
    actor_pitch: tuple[float, float]

    def convert(self, source: Frames, melody: Floats | None = None) -> Frames:
        """The source as the actor would say it.

        `melody`, (n,), is the pitch in standard deviations; without one it is the source's own.
        """
        if melody is None:
            melody = height(source.f0, self.source_pitch)
        voiced = source.f0 > 0
        envelope, aperiodicity, own_pitch = self._nearest(source, melody)
        melody = (1 - OWN_PITCH) * melody + OWN_PITCH * own_pitch
        mean, spread = self.actor_pitch
        pitch = np.exp(np.clip(melody, -MOST_HEIGHT, MOST_HEIGHT) * spread + mean)
        envelope = (envelope - self.middle) * self.variance + self.middle
        level, own = self._level(source.envelope), self._level(envelope)
        # Where it is loud, the actor's frames bring their own loudness: each vowel has its own. Elsewhere
        # the source's counts, or consonants would drown.
        share = OWN_LEVEL * np.clip(level - self.loud, 0, 1)
        moved = gaussian_filter1d(share * np.clip(own - self.offset - level, -1.5, 1.5), 2 * SMOOTH)
        envelope += (level + moved - own + self.gain)[:, None]
        return Frames(
            np.where(voiced, np.clip(pitch, analysis.F0_FLOOR, analysis.F0_CEIL), 0).astype(np.float32),
            envelope.astype(np.float32),
            np.where(voiced[:, None], aperiodicity, 0).astype(np.float32),
        )

    def _level(self, envelope: Floats) -> Floats:
        return np.asarray(envelope[:, : self.top].mean(axis=1), np.float32)

    def _nearest(self, source: Frames, melody: Floats) -> tuple[Floats, Floats, Floats]:
        """Means of the actor's nearest frames for each of the source's, smooth in time.

        Envelopes, aperiodicities, and pitch in standard deviations.
        """
        wanted = features(source, melody, self.top, self.source_mean, self.source_scale)[::HOP]
        nearest = self.neighbours.nearest(wanted, NEAREST)
        kinds = ((self.envelope, SMOOTH), (self.aperiodicity, SMOOTH), (self.pitch[:, None], SMOOTH_PITCH))
        envelope, aperiodicity, pitch = (
            _every_row(rows[nearest].mean(axis=1), len(source), smooth) for rows, smooth in kinds
        )
        return envelope, aperiodicity, pitch[:, 0]


def say(espeak: Espeak, text: str, language: str = "ko", rate: int = 145) -> Spoken:
    """Speak as every source is spoken, of which the voice knows the statistics."""
    return espeak.say(text, voice=f"{language}+{VARIANT}", rate=rate, pitch=PITCH)


def cepstrum(envelope: Floats, top: int) -> Floats:
    """Mel-cepstra 1..ORDER of the lowest `top` points: (n, MELS) to (n, ORDER)."""
    return np.asarray(scipy.fft.dct(envelope[:, :top], axis=1, norm="ortho")[:, 1 : ORDER + 1], np.float32)


def height(f0: Floats, speaker: tuple[float, float]) -> Floats:
    """Pitch in standard deviations of the log F0 of a speaker, given by mean and spread; (n,).

    Where it is unvoiced the pitch leads from one voiced row to the next, for it is smoothed later.
    """
    voiced = np.flatnonzero(f0)
    if not len(voiced):
        return np.zeros(len(f0), np.float32)
    mean, spread = speaker
    return np.interp(np.arange(len(f0)), voiced, (np.log(f0[voiced]) - mean) / spread).astype(np.float32)


def features(frames: Frames, melody: Floats, top: int, mean: Floats, scale: Floats) -> Floats:
    """What frames are compared by, (n, DEPTH): mel-cepstra in context, voicing, and pitch where voiced.

    melody: (n,) the pitch in standard deviations. mean, scale: (2, ORDER), of the speaker's unvoiced and
    voiced frames: a vowel is placed among vowels.
    """
    voiced = (frames.f0 > 0).astype(int)
    cepstra = (cepstrum(frames.envelope, top) - mean[voiced]) / scale[voiced]
    padded = np.pad(cepstra, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    before, after = padded[: -2 * CONTEXT], padded[2 * CONTEXT :]
    pitch = PITCH_WEIGHT * voiced * np.clip(melody, -MOST_HEIGHT, MOST_HEIGHT)
    sound = np.stack([VOICING_WEIGHT * voiced, pitch], axis=1)
    parts = [CONTEXT_WEIGHT * before, cepstra, CONTEXT_WEIGHT * after, sound]
    return np.concatenate(parts, axis=1).astype(np.float32)


def statistics(frames: Frames, top: int, speech: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of unvoiced and voiced mel-cepstra, (2, ORDER) each."""
    cepstra = cepstrum(frames.envelope, top)
    voiced = frames.f0 > 0
    kinds = [cepstra[speech & kind] for kind in (~voiced, voiced)]
    kinds = [kind if len(kind) > ORDER else cepstra[speech] for kind in kinds]
    return (
        np.array([kind.mean(axis=0) for kind in kinds], np.float32),
        np.array([np.maximum(kind.std(axis=0), 1e-3) for kind in kinds], np.float32),
    )


def build(recordings: Sequence[Recording], espeak: Espeak) -> VoiceState:
    """Compute a voice. Raises SpeechError when the recordings hold less than a second of speech."""
    parts = [_frames(recording) for recording in recordings]
    actor = _join(parts)
    top = _band(actor)
    speech = _speech(actor, top)
    keep = np.flatnonzero(speech)[::HOP]
    if len(keep) < LEAST_FRAMES or not (actor.f0 > 0).any():
        raise SpeechError(
            "The recordings hold less than a second of speech.", "Add recordings of the actor speaking."
        )
    keep = keep[np.linspace(0, len(keep) - 1, min(len(keep), MOST_FRAMES)).astype(int)]
    own = statistics(actor, top, speech)
    pitch = _pitch_statistics(actor.f0)
    found_by = np.concatenate([features(part, height(part.f0, pitch), top, *own) for part in parts])[keep]
    spoken = [say(espeak, text) for text in CALIBRATION]
    source = _join([analysis.analyze(analysis.resample(one.audio, one.sample_rate)) for one in spoken])
    heard = _speech(source, top)
    source_pitch = _pitch_statistics(source.f0)
    source_mean, source_scale = statistics(source, top, heard)
    asked = features(source, height(source.f0, source_pitch), top, source_mean, source_scale)[heard][::HOP]
    arrays = {
        "envelope": actor.envelope[keep].astype(np.float16),
        "aperiodicity": actor.aperiodicity[keep].astype(np.float16),
        "pitch": np.clip(height(actor.f0, pitch)[keep], -MOST_HEIGHT, MOST_HEIGHT).astype(np.float16),
        "features": found_by.astype(np.float16),
        "setback": CROWDING * _distance(found_by, asked),
        "source_mean": source_mean,
        "source_scale": source_scale,
        "middle": np.zeros(MELS, np.float32),
        "variance": np.ones(MELS, np.float32),
    }
    facts: dict[str, Any] = {
        "format": FORMAT,
        "sample_rate": analysis.RATE,
        "top": top,
        "loud": 100.0,  # nothing is: until it is measured
        "offset": 0.0,
        "gain": 0.0,
        "source_pitch": source_pitch,
        "actor_pitch": pitch,
        "recordings": len(recordings),
        "seconds": round(len(actor) * FRAME, 2),
        "espeak": espeak.version,
    }
    # What averaging and espeak-ng's loudness do to the voice is measured on the calibration text.
    converted = target(VoiceState(ENGINE, arrays, facts)).convert(source)
    middle = converted.envelope[heard].mean(axis=0)
    spread = actor.envelope[speech].std(axis=0) / np.maximum(converted.envelope[heard].std(axis=0), 1e-3)
    arrays["middle"] = middle.astype(np.float32)
    arrays["variance"] = np.clip(spread, 1, MOST_VARIANCE).astype(np.float32)
    level = source.envelope[:, :top].mean(axis=1)
    spread_out = (converted.envelope - middle) * arrays["variance"] + middle
    facts["loud"] = float(np.percentile(level[heard], 95) - LOUD)
    loud = level > facts["loud"]
    facts["offset"] = float(np.median((spread_out[:, :top].mean(axis=1) - level)[loud]))
    audible = analysis.synthesize(target(VoiceState(ENGINE, arrays, facts)).convert(source))
    facts["gain"] = float(np.log(LOUDNESS / np.sqrt(np.mean(audible**2))))
    return VoiceState(ENGINE, arrays, facts)


def target(voice: VoiceState) -> Target:
    """Read a voice. Raises BadVoice when it is another engine's, of another format, or damaged."""
    if voice.engine != ENGINE:
        raise BadVoice(f"This voice was made by {voice.engine!r}.", "Train the model again with this engine.")
    if voice.metadata.get("format") != FORMAT:
        raise BadVoice("This voice was made by another version of this engine.", "Train the model again.")
    try:
        facts: dict[str, Any] = dict(voice.metadata)
        top = int(facts["top"])
        arrays = {name: np.asarray(array, np.float32) for name, array in voice.arrays.items()}
        envelope = arrays["envelope"]
        pitches = [(float(facts[k][0]), float(facts[k][1])) for k in ("source_pitch", "actor_pitch")]
        levels = [float(facts[name]) for name in ("loud", "offset", "gain")]
        sound = (
            envelope.ndim == 2
            and envelope.shape[1] == MELS
            and len(envelope) > NEAREST
            and ORDER < top <= MELS
            and arrays["aperiodicity"].shape == (len(envelope), analysis.BANDS)
            and arrays["features"].shape == (len(envelope), DEPTH)
            and arrays["source_mean"].shape == arrays["source_scale"].shape == (2, ORDER)
            and arrays["middle"].shape == arrays["variance"].shape == (MELS,)
            and arrays["pitch"].shape == arrays["setback"].shape == (len(envelope),)
            and all(np.isfinite(array).all() for array in arrays.values())
            and np.isfinite([*pitches[0], *pitches[1], *levels]).all()
            and bool((arrays["source_scale"] > 0).all())
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadVoice("This voice is damaged.", "Train the model again.") from error
    if not sound:
        raise BadVoice("This voice is damaged.", "Train the model again.")
    return Target(
        envelope,
        arrays["aperiodicity"],
        arrays["pitch"],
        Neighbours(arrays["features"], arrays["setback"]),
        top,
        arrays["source_mean"],
        arrays["source_scale"],
        arrays["middle"],
        arrays["variance"],
        float(facts["loud"]),
        float(facts["offset"]),
        float(facts["gain"]),
        *pitches,
    )


def _frames(recording: Recording) -> Frames:
    audio = np.asarray(recording.audio, np.float32)
    if audio.ndim != 1 or len(audio) < recording.sample_rate // 10 or not np.isfinite(audio).all():
        raise SpeechError("A recording is not mono audio of a tenth of a second or more.", "Leave it out.")
    return analysis.analyze(analysis.resample(audio, recording.sample_rate), breath=True)


def _every_row(rows: Floats, count: int, smooth: float) -> Floats:
    """Every HOPth row given, (n, depth), all `count` of them between, smooth in time."""
    at = np.arange(count) / HOP
    low = np.minimum(at.astype(int), len(rows) - 1)
    high = np.minimum(low + 1, len(rows) - 1)
    part = (at - low)[:, None].astype(np.float32)
    between = rows[low] * (1 - part) + rows[high] * part
    return np.asarray(gaussian_filter1d(between, smooth, axis=0), np.float32)


def _distance(points: Floats, others: Floats) -> Floats:
    """Each point's mean squared distance to the CROWD nearest of the others: (n, depth), (m, depth) to (n,)."""
    squares = (others**2).sum(axis=1)
    count = min(CROWD, len(others))
    blocks = []
    for block in np.array_split(points, -(-len(points) // 1024)):
        distance = squares - 2 * block @ others.T + (block**2).sum(axis=1)[:, None]
        blocks.append(np.partition(distance, count - 1, axis=1)[:, :count].mean(axis=1))
    return np.concatenate(blocks).astype(np.float32)


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
