"""One script: asked for, spoken, measured, published; or ended with a reason."""

from __future__ import annotations

import io
import wave

import pytest

from app.generation import speaking, workflows
from app.jobs import JobLost, registry
from app.models import Script, Take, VoiceModel
from app.speech.interface import RunawayGeneration, SpeechError
from app.storage.interface import StoreFull
from tests.service import NOBODY, TEXT, Service

PATH = "/voice-actors/tts-scripts"
GENERATIONS = "/voice-actors/tts-generations"


def ask(service: Service, script: str) -> str:
    answer = service.post(f"{PATH}/{script}/generate")
    assert answer.status_code == 202
    shown = answer.json()
    assert shown["status"] == "queued"
    assert answer.headers["location"] == shown["watch"] == f"/api/v1{GENERATIONS}/{shown['generation_id']}"
    return str(shown["generation_id"])


def current(service: Service, script: str) -> str | None:
    return service.row(Script, script).current_take_id


def test_a_script_becomes_a_measured_take(any_service: Service) -> None:
    service = any_service
    script = service.script(text="상담원 연결은 0번을 눌러주세요.")
    generation = ask(service, script)
    assert service.generation(generation)["status"] == "queued"
    service.hands.take(generation)
    assert service.generation(generation)["status"] == "running"
    service.hands.do(generation)
    done = service.generation(generation)
    assert (done["status"], done["failure"], done["interactive"]) == ("done", None, True)
    take = done["take"]
    assert take["spoken_text"] == "상담원 연결은 공 번을 눌러주세요."
    assert (take["engine"], take["simulated"], take["report"]["simulated"]) == ("mock", True, True)
    assert 0 <= take["quality_score"] <= 100
    assert take["report"]["lufs"] == pytest.approx(-19, abs=0.5)  # takes are delivered at a set loudness
    assert take["report"]["lead_silence"] == pytest.approx(0.1, abs=0.03)
    assert {"syllables", "clipping_ratio", "tail_silence", "similarity"} <= set(take["report"])
    assert current(service, script) == take["id"]
    assert service.files("takes") == [service.row(Take, take["id"]).audio_key]


def test_the_same_script_and_seed_are_the_same_bytes(service: Service) -> None:
    script = service.script()
    first, second = service.generate(script)["take"], service.generate(script)["take"]
    assert first["sha256"] == second["sha256"]
    assert first["id"] != second["id"]
    assert service.put(f"{PATH}/{script}", json={"seed": 1}).status_code == 200
    assert service.generate(script)["take"]["sha256"] != first["sha256"]


def test_speed_makes_it_shorter_and_longer(service: Service) -> None:
    script = service.script()
    seconds = {}
    for speed in (0.5, 1.0, 2.0):
        service.put(f"{PATH}/{script}", json={"speed": speed})
        seconds[speed] = service.generate(script)["take"]["seconds"]
    assert seconds[0.5] > 1.7 * seconds[1.0] > 3 * seconds[2.0]


def test_interactive_goes_before_every_batch(any_service: Service) -> None:
    service = any_service
    model = service.model()
    service.batch([service.script(model) for _ in range(3)])
    generation = ask(service, service.script(model))
    assert service.hands.queued()[0] == generation


def test_the_later_request_wins_whatever_ends_first(any_service: Service) -> None:
    service = any_service
    script = service.script()
    first, second = ask(service, script), ask(service, script)
    service.hands.do(second)
    newest = current(service, script)
    service.hands.do(first)  # late: its take is kept, and does not become the current one
    assert service.generation(first)["status"] == "done"
    assert current(service, script) == newest == service.generation(second)["take"]["id"]
    assert service.count(Take) == 2


def test_a_voice_must_be_trained_first(any_service: Service) -> None:
    service = any_service
    script = service.script(service.model(ready=False))
    refused = service.post(f"{PATH}/{script}/generate")
    assert (refused.status_code, refused.json()["code"]) == (409, "voice_not_ready")
    assert service.hands.queued() == []


def test_a_model_in_training_speaks_with_its_last_good_state(service: Service) -> None:
    model = service.model()
    script = service.script(model)
    assert service.post(f"/voice-actors/models/{model}/train").status_code == 202
    assert service.generate(script)["status"] == "done"


def failed(service: Service, generation: str) -> str:
    shown = service.generation(generation)
    assert (shown["status"], shown["take"]) == ("failed", None)
    assert shown["failure"]["message"]
    assert shown["failure"]["fix"]
    assert service.files("takes") == []
    return str(shown["failure"]["code"])


def test_characters_that_cannot_be_read_are_named(any_service: Service) -> None:
    service = any_service
    script = service.script(text="안녕하세요 漢 입니다.")
    shown = service.generate(script)
    assert failed(service, shown["id"]) == "unclear_text"
    [unclear] = shown["failure"]["unclear"]
    assert (unclear["written"].strip(), unclear["end"]) == ("漢", 7)


def test_best_effort_speaks_what_it_can(service: Service) -> None:
    object.__setattr__(service.container.settings, "best_effort", True)
    assert service.generate(service.script(text="안녕하세요 漢 입니다."))["status"] == "done"


def test_a_text_of_signs_alone_fails_with_a_reason(service: Service) -> None:
    shown = service.generate(service.script(text="..."))
    assert failed(service, shown["id"])


def test_a_voice_whose_files_are_gone_fails_with_a_reason(service: Service) -> None:
    script = service.script()
    for key in service.files("models"):
        service.container.store.delete("models", key)
    assert failed(service, service.generate(script)["id"]) == "file_missing"


def test_a_damaged_voice_fails_with_a_reason(service: Service) -> None:
    script = service.script()
    for key in service.files("models"):
        service.container.store.put("models", key, io.BytesIO(b"garbage"))
    assert failed(service, service.generate(script)["id"]) == "voice_unusable"


def test_a_full_disk_fails_the_generation_and_leaves_nothing(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = any_service
    script = service.script()
    store = service.container.store

    def full(*_: object, **__: object) -> None:
        raise StoreFull("takes")

    with monkeypatch.context() as disk:
        disk.setattr(store, "put", full)
        shown = service.generate(script)
    assert failed(service, shown["id"]) == "storage_full"
    assert service.generate(script)["status"] == "done"


class Passing(SpeechError):
    retry = True


class Flaky:
    """`speak` fails so many times before it works."""

    def __init__(self, service: Service, error: SpeechError, times: int) -> None:
        self.speak, self.error, self.left = service.container.speaker.speak, error, times
        self.calls = 0

    def __call__(self, *arguments: object) -> object:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return self.speak(*arguments)  # type: ignore[arg-type]


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows.JobContext, "wait", lambda *_: None)


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize(
    ("error", "times", "calls", "status"),
    [
        (Passing("The engine was closed."), 2, 3, "done"),
        (Passing("The engine was closed.", "Wait a little."), 3, 3, "failed"),
        (RunawayGeneration("It ran on.", "Shorten it."), 1, 1, "failed"),  # the engine has tried other seeds
        (SpeechError("This cannot be spoken.", "Write words."), 1, 1, "failed"),
    ],
)
def test_what_another_try_may_mend_is_tried_again(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: SpeechError, times: int, calls: int, status: str
) -> None:
    flaky = Flaky(service, error, times)
    monkeypatch.setattr(service.container.speaker, "speak", flaky)
    shown = service.generate(service.script())
    assert (shown["status"], flaky.calls) == (status, calls)


def test_a_fault_ends_as_a_failure(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service = any_service
    monkeypatch.setattr(speaking, "measure_take", lambda *_, **__: 1 / 0)
    generation = ask(service, service.script())
    service.hands.do(generation)
    assert failed(service, generation) == "internal_error"
    monkeypatch.undo()
    service.fix()  # writes down what the job said
    assert failed(service, generation) == "internal_error"


def test_a_job_that_is_gone_is_a_failure(any_service: Service) -> None:
    service = any_service
    generation = ask(service, service.script())
    service.lose_job(generation)
    assert failed(service, generation) == "job_lost"


def test_an_execution_that_lost_its_job_publishes_nothing(any_service: Service) -> None:
    """A worker that was taken for dead comes back: its take is refused, another's is kept."""
    service = any_service
    script = service.script()
    generation = ask(service, script)
    name, arguments, stale = service.hands.take(generation)
    service.hands.do(generation)  # another worker
    take = current(service, script)
    registry.jobs[name].function(stale, **arguments)  # sees that it is over
    with pytest.raises(JobLost), stale.publishing():
        pass
    assert (current(service, script), service.count(Take)) == (take, 1)


def test_a_generation_repeated_after_a_crash_makes_one_take(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between storing the file and the commit: one take, and one stray file to sweep."""
    service = any_service
    script = service.script()
    generation = ask(service, script)

    class Killed(BaseException):
        pass

    def killed(**_: object) -> None:
        raise Killed

    with monkeypatch.context() as kill:
        kill.setattr(speaking, "Take", killed)
        with pytest.raises(Killed):
            service.hands.do(generation)
    assert service.count(Take) == 0
    service.hands.do(generation)
    assert service.generation(generation)["status"] == "done"
    assert (service.count(Take), len(service.files("takes"))) == (1, 2)
    object.__setattr__(service.container.settings, "orphan_seconds", 0.0)
    service.fix()
    assert service.files("takes") == [service.row(Take, current(service, script) or "").audio_key]


def test_a_script_deleted_while_it_is_spoken(any_service: Service) -> None:
    service = any_service
    script = service.script()
    generation = ask(service, script)
    service.hands.take(generation)
    assert service.delete(f"{PATH}/{script}").status_code == 204
    service.hands.do(generation)
    assert (service.count(Take), service.files("takes")) == (0, [])


def test_the_text_of_the_request_is_spoken(service: Service) -> None:
    """A change made while a generation waits is the next one's."""
    script = service.script()
    generation = ask(service, script)
    service.put(f"{PATH}/{script}", json={"text": "다른 안내입니다."})
    service.hands.do(generation)
    assert service.generation(generation)["take"]["text"] == TEXT


def test_a_take_says_which_version_of_the_voice_spoke(service: Service) -> None:
    model = service.model()
    script = service.script(model)
    with service.container.database.session() as session:
        session.get(VoiceModel, model).version = 7
    assert service.generate(script)["take"]["model_version"] == 7


@pytest.mark.parametrize("generation_id", [NOBODY, "nonsense", "%00"])
def test_an_unknown_generation_is_not_there(service: Service, generation_id: str) -> None:
    for path in ("", "/audio"):
        answer = service.get(f"{GENERATIONS}/{generation_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "generation_not_found")


# --- audio ----------------------------------------------------------------------------------------


@pytest.fixture
def audio(service: Service) -> str:
    """The address of a take's audio."""
    return f"{GENERATIONS}/{service.generate(service.script())['id']}/audio"


def test_audio_is_a_wav(service: Service, audio: str) -> None:
    answer = service.get(audio)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 24_000)
    assert service.get(audio, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    ("form", "media_type", "magic"),
    [
        ("wav", "audio/wav", b"RIFF"),
        ("flac", "audio/flac", b"fLaC"),
        ("mp3", "audio/mpeg", b""),
        ("ogg", "audio/ogg", b"OggS"),
        ("ulaw", "audio/basic", b""),
        ("alaw", None, b""),
    ],
)
def test_audio_comes_in_every_format(
    service: Service, audio: str, form: str, media_type: str | None, magic: bytes
) -> None:
    plain, preview = (
        service.get(audio, params={"format": form} | more) for more in ({}, {"preview": "phone"})
    )
    assert plain.status_code == preview.status_code == 200
    assert media_type in (None, plain.headers["content-type"])
    assert plain.content.startswith(magic)
    assert preview.content.startswith(magic)
    assert plain.headers["etag"] != preview.headers["etag"]
    assert plain.headers["content-disposition"].endswith(f'.{form}"')
    assert service.get(audio, params={"format": form}).content == plain.content


def test_a_range_of_any_format_is_its_bytes(service: Service, audio: str) -> None:
    for form in ("wav", "flac"):
        whole = service.get(audio, params={"format": form}).content
        part = service.get(audio, params={"format": form}, headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, whole[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"


@pytest.mark.parametrize("params", [{}, {"format": "flac", "preview": "phone"}])
def test_a_head_of_the_audio_is_its_head(service: Service, audio: str, params: dict[str, str]) -> None:
    head, whole = (service.request(method, audio, params=params) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize("params", [{"format": "aac"}, {"format": ""}, {"preview": "radio"}])
def test_another_format_is_refused(service: Service, audio: str, params: dict) -> None:
    assert service.get(audio, params=params).status_code == 422


def test_a_generation_without_a_take_has_no_audio(service: Service) -> None:
    script = service.script(text="漢")
    generation = ask(service, script)
    early = service.get(f"{GENERATIONS}/{generation}/audio")
    assert (early.status_code, early.json()["code"], early.json()["status_now"]) == (
        409,
        "not_spoken_yet",
        "queued",
    )
    assert early.headers["retry-after"] == "1"
    service.hands.do_all()
    answer = service.get(f"{GENERATIONS}/{generation}/audio")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_take")
    assert answer.json()["detail"] == service.generation(generation)["failure"]["message"]


def test_a_generation_is_cancelled_unless_it_is_over(any_service: Service) -> None:
    service = any_service
    script = service.script()
    service.generate(script)
    kept = service.row(Script, script).current_take_id
    open_one = ask(service, script)
    for _ in range(2):
        stopped = service.post(f"{GENERATIONS}/{open_one}/cancel")
        assert (stopped.status_code, stopped.json()["status"]) == (200, "cancelled")
    assert service.hands.queued() == []
    assert service.row(Script, script).current_take_id == kept
    done = service.row(Take, kept).generation_id
    assert service.post(f"{GENERATIONS}/{done}/cancel").json()["status"] == "done"
    assert service.post(f"{GENERATIONS}/{NOBODY}/cancel").status_code == 404


def test_a_deleted_script_leaves_nothing_in_line(any_service: Service) -> None:
    service = any_service
    script = service.script()
    ask(service, script)
    assert service.delete(f"/voice-actors/tts-scripts/{script}").status_code == 204
    assert service.hands.queued() == []


def test_audio_whose_file_is_gone_says_so(service: Service, audio: str) -> None:
    service.container.store.delete("takes", service.files("takes")[0])
    for params in ({}, {"format": "mp3"}):
        answer = service.get(audio, params=params)
        assert (answer.status_code, answer.json()["code"]) == (404, "take_file_missing")


def test_audio_whose_file_was_damaged_is_no_fault(service: Service, audio: str) -> None:
    [key] = service.files("takes")
    length = service.container.store.stat("takes", key).bytes
    for data in (b"RIFF and nothing more", b"x" * length):
        service.container.store.put("takes", key, io.BytesIO(data))
        answer = service.get(audio, params={"format": "mp3"})
        assert (answer.status_code, answer.json()["code"]) == (404, "take_file_altered")
    service.container.store.put("takes", key, io.BytesIO(b"shorter than it was"))
    assert service.get(audio).json()["code"] == "take_file_altered"
