"""OpenAI's own client against the running service."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import httpx2
import numpy as np
import openai
import psutil
import pytest

from app.audio.loudness import loudness_lufs, true_peak_db
from tests.clients.conftest import LONG, PITCHES, TEXT, House, pcm, probe, samples, speech, tone

FORMATS = {
    "mp3": ("audio/mpeg", "mp3"),
    "opus": ("audio/ogg", "opus"),
    "aac": ("audio/aac", "aac"),
    "flac": ("audio/flac", "flac"),
    "wav": ("audio/wav", "pcm_s16le"),
}


def streamed(client: openai.OpenAI, **changed: Any) -> Any:
    request: dict[str, Any] = {"model": "tts-1", "voice": "하나", "input": TEXT} | changed
    return client.audio.speech.with_streaming_response.create(**request)


# --- audio ------------------------------------------------------------------------------------------


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_what_it_says(house: House, client: openai.OpenAI, tmp_path: Path, form: str) -> None:
    with streamed(client, response_format=form) as answer:
        data, headers = answer.read(), answer.headers
    media_type, codec = FORMATS[form]
    assert headers["content-type"] == media_type
    assert headers["x-moksori-engine"] == "mock"
    assert "content-encoding" not in headers
    shown, audio = probe(data, tmp_path)
    rate = 48_000 if form == "opus" else 24_000  # Opus is always played at 48 kHz
    assert (shown["codec_name"], int(shown["sample_rate"]), shown["channels"]) == (codec, rate, 1)
    take = house.generation(headers["x-moksori-generation"])["take"]  # type: ignore[index]
    assert len(audio) / 24_000 == pytest.approx(take["seconds"], abs=0.15)
    assert tone(audio) == pytest.approx(house.tones["하나"], rel=0.01)


def test_pcm_is_24_khz_without_a_header(house: House, client: openai.OpenAI) -> None:
    with streamed(client, response_format="pcm") as answer:
        data, headers = answer.read(), answer.headers
    assert headers["content-type"] == "audio/pcm"
    take = house.generation(headers["x-moksori-generation"])["take"]  # type: ignore[index]
    assert len(data) / 48_000 == pytest.approx(take["seconds"], abs=0.1)
    assert tone(pcm(data)) == pytest.approx(house.tones["하나"], rel=0.01)


def test_a_stream_is_about_as_loud_as_a_take(client: openai.OpenAI) -> None:
    audio = pcm(speech(client, response_format="pcm"))
    assert loudness_lufs(audio, 24_000) == pytest.approx(-19, abs=1)
    assert true_peak_db(audio) <= -1.4


def test_mp3_is_the_default(client: openai.OpenAI) -> None:
    data = speech(client)
    assert data[0] == 0xFF
    assert data[1] & 0xE0 == 0xE0


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_changes_the_length_and_not_the_pitch(
    house: House, client: openai.OpenAI, speed: float
) -> None:
    plain = pcm(speech(client, response_format="pcm"))
    other = pcm(speech(client, response_format="pcm", speed=speed))
    silence = 0.65  # the pause between the sentences, and both ends: only a stretch changes them
    spoken = min(2.0, max(0.5, speed))
    said = len(plain) / 24_000 - silence
    expected = (said / spoken + silence) * spoken / speed
    assert len(other) / 24_000 == pytest.approx(expected, rel=0.2)
    assert tone(other) == pytest.approx(house.tones["하나"], rel=0.02)


def test_events_carry_the_same_audio(client: openai.OpenAI) -> None:
    with streamed(client, response_format="pcm", stream_format="sse") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        body = answer.read().decode()
    events = [json.loads(line.removeprefix("data: ")) for line in body.split("\n\n") if line]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    audio = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert audio == speech(client, response_format="pcm")
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage == {
        "input_tokens": len(TEXT),
        "output_tokens": -(-len(audio) // 48_000),
        "total_tokens": usage["input_tokens"] + usage["output_tokens"],
    }


# --- voices -----------------------------------------------------------------------------------------


def test_a_voice_is_an_id_a_name_or_an_alias(house: House, client: openai.OpenAI) -> None:
    first = house.voices["하나"]
    meant: list[tuple[Any, str]] = [
        (first, "하나"),
        ({"id": first}, "하나"),
        ("둘", "둘"),
        ("안내", "둘"),
        ("shimmer", "셋"),
        ("alloy", "하나"),  # OpenAI's name without an alias: the house's first voice
    ]
    for asked, voice in meant:
        heard = tone(pcm(speech(client, voice=asked, response_format="pcm")))
        assert heard == pytest.approx(house.tones[voice], rel=0.01), asked


def test_models_and_voices_are_listed(house: House, client: openai.OpenAI) -> None:
    assert "tts-1" in [model.id for model in client.models.list()]
    assert client.models.retrieve("tts-1").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    headers = {"Authorization": f"Bearer {house.token('viewer')}"}
    voices = httpx.get(f"{house.service.url}/v1/audio/voices", headers=headers).json()["voices"]
    assert {voice["id"] for voice in voices} == {
        *(house.voices[name] for name in PITCHES), "안내", "shimmer",
    }  # fmt: skip
    models = httpx.get(f"{house.service.url}/v1/audio/models", headers=headers).json()["models"]
    assert {"id": "tts-1"} in models
    for path in ("models", "audio/models", "audio/voices"):
        answer = httpx.get(f"{house.service.url}/v1/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "kind", "code", "param"),
    [
        ({"voice": "nobody"}, openai.NotFoundError, "voice_not_found", "voice"),
        ({"voice": "noch nicht"}, openai.NotFoundError, "voice_not_found", "voice"),
        ({"voice": "../../voice_models"}, openai.NotFoundError, "voice_not_found", "voice"),
        ({"input": "가" * 4097}, openai.UnprocessableEntityError, "invalid", "input"),
        ({"input": ""}, openai.UnprocessableEntityError, "invalid", "input"),
        ({"input": " \n"}, openai.UnprocessableEntityError, "invalid", "input"),
        ({"input": "漢字"}, openai.UnprocessableEntityError, "unclear_text", "input"),
        ({"input": "<speak>"}, openai.UnprocessableEntityError, "bad_markup", "input"),
        ({"speed": 5.0}, openai.UnprocessableEntityError, "invalid", "speed"),
        ({"response_format": "midi"}, openai.UnprocessableEntityError, "invalid", "response_format"),
        ({"stream_format": "tape"}, openai.UnprocessableEntityError, "invalid", "stream_format"),
    ],
)
def test_what_cannot_be_is_refused_in_the_clients_own_words(
    client: openai.OpenAI, changed: dict[str, Any], kind: type[openai.APIStatusError], code: str, param: str
) -> None:
    with pytest.raises(kind) as refused:
        speech(client, **changed)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert refused.value.type == "invalid_request_error"
    assert refused.value.request_id
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["message"]


def test_a_token_is_needed_and_may_be_too_small(house: House) -> None:
    with house.openai("mks_nobody") as stranger, pytest.raises(openai.AuthenticationError) as refused:
        speech(stranger)
    assert refused.value.code == "invalid_api_key"
    with house.openai(house.token("viewer")) as viewer, pytest.raises(openai.PermissionDeniedError):
        speech(viewer)


def test_unknown_fields_are_passed_over(client: openai.OpenAI) -> None:
    assert speech(client, instructions="Cheerful.", extra_body={"something": {"new": 1}})


# --- while it is made ---------------------------------------------------------------------------------


def connections(house: House) -> int:
    """Sockets of the service and its workers."""
    service = psutil.Process(house.service.process.pid)
    family = [service, *service.children(recursive=True)]
    return sum(len(each.net_connections("inet")) for each in family)


def test_audio_comes_while_the_rest_is_made_and_a_cut_stops_it(house: House, client: openai.OpenAI) -> None:
    speech(client)
    before = connections(house)
    with streamed(client, input=LONG, response_format="pcm") as answer:
        received = answer.iter_bytes(48_000)
        first = next(received)
        generation = answer.headers["x-moksori-generation"]
        assert house.generation(generation) is None  # far from over
        assert tone(np.trim_zeros(pcm(first))) == pytest.approx(house.tones["하나"], rel=0.05)
    kept = house.until(lambda: house.generation(generation))
    assert (kept["status"], kept["take"]) == ("cancelled", None)
    house.until(lambda: connections(house) <= before)


def test_what_was_said_is_a_generation_like_any_other(house: House, client: openai.OpenAI) -> None:
    with streamed(client, input="내선 번호는 02-1234-5678번입니다.", speed=1.25) as answer:
        answer.read()
        generation_id = answer.headers["x-moksori-generation"]
    kept = house.generation(generation_id)
    assert kept
    assert (kept["status"], kept["interactive"], kept["voice_model_id"]) == (
        "done",
        True,
        house.voices["하나"],
    )
    assert kept["take"]["spoken_text"].startswith("내선 번호는 공이")
    assert kept["take"]["report"]["lufs"] == pytest.approx(-19, abs=0.1)
    with house.service.remote() as remote:
        script = remote.call("GET", f"/voice-actors/tts-scripts/{kept['script_id']}")
        assert (script["title"], script["text"], script["speed"]) == ("OpenAI", kept["text"], 1.25)
        assert script["current_take"]["id"] == kept["take"]["id"]
        again = remote.call("POST", f"/voice-actors/tts-scripts/{script['id']}/generate")
        job = remote.wait_for_generation(again["generation_id"])
    assert job["take"]["sha256"] == kept["take"]["sha256"]  # one way of speaking, not two


def test_twenty_clients_at_once_hear_each_their_own(house: House, client: openai.OpenAI) -> None:
    """Who asked for which voice and text gets that: pitch tells voices, length tells texts."""
    texts = ["안내입니다. " * count for count in (1, 3, 5, 7)]
    lengths = {text: len(speech(client, input=text, response_format="pcm")) for text in texts}
    asked = [(list(PITCHES)[number % 3], texts[number % 4]) for number in range(20)]

    def hear(request: tuple[str, str]) -> bytes:
        with house.openai() as own:
            return speech(own, voice=request[0], input=request[1], response_format="pcm")

    with ThreadPoolExecutor(20) as crowd:
        heard = list(crowd.map(hear, asked))
    for (voice, text), data in zip(asked, heard, strict=True):
        audio = pcm(data)
        assert len(data) == pytest.approx(lengths[text], abs=2400)
        for part in np.array_split(audio, max(1, len(audio) // 24_000)):  # all the way through
            if np.abs(part).max() > 0.05:
                assert tone(part) == pytest.approx(house.tones[voice], rel=0.03)


def test_a_worker_that_dies_cuts_the_audio_and_the_next_one_speaks(
    house: House, client: openai.OpenAI
) -> None:
    service = psutil.Process(house.service.process.pid)
    [worker] = [each for each in service.children() if "app.worker" in each.cmdline()]
    with streamed(client, input=LONG, response_format="pcm") as answer:
        received = answer.iter_bytes(48_000)
        next(received)
        worker.kill()
        with pytest.raises(httpx2.HTTPError):
            list(received)
    data = house.until(lambda: _spoken(client), seconds=30)
    assert samples(data)[1] == 24_000
    log = (house.service.data / "logs" / "app.log").read_text()
    assert "tts.stream_cut" in log
    assert "response already started" not in log


def _spoken(client: openai.OpenAI) -> bytes | None:
    try:
        return speech(client, response_format="wav")
    except openai.APIStatusError:
        return None
