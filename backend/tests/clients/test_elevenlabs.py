"""ElevenLabs' own client against the running service."""

from __future__ import annotations

import io
from itertools import chain
from typing import Any, get_args

import httpx
import numpy as np
import pytest
import soundfile
from elevenlabs import ElevenLabs, VoiceSettings
from elevenlabs.core.api_error import ApiError

from app.clients.elevenlabs.endpoints import OutputFormat
from tests.clients.conftest import LONG, PITCHES, TEXT, House, pcm, samples, tone


def said(eleven: ElevenLabs, voice: str, **changed: Any) -> bytes:
    request: dict[str, Any] = {"text": TEXT, "model_id": "eleven_multilingual_v2"} | changed
    return b"".join(eleven.text_to_speech.convert(voice, **request))


def decoded(data: bytes, name: str) -> tuple[np.ndarray, int]:
    codec, rate, *_ = name.split("_")
    match codec:
        case "pcm":
            return pcm(data), int(rate)
        case "ulaw" | "alaw":
            audio, _ = soundfile.read(
                io.BytesIO(data),
                samplerate=8_000,
                channels=1,
                format="RAW",
                subtype=codec.upper(),
                dtype="float32",
            )
            return audio, 8_000
    return samples(data)


@pytest.mark.parametrize("name", get_args(OutputFormat))
def test_every_output_format_is_what_it_says(house: House, eleven: ElevenLabs, name: str) -> None:
    data = said(eleven, house.voices["둘"], output_format=name)
    audio, rate = decoded(data, name)
    assert rate == int(name.split("_")[1])
    assert len(audio) / rate == pytest.approx(2.46, abs=0.2)
    assert tone(audio, rate) == pytest.approx(house.tones["둘"], rel=0.02)
    if kbps := [*name.split("_"), ""][2]:
        assert len(data) * 8 / (len(audio) / rate) == pytest.approx(int(kbps) * 1000, rel=0.5)


def test_what_is_not_asked_for_is_mp3(house: House, eleven: ElevenLabs) -> None:
    audio, rate = samples(said(eleven, house.voices["하나"]))
    assert (rate, len(audio) > 0) == (44_100, True)


def test_its_wishes_are_followed_or_passed_over(house: House, eleven: ElevenLabs) -> None:
    plain = said(eleven, house.voices["하나"], output_format="pcm_16000")
    fast = said(
        eleven,
        house.voices["하나"],
        output_format="pcm_16000",
        voice_settings=VoiceSettings(speed=1.2, stability=0.5, style=0.1),
        seed=4_000_000_000,
        language_code="ko",
        previous_text="앞",
        apply_text_normalization="on",
        optimize_streaming_latency=3,
    )
    assert len(plain) / 1.35 < len(fast) < len(plain) / 1.05


def test_a_stream_comes_while_the_rest_is_made_and_a_cut_stops_it(house: House) -> None:
    with httpx.Client() as connections:
        eleven = ElevenLabs(
            base_url=f"{house.service.url}/elevenlabs", api_key=house.service.token, httpx_client=connections
        )
        with eleven.text_to_speech.with_raw_response.stream(
            house.voices["셋"], text=LONG, output_format="pcm_24000"
        ) as answer:
            received = answer.data
            first = b"".join(next(received) for _ in range(20))
            generation = answer.headers["x-moksori-generation"]
            assert house.generation(generation) is None
            assert tone(pcm(first)) == pytest.approx(house.tones["셋"], rel=0.05)
    assert house.until(lambda: house.generation(generation))["status"] == "cancelled"


def test_voices_and_models_are_listed(house: House, eleven: ElevenLabs) -> None:
    trained = {house.voices[name]: name for name in PITCHES}
    assert {voice.voice_id: voice.name for voice in eleven.voices.get_all().voices} == trained
    voice = eleven.voices.get(house.voices["둘"])
    assert (voice.name, voice.category) == ("둘", "cloned")
    assert voice.labels == {"gender": "female"}
    pages = [eleven.voices.search(page_size=2)]
    assert (pages[0].has_more, pages[0].total_count) == (True, 3)
    pages.append(eleven.voices.search(page_size=2, next_page_token=pages[0].next_page_token))
    assert not pages[1].has_more
    assert [each.voice_id for each in chain(*(page.voices for page in pages))] == sorted(
        trained, reverse=True
    )
    assert [each.name for each in eleven.voices.search(search="셋").voices] == ["셋"]
    assert [model.can_do_text_to_speech for model in eleven.models.list()] == [True]


@pytest.mark.parametrize(
    ("voice", "changed", "status", "reason"),
    [
        ("nobody", {}, 404, "voice_not_found"),
        ("%2e%2e", {}, 404, "voice_not_found"),
        ("untrained", {}, 404, "voice_not_found"),
        ("하나", {"text": ""}, 422, "invalid"),
        ("하나", {"text": "가" * 5001}, 422, "invalid"),
        ("하나", {"text": "漢"}, 422, "unclear_text"),
        ("하나", {"output_format": "midi_1"}, 422, "invalid"),
    ],
)
def test_what_cannot_be_is_refused_in_its_own_shape(
    house: House, eleven: ElevenLabs, voice: str, changed: dict[str, Any], status: int, reason: str
) -> None:
    with pytest.raises(ApiError) as refused:
        said(eleven, house.voices.get(voice, voice), **changed)
    assert refused.value.status_code == status
    detail = refused.value.body["detail"]
    assert detail["status"] == reason
    assert detail["message"]


def test_a_key_is_needed_and_may_be_too_small(house: House) -> None:
    for token, status in ((None, 401), ("mks_nobody", 401), (house.token("viewer"), 403)):
        with httpx.Client() as connections:
            stranger = ElevenLabs(
                base_url=f"{house.service.url}/elevenlabs", api_key=token or "", httpx_client=connections
            )
            with pytest.raises(ApiError) as refused:
                said(stranger, house.voices["하나"])
        assert refused.value.status_code == status
        assert set(refused.value.body["detail"]) == {"status", "message"}
