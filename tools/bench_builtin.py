"""How fast the builtin engine speaks and how much it sounds like its actors: `python tools/bench_builtin.py`.

Voices are built from two minutes of each actor's prompts (Debian's asterisk-core-sounds-*-wav) and say 20
Korean sentences. Resemblyzer compares with prompts that the voice was not built from; espeak-ng as it is
stands beside. "first" counts the sentences in which the right actor is the most similar, "fresh" the same
among 20 others by which no setting was chosen. "clear" is how much of espeak-ng's movements is left (see
tests/speech/builtin/likeness.py).
"""

from __future__ import annotations

import os

for _library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_library] = "1"  # the figures are of one core; before numpy is imported

import argparse
import asyncio
import hashlib
import platform
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "backend"))

from app.speech.builtin import BuiltinEngine, voice
from app.speech.builtin.analysis import RATE
from app.speech.builtin.espeak import Espeak
from app.speech.builtin.speaking import speak
from app.speech.interface import Clip, Utterance, VoiceState
from tests.speech.builtin import likeness
from tests.speech.builtin.actors import FRESH_SENTENCES, SENTENCES, installed, prompts


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120, help="recordings a voice is built from")
    parser.add_argument("--sentences", type=int, default=len(SENTENCES))
    options = parser.parse_args()
    sentences = SENTENCES[: options.sentences]
    actors = installed()
    print(f"machine: {machine()}")
    if not actors:
        sys.exit("No actor's prompts are installed: apt-get install asterisk-core-sounds-{en,es,fr,it}-wav")

    recordings = {actor: prompts(actor, options.seconds, 40) for actor in actors}
    references = {actor: likeness.reference(held_out) for actor, (_, held_out) in recordings.items()}
    print("actor       pitch  similar  least  espeak   first  fresh  clear   real   build")
    spoken = cpu = wall = 0.0
    voices: dict[str, VoiceState] = {}
    with Espeak() as espeak:
        for actor in actors:
            start = time.process_time()
            voices[actor] = voice.build(recordings[actor][0], espeak)
            build = time.process_time() - start
            target = voice.target(voices[actor])
            similar, plain, clear, first = [], [], [], 0
            for sentence in sentences:
                before, clock = time.process_time(), time.perf_counter()
                audio = say(sentence, target, espeak)
                cpu, wall = cpu + time.process_time() - before, wall + time.perf_counter() - clock
                spoken += len(audio) / RATE
                embedded = likeness.embedding(audio, RATE)
                similar.append(float(embedded @ references[actor]))
                first += likeness.nearest(embedded, references) == actor
                source = voice.say(espeak, sentence).audio
                begin = max(int(np.flatnonzero(np.abs(source) > 1e-3)[0]) - round(0.06 * RATE), 0)
                clear.append(likeness.kept(audio, source[begin:]))
                plain.append(float(likeness.embedding(source, RATE) @ references[actor]))
            fresh = sum(
                likeness.nearest(likeness.embedding(say(sentence, target, espeak), RATE), references) == actor
                for sentence in FRESH_SENTENCES[: options.sentences]
            )
            real = [
                likeness.embedding(r.audio, r.sample_rate) @ references[actor]
                for r in recordings[actor][0][:8]
            ]
            pitch = np.exp(voices[actor].metadata["actor_pitch"][0])
            print(
                f"{actor:<10} {pitch:>4.0f}Hz {np.mean(similar):>8.3f} {min(similar):>6.3f} {np.mean(plain):>7.3f}"
                f" {first:>3}/{len(sentences):<3} {fresh:>2}/{len(sentences):<3} {np.mean(clear):>6.3f} {np.mean(real):>6.3f} {build:>5.1f} s",
                flush=True,
            )
    print(
        f"one core: {spoken:.0f} s of speech, {spoken / cpu:.1f}x real time by CPU time, {spoken / wall:.1f}x by the clock"
    )
    service(voices[actors[0]], sentences)


def say(text: str, target: voice.Target, espeak: Espeak) -> np.ndarray:
    """A sentence whole."""
    return np.concatenate([part for part, _ in speak(text, target, espeak)])


def service(state: VoiceState, sentences: tuple[str, ...]) -> None:
    """What the engine does as a whole: all its processes, twice, and a stream's first audio."""
    engine = BuiltinEngine()
    engine.load()
    try:
        asyncio.run(collect(engine, state, sentences[:4]))  # its processes start
        clock = time.perf_counter()
        once = asyncio.run(collect(engine, state, sentences))
        wall = time.perf_counter() - clock
        seconds = sum(len(audio) for audio in once.values()) / RATE
        print(f"engine: {seconds / wall:.1f}x real time in {os.cpu_count()} processes")
        again = asyncio.run(collect(engine, state, sentences[::-1]))
        same = all(digest(once[text]) == digest(again[text]) for text in sentences)
        print(f"same samples again, in another order: {'yes' if same else 'NO'}")
        delays = [asyncio.run(first_audio(engine, state, sentence)) for sentence in sentences]
        print(f"first audio of a streamed sentence: {np.median(delays):.0f} ms, at most {max(delays):.0f} ms")
    finally:
        engine.close()
    if not same:
        sys.exit(1)


async def collect(engine: BuiltinEngine, state: VoiceState, texts: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Audio by text."""

    async def utterances() -> AsyncIterator[Utterance]:
        for text in texts:
            yield Utterance(text, text, state, seed=1)

    return {r.utterance_id: r.audio async for r in engine.synthesize(utterances()) if isinstance(r, Clip)}


async def first_audio(engine: BuiltinEngine, state: VoiceState, text: str) -> float:
    """Milliseconds until the first clip."""

    async def utterance() -> AsyncIterator[Utterance]:
        yield Utterance("a", text, state, interactive=True, stream=True)

    start = time.perf_counter()
    delay = 0.0
    async for _ in engine.synthesize(utterance()):
        delay = delay or 1000 * (time.perf_counter() - start)
    return delay


def digest(audio: np.ndarray) -> str:
    return hashlib.sha256(audio.tobytes()).hexdigest()


def machine() -> str:
    """The processor's name and cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
