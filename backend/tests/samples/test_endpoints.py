from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.audio import decode
from app.models import Sample
from tests.service import API, NOBODY, TEXT, Service, buzz, wav


def clean(service: Service) -> bool:
    """Whether an upload left nothing behind: no row, no file, no draft."""
    inbox = service.container.settings.state_dir / "inbox"
    drafts = list(inbox.rglob("*")) if inbox.exists() else []
    return (service.count(Sample), service.files("samples"), drafts) == (0, [], [])


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")],
)
def test_recordings_of_every_kind_are_kept_twice(service: Service, kind: str, subtype: str | None) -> None:
    actor = service.actor()
    data = wav(kind=kind, subtype=subtype)
    made = service.upload(actor, data, TEXT, name=f"sample.{kind.lower()}")
    assert made.status_code == 201, made.text
    sample = made.json()
    assert sample["text_content"] == TEXT
    assert sample["seconds"] == pytest.approx(2.0, abs=0.1)
    assert (sample["channels"], sample["bytes"]) == (1, len(data))
    path = f"/voice-actors/{actor}/samples/{sample['id']}"
    assert service.get(path).json() == sample
    with wave.open(io.BytesIO(service.get(f"{path}/audio").content)) as checked:
        assert (checked.getnchannels(), checked.getsampwidth()) == (1, 2)
    original = {"params": {"original": True}}
    assert service.get(f"{path}/audio", **original).content == data
    head = service.request("HEAD", f"{path}/audio", **original)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))


def test_an_upload_is_decoded_in_a_process_of_its_own(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    run = decode.subprocess.run

    def watched(argv: list[str], **options):
        started.append(argv)
        return run(argv, **options)

    monkeypatch.setattr(decode, "_run_child", CHILD)
    monkeypatch.setattr(decode.subprocess, "run", watched)
    assert service.upload(service.actor()).status_code == 201
    assert [argv[-1] for argv in started] == ["app.audio.decode_child"]


CHILD = decode._run_child


def test_a_sample_is_measured_by_a_worker(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    made = service.upload(actor, text=TEXT).json()
    assert (made["verdict"], made["report"]) == (None, None)
    service.hands.do_all("samples.measure")
    sample = service.get(f"/voice-actors/{actor}/samples/{made['id']}").json()
    assert sample["verdict"] == "good"
    assert {"lufs", "peak_db", "clipping_ratio", "snr_db", "bandwidth_hz", "pitch_median"} <= set(
        sample["report"]
    )


def test_a_bad_recording_is_kept_and_says_what_is_wrong(service: Service) -> None:
    actor = service.actor()
    noise = np.random.default_rng(3).normal(size=32_000).astype(np.float32) * 0.05
    made = service.upload(actor, wav(noise)).json()
    service.hands.do_all()
    sample = service.get(f"/voice-actors/{actor}/samples/{made['id']}").json()
    assert sample["verdict"] == "rejected"
    reason = sample["report"]["reasons"][0]
    assert reason["code"]
    assert reason["ko"]
    assert reason["en"]


def test_a_measurement_of_a_broken_file_says_so(service: Service) -> None:
    actor = service.actor()
    sample = service.upload(actor).json()["id"]
    service.container.store.put("samples", service.row(Sample, sample).wav_key, io.BytesIO(b"RIFF"))
    [job] = service.hands.queued("samples.measure")
    service.hands.do(job)
    assert service.container.jobs.states([job])[job].error_code == "sample_file_altered"


def test_a_measurement_of_a_deleted_sample_is_dropped(service: Service) -> None:
    actor = service.actor()
    sample = service.upload(actor).json()
    assert service.delete(f"/voice-actors/{actor}/samples/{sample['id']}").status_code == 204
    assert service.hands.do_all() == 1
    assert not service.findings().keys() & {"sample_unmeasured", "sample_file_missing", "stray_file"}


def test_the_same_bytes_are_one_sample(any_service: Service) -> None:
    service = any_service
    actor, data = service.actor(), wav()
    first = service.upload(actor, data, "하나", name="a.wav")
    second = service.upload(actor, data, "둘", name="b.wav")
    third = service.upload(actor, data)
    assert [answer.status_code for answer in (first, second, third)] == [201, 200, 200]
    assert first.json()["id"] == second.json()["id"] == third.json()["id"]
    assert third.json()["text_content"] == "둘"  # the later transcript, but never none in its place
    assert (service.count(Sample), len(service.files("samples"))) == (1, 2)
    assert service.upload(service.actor("다른"), data).status_code == 201


def test_another_transcript_is_measured_anew(service: Service) -> None:
    actor, data = service.actor(), wav()
    service.upload(actor, data, "하나")
    assert service.hands.do_all("samples.measure") == 1
    for text, measured in (("하나", 0), ("", 0), (TEXT, 1)):
        sample = service.upload(actor, data, text).json()["id"]
        assert service.hands.do_all("samples.measure") == measured
    report = service.get(f"/voice-actors/{actor}/samples/{sample}").json()["report"]
    fresh = service.upload(service.actor("다른"), data, TEXT).json()
    service.hands.do_all("samples.measure")
    assert (
        report
        == service.get(f"/voice-actors/{fresh['voice_actor_id']}/samples/{fresh['id']}").json()["report"]
    )


def test_the_same_bytes_at_once_are_one_sample(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.samples import service as samples

    service = any_service
    actor, data = service.actor(), wav()
    first = service.upload(actor, data).json()
    real, looks = samples._same, []

    def late(*arguments):
        looks.append(1)
        return None if len(looks) == 1 else real(*arguments)

    monkeypatch.setattr(samples, "_same", late)
    second = service.upload(actor, data)
    assert (second.status_code, second.json()["id"]) == (200, first["id"])
    assert len(service.files("samples")) == 2


@pytest.mark.parametrize("which", ["wav_key", "original_key"])
def test_uploading_again_brings_back_a_file_that_went_missing(any_service: Service, which: str) -> None:
    service = any_service
    actor, data = service.actor(), wav()
    sample = service.upload(actor, data, TEXT).json()
    service.hands.do_all()
    service.container.store.delete("samples", getattr(service.row(Sample, sample["id"]), which))
    path = f"/voice-actors/{actor}/samples/{sample['id']}/audio"
    gone = service.get(path, params={"original": which == "original_key"})
    assert (gone.status_code, gone.json()["code"]) == (404, "sample_file_missing")
    assert "Sample file not found" in gone.json()["title"]
    assert service.findings()["sample_file_missing"]["subjects"] == [sample["id"]]
    again = service.upload(actor, data)
    assert (again.status_code, again.json()["id"], again.json()["text_content"]) == (200, sample["id"], TEXT)
    assert service.get(path).status_code == 200
    assert service.get(path, params={"original": True}).content == data
    assert len(service.files("samples")) == 2
    assert "sample_file_missing" not in service.findings()


def stereo(channels: int) -> bytes:
    return wav(np.stack([buzz()] * channels, axis=1))


def test_uploading_again_puts_an_altered_file_right(any_service: Service) -> None:
    service = any_service
    actor, data = service.actor(), wav()
    sample = service.upload(actor, data).json()["id"]
    service.container.store.put("samples", service.row(Sample, sample).wav_key, io.BytesIO(b"other"))
    assert service.findings()["sample_file_altered"]["subjects"] == [sample]
    assert service.upload(actor, data).json()["id"] == sample
    assert "sample_file_altered" not in service.findings()


REFUSED = {
    "nothing": (b"", "not_audio"),
    "not audio": (b"GIF89a" + bytes(1000), "not_audio"),
    "text": ("안녕하세요".encode() * 100, "not_audio"),
    "truncated": (wav()[:20_000], "truncated"),
    "truncated flac": (wav(kind="FLAC")[:20_000], "truncated"),
    "silent": (wav(np.zeros(32_000, np.float32)), "silent"),
    "short": (wav(buzz(0.49)), "too_short"),
    "three channels": (stereo(3), "too_many_channels"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_recording_is_refused_and_leaves_nothing(service: Service, what: str) -> None:
    data, code = REFUSED[what]
    refused = service.upload(service.actor(), data)
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert refused.json()["detail"]
    assert clean(service)


def test_over_two_hours_is_refused(service: Service) -> None:
    silent = np.zeros(8_000 * 7_201, np.int16)
    silent[:8_000] = 3_000
    file = io.BytesIO()
    soundfile.write(file, silent, 8_000, format="FLAC", subtype="PCM_16")
    refused = service.upload(service.actor(), file.getvalue())
    assert (refused.status_code, refused.json()["code"]) == (422, "too_long")
    assert clean(service)


def test_what_unpacks_far_beyond_its_size_is_refused(service: Service) -> None:
    silent = np.zeros(48_000 * 600, np.int16)
    silent[:4_800] = 3_000
    file = io.BytesIO()
    soundfile.write(file, silent, 48_000, format="FLAC", subtype="PCM_16")
    assert len(file.getvalue()) < 150_000
    refused = service.upload(service.actor(), file.getvalue())
    assert (refused.status_code, refused.json()["code"]) == (422, "expands_too_far")
    assert clean(service)


def test_two_channels_are_mixed_to_one(service: Service) -> None:
    made = service.upload(service.actor(), stereo(2))
    assert (made.status_code, made.json()["channels"]) == (201, 2)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../etc/passwd.wav", "passwd.wav"),
        ("..\\..\\boot.wav", "boot.wav"),
        ("..", ".."),
        ("가" * 300 + ".wav", "가" * 200),
        ("  ", "recording"),
        ("/", "recording"),
    ],
)
def test_a_file_name_is_only_a_label(service: Service, name: str, label: str) -> None:
    made = service.upload(service.actor(), name=name)
    assert (made.status_code, made.json()["file_name"]) == (201, label)
    root = service.container.settings.data_dir
    assert not list(Path(root.parent).glob("*passwd*"))
    assert all(NAME_OF_OURS.isdisjoint(key) for key in service.files("samples"))


NAME_OF_OURS = set("가 \\\t")


@pytest.mark.parametrize(
    ("disposition", "status"),
    [
        ('form-data; name="audio_file"; filename="a\0b.wav"', 201),
        ('form-data; name="audio_file"; filename=""', None),
        ('form-data; name="audio_file"', 422),
        ('form-data; name="other"; filename="a.wav"', 422),
        ("form-data; name=\"audio_file\"; filename*=utf-8''%00..%2f", None),
    ],
)
def test_multipart_bodies_made_by_hand(service: Service, disposition: str, status: int | None) -> None:
    """NUL, no name, no file: a clear answer, whatever the parser makes of it."""
    body = b"--cut\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + wav() + b"\r\n--cut--\r\n"
    answer = service.post(
        f"/voice-actors/{service.actor()}/samples",
        content=body,
        headers={"Content-Type": "multipart/form-data; boundary=cut"},
    )
    assert answer.status_code == status if status else answer.status_code in (201, 400, 422)
    if answer.status_code == 201:
        assert "\0" not in answer.json()["file_name"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--cut",
        b"--cut\r\n\r\n",
        b"--cut\r\nContent-Disposition: form-data\r\n\r\nx\r\n--cut--",
        b"\xff" * 99,
    ],
)
def test_a_body_that_is_no_form_is_refused(service: Service, body: bytes) -> None:
    path = f"/voice-actors/{service.actor()}/samples"
    headers = {"Content-Type": "multipart/form-data; boundary=cut"}
    answer = service.post(path, content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("bad_request", "invalid")


@pytest.mark.parametrize("text", ["가" * 5001, "a\0b"])
def test_a_transcript_has_a_form_too(service: Service, text: str) -> None:
    refused = service.upload(service.actor(), text=text)
    assert refused.status_code == 422
    assert "text_content" in refused.text
    assert clean(service)


@pytest.mark.parametrize("actor_id", [NOBODY, "nonsense", "%00"])
def test_an_unknown_actor_has_no_samples(service: Service, actor_id: str) -> None:
    assert service.upload(actor_id).status_code == 404
    for path in ("", f"/{NOBODY}", f"/{NOBODY}/audio"):
        assert service.get(f"/voice-actors/{actor_id}/samples{path}").status_code == 404
    assert clean(service)


def test_a_sample_is_its_actors_alone(any_service: Service) -> None:
    service = any_service
    actor, other = service.actor(), service.actor("다른")
    sample = service.upload(actor).json()["id"]
    for sample_id in (sample, NOBODY, "nonsense"):
        for path in (f"/{sample_id}", f"/{sample_id}/audio"):
            answer = service.get(f"/voice-actors/{other}/samples{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "sample_not_found")
        assert service.delete(f"/voice-actors/{other}/samples/{sample_id}").status_code == 404
    assert service.get(f"/voice-actors/{other}/samples").json()["items"] == []
    assert [each["id"] for each in service.get(f"/voice-actors/{actor}/samples/").json()["items"]] == [sample]


def test_a_deleted_sample_takes_its_files_along(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    sample = service.upload(actor).json()["id"]
    assert service.delete(f"/voice-actors/{actor}/samples/{sample}").status_code == 204
    assert clean(service)
    assert service.get(f"/voice-actors/{actor}/samples/{sample}").status_code == 404


def test_an_upload_over_the_limit_is_refused(service: Service) -> None:
    """The size that the header promises is enough; nobody has to send 200 MB for the test."""
    answer = service.client.post(
        f"{API}/voice-actors/{service.actor()}/samples",
        headers={
            "Authorization": f"Bearer {service.token('producer')}",
            "Content-Type": "multipart/form-data; boundary=cut",
            "Content-Length": str(203 * 2**20),
        },
        content=b"--cut",
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_file_over_the_limit_is_refused(service: Service) -> None:
    object.__setattr__(service.container.settings, "upload_max_bytes", 10_000)
    refused = service.upload(service.actor())
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert clean(service)
