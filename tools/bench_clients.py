"""How soon a client hears a text: `python tools/bench_clients.py`.

The running service, builtin engine, a voice of two minutes of an actor's prompts, and OpenAI's own client:
the time to the first bytes beside the time to the last, medians of 5. The whole ends when the take has been
measured and kept.
"""

from __future__ import annotations

import io
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import openai
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "backend"))

from app.remote import Remote
from app.speech.builtin.espeak import Espeak
from app.speech.interface import Recording
from tests.running import running_service
from tests.speech.builtin.actors import installed, prompts

SENTENCE = "상담원 연결은 0번을 눌러주세요."
TEXTS = {
    "one sentence": SENTENCE,
    "one long sentence": "고객님께서 요청하신 서비스는 오늘 오후 3시부터 이용하실 수 있습니다.",
    "ten sentences": " ".join([SENTENCE] * 10),
}
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
TIMES = 5


def recordings() -> list[Recording]:
    """Two minutes of an actor; espeak-ng's English where no prompts are installed."""
    if actors := installed():
        return prompts(actors[0], 120, 1)[0]
    with Espeak() as espeak:
        said = [
            espeak.say(f"This is recording number {number}, thank you.", voice="en") for number in range(40)
        ]
    return [Recording(one.audio, one.sample_rate) for one in said]


def train(remote: Remote) -> str:
    """A ready voice model's id."""
    actor = remote.call("POST", "/voice-actors", json={"name": "bench"})["id"]
    for number, recording in enumerate(recordings()):
        file = io.BytesIO()
        soundfile.write(file, recording.audio, recording.sample_rate, format="WAV")
        files = {"audio_file": (f"{number}.wav", file.getvalue())}
        remote.call("POST", f"/voice-actors/{actor}/samples", files=files, data={"text_content": ""})
    model = remote.call("POST", "/voice-actors/models", json={"voice_actor_id": actor, "model_name": "bench"})
    remote.call("POST", f"/voice-actors/models/{model['id']}/train")
    ready = remote.wait_for_model(model["id"])
    if ready["status"] != "ready":
        sys.exit(f"The voice could not be trained: {ready['failure']}")
    return str(model["id"])


def heard(client: openai.OpenAI, voice: str, text: str, form: str) -> tuple[float, float]:
    """Seconds to the first bytes and to the last."""
    start = time.perf_counter()
    first = 0.0
    request = client.audio.speech.with_streaming_response
    with request.create(model="tts-1", voice=voice, input=text, response_format=form) as answer:  # type: ignore[arg-type]
        for _ in answer.iter_bytes():
            first = first or time.perf_counter() - start
    return first, time.perf_counter() - start


def row(name: str, client: openai.OpenAI, voice: str, text: str, form: str) -> None:
    times = [heard(client, voice, text, form) for _ in range(TIMES)]
    first, whole = (statistics.median(each) * 1000 for each in zip(*times, strict=True))
    print(f"{name:<18} {form:<5} {first:8.0f} {whole:8.0f}", flush=True)


def processor() -> str:
    """Its name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Print the figures."""
    print(f"machine: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        with running_service(Path(folder) / "data", engine="builtin") as service, service.remote() as remote:
            voice = train(remote)
            client = openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.token, max_retries=0)
            with client:
                cold = heard(client, voice, SENTENCE, "mp3")[0] * 1000
                for text in TEXTS.values():  # each of the engine's processes has met the voice
                    heard(client, voice, text, "mp3")
                print(f"first request after the start: {cold:.0f} ms to the first bytes")
                print("text               format first ms whole ms")
                for name, text in TEXTS.items():
                    row(name, client, voice, text, "mp3")
                for form in FORMATS[1:]:
                    row("one sentence", client, voice, SENTENCE, form)
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
