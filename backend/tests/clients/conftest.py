"""The real service with three voices that can be told apart by their pitch, and the real clients."""

from __future__ import annotations

import io
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile
from elevenlabs import ElevenLabs

from tests.running import Running, process_wait, running_service
from tests.service import buzz, wav

# The mock engine's tone depends on the recording: these lie a third of an octave apart or more.
PITCHES = {"하나": 100.0, "둘": 120.0, "셋": 170.0}
TEXT = "안녕하세요. 고객센터입니다."
LONG = "상담원 연결은 영 번을 눌러 주세요. " * 190  # ten minutes: nobody has heard it before it is cut off


@dataclass
class House:
    """A running service and its voices: ids by name, and each one's tone in Hz."""

    service: Running
    voices: dict[str, str]
    tones: dict[str, float]

    def openai(self, token: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.service.url}/v1", api_key=token or self.service.token, max_retries=0
        )

    def token(self, role: str) -> str:
        body = {"name": role, "role": role}
        with self.service.remote() as remote:
            token: str = remote.call("POST", "/tokens", json=body)["token"]
        return token

    def generation(self, generation_id: str) -> dict[str, Any] | None:
        """A generation, once it has been written down."""
        path = f"{self.service.url}/api/v1/voice-actors/tts-generations/{generation_id}"
        answer = httpx.get(path, headers={"Authorization": f"Bearer {self.service.token}"})
        return answer.json() if answer.is_success else None

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        """What the condition gives once it holds."""
        deadline = time.monotonic() + seconds
        while not (given := condition()):
            assert time.monotonic() < deadline, "it did not come to pass"
            process_wait(self.service.process, 0.02)
        return given


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("clients") / "data folder"
    aliases = json.dumps({"안내": "둘", "shimmer": "셋"})
    with running_service(folder, engine="mock", voice_aliases=aliases) as service, service.remote() as remote:
        voices = {}
        for name, pitch in PITCHES.items():
            actor = remote.call("POST", "/voice-actors", json={"name": f"성우 {name}", "gender": "female"})[
                "id"
            ]
            sample = {"audio_file": ("a.wav", wav(buzz(3.0, pitch=pitch)))}
            remote.call("POST", f"/voice-actors/{actor}/samples", files=sample, data={"text_content": ""})
            body = {"voice_actor_id": actor, "model_name": name}
            voices[name] = remote.call("POST", "/voice-actors/models", json=body)["id"]
        for model in voices.values():
            remote.call("POST", f"/voice-actors/models/{model}/train")
        for model in voices.values():
            assert remote.wait_for_model(model)["status"] == "ready"
        body = {"voice_actor_id": actor, "model_name": "noch nicht"}
        voices["untrained"] = remote.call("POST", "/voice-actors/models", json=body)["id"]
        made = House(service, voices, {})
        with made.openai() as client:
            for name in PITCHES:
                made.tones[name] = tone(speech(client, voice=voices[name], response_format="wav"))
        ratios = np.diff(np.log2(sorted(made.tones.values())))
        assert ratios.min() > 0.1, made.tones
        yield made


@pytest.fixture(scope="session")
def client(house: House) -> Iterator[openai.OpenAI]:
    with house.openai() as made:
        yield made


@pytest.fixture(scope="session")
def eleven(house: House) -> Iterator[ElevenLabs]:
    with httpx.Client() as connections:
        yield ElevenLabs(
            base_url=f"{house.service.url}/elevenlabs", api_key=house.service.token, httpx_client=connections
        )


def speech(client: openai.OpenAI, **changed: Any) -> bytes:
    """A text's audio from the OpenAI client."""
    request: dict[str, Any] = {"model": "tts-1", "voice": "하나", "input": TEXT} | changed
    content: bytes = client.audio.speech.create(**request).content
    return content


def samples(data: bytes) -> tuple[np.ndarray, int]:
    """A file's audio, (samples,), and its rate; of a WAV of unknown length as much as came."""
    if data[:4] == b"RIFF":
        assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
        rate = int.from_bytes(data[24:28], "little")
        return np.frombuffer(data[44:], "<i2").astype(np.float32) / 32768, rate
    audio, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert audio.shape[1] == 1
    return audio[:, 0], rate


def pcm(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def tone(data: bytes | np.ndarray, rate: int = 24_000) -> float:
    """The strongest frequency, Hz."""
    if isinstance(data, bytes):
        data, rate = samples(data)
    padded = 1 << 19
    spectrum = np.abs(np.fft.rfft(data * np.hanning(len(data)), padded))
    return float(np.argmax(spectrum) * rate / padded)


def probe(data: bytes, folder: Path) -> tuple[dict[str, Any], np.ndarray]:
    """What ffprobe says of a file's one stream, and its audio at 24 kHz as ffmpeg decodes it."""
    file = folder / "audio"
    file.write_bytes(data)
    shown = subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(file)], capture_output=True, check=True
    )
    decode = ["ffmpeg", "-v", "error", "-i", str(file), "-f", "s16le", "-ar", "24000", "-"]
    decoded = subprocess.run(decode, capture_output=True, check=True)
    assert shown.stderr == decoded.stderr == b""
    [stream] = json.loads(shown.stdout)["streams"]
    return stream, pcm(decoded.stdout)
