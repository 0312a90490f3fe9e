"""How much speech sounds like an actor, and how much of what was said is left: measures of others' making."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from app.speech.builtin import analysis
from app.speech.interface import Audio, Recording


@cache
def _encoder() -> Any:
    """Resemblyzer's speaker encoder (GE2E: Wan et al., 2018); slow to import, so only here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from resemblyzer import VoiceEncoder

        torch.set_num_threads(1)
        return VoiceEncoder("cpu", verbose=False)


def embedding(audio: Audio, rate: int) -> Audio:
    """The speaker embedding of some speech, (256,), of length 1."""
    encoder = _encoder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from resemblyzer import preprocess_wav

        return np.asarray(encoder.embed_utterance(preprocess_wav(audio, source_sr=rate)))


def reference(recordings: Sequence[Recording]) -> Audio:
    """An actor's embedding: the mean of the recordings' own, of length 1."""
    mean = np.mean([embedding(r.audio, r.sample_rate) for r in recordings], axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def nearest(embedded: Audio, references: Mapping[str, Audio]) -> str:
    """The actor whose embedding is the most similar."""
    return max(references, key=lambda actor: float(embedded @ references[actor]))


def kept(said: Audio, source: Audio) -> float:
    """How much of the source's movements is left, -1..1, both at analysis.RATE and aligned.

    As in STOI (Taal et al., 2011): the mean correlation, over 400 ms and in 15 bands up to 4 kHz, of the
    two envelopes; here of the logarithms, since the bands' levels are the actor's.
    """
    both = [analysis.analyze(audio).envelope[:, 2:48] for audio in (said, source)]
    count = min(map(len, both))
    bands = [_bands(envelope[:count]) for envelope in both]
    scores = [_correlation(*(band[at : at + 80] for band in bands)) for at in range(0, count - 80, 40)]
    return float(np.mean(scores))


def _bands(envelope: Audio) -> Audio:
    audible = np.maximum(envelope, np.percentile(envelope, 98) - 7)
    return np.stack([part.mean(axis=1) for part in np.array_split(audible, 15, axis=1)], axis=1)


def _correlation(a: Audio, b: Audio) -> float:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    energy = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return float(np.mean((a * b).sum(axis=0) / (energy + 1e-6)))
