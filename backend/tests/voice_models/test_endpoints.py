from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from anyio.to_thread import current_default_thread_limiter

from app.deps import Container
from app.models import Sample, TrainingRun, VoiceModel
from app.speech.speaker import SpeakingCancelled
from app.voice_models import endpoints
from app.voice_models import service as models
from app.voice_models.training import StepLog
from tests.service import API, NOBODY, Service, buzz, wav

PATH = "/voice-actors/models"
STEP = {"name": "condition", "seconds": 0.0, "used": {}, "figures": {}}


def status(service: Service, model_id: str) -> str:
    answer = service.get(f"{PATH}/{model_id}")
    assert answer.status_code == 200
    return str(answer.json()["status"])


def train(service: Service, model_id: str) -> str:
    answer = service.post(f"{PATH}/{model_id}/train")
    assert (answer.status_code, answer.json()["status"]) == (202, "training")
    return str(answer.json()["training_run_id"])


def with_sample(service: Service) -> str:
    """A model that can be trained."""
    actor = service.actor()
    service.upload(actor)
    return service.model(actor, ready=False)


def test_a_model_is_made_and_trained_as_the_guide_says(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    service.upload(actor)
    body = {"voice_actor_id": actor, "model_name": "테스트 모델 v1.0"}
    made = service.post(PATH, json=body)
    assert made.status_code == 201
    assert {name: made.json()[name] for name in body} == body
    model = made.json()["id"]
    assert made.json()["status"] == "pending"
    run = train(service, model)
    assert status(service, model) == "training"
    service.hands.take(run)  # a worker has it
    assert status(service, model) == "training"
    service.hands.do(run)
    ready = service.get(f"{PATH}/{model}").json()
    assert (ready["status"], ready["engine"], ready["version"]) == ("ready", "mock", 1)
    assert 0 <= ready["quality_score"] <= 100
    assert ready["report"]["simulated"] is True
    parts = ready["report"]["quality"]["parts"]
    score = sum(part["score"] * part["weight"] for part in parts)
    assert ready["quality_score"] == pytest.approx(score, abs=0.2)  # from its parts, nothing else
    assert sorted(key.rsplit("/", 1)[-1] for key in service.files("models")) == [
        "voice.json",
        "voice.safetensors",
    ]


def test_training_is_nowhere_stored(any_service: Service) -> None:
    """Whatever becomes of the job, the model's state follows: nothing can be stuck."""
    service = any_service
    model = with_sample(service)
    run = train(service, model)
    service.lose_job(run)
    shown = service.get(f"{PATH}/{model}").json()
    assert (shown["status"], shown["failure"]["code"]) == ("failed", "training_lost")
    assert shown["failure"]["fix"]
    train(service, model)
    assert status(service, model) == "training"


def test_a_training_under_way_is_not_started_twice(any_service: Service) -> None:
    service = any_service
    model = with_sample(service)
    first = train(service, model)
    assert train(service, model) == first
    service.hands.take(first)
    assert train(service, model) == first
    assert (len(service.hands.queued("voice_models.train")), service.count(TrainingRun)) == (0, 1)
    service.hands.do(first)
    assert train(service, model) != first


def test_a_model_without_samples_fails_with_a_reason(any_service: Service) -> None:
    service = any_service
    model = service.model(ready=False)
    service.hands.do(train(service, model))
    shown = service.get(f"{PATH}/{model}").json()
    assert (shown["status"], shown["failure"]["code"]) == ("failed", "no_samples")


def test_rejected_samples_are_not_trained_on(service: Service) -> None:
    actor = service.actor()
    quiet = service.upload(actor, wav(buzz(level=0.002))).json()
    model = service.model(actor, ready=False)
    service.hands.do_all()
    assert service.get(f"/voice-actors/{actor}/samples/{quiet['id']}").json()["verdict"] == "rejected"
    service.hands.do(train(service, model))
    assert service.get(f"{PATH}/{model}").json()["failure"]["code"] == "no_usable_sample"
    service.upload(actor)
    service.hands.do(train(service, model))
    shown = service.get(f"{PATH}/{model}").json()
    assert shown["status"] == "ready"
    assert quiet["id"] not in [each["id"] for each in shown["report"]["samples"]]


def test_files_deleted_behind_the_back_are_told_and_left_out(service: Service) -> None:
    actor = service.actor()
    lost, kept = service.sample(actor), service.sample(actor)
    model = service.model(actor, ready=False)
    for key in service.files("samples"):
        if lost["id"] in key:
            service.container.store.delete("samples", key)
    service.hands.do(train(service, model))
    assert status(service, model) == "ready"
    for key in service.files("samples"):
        service.container.store.delete("samples", key)
    service.hands.do(train(service, model))
    shown = service.get(f"{PATH}/{model}").json()
    assert (shown["status"], shown["failure"]["code"]) == ("failed", "sample_file_missing")
    assert "Sample file not found" in shown["failure"]["message"]
    assert shown["version"] == 1  # the last good state is still there
    assert kept["id"] != lost["id"]


def test_a_broken_file_is_left_out_measured_or_not(service: Service) -> None:
    actor = service.actor()
    service.sample(actor)
    for measured in (True, False):
        broken = service.sample(actor, measured=measured)["id"]
        service.container.store.put("samples", service.row(Sample, broken).wav_key, io.BytesIO(b"RIFF"))
    model = service.model(actor, ready=False)
    service.hands.do(train(service, model))
    assert status(service, model) == "ready"


def test_reset_puts_the_last_good_state_back(any_service: Service) -> None:
    """The guide's way out of a training that hangs."""
    service = any_service
    model = service.model()
    before = service.row(VoiceModel, model).state_key
    run = train(service, model)
    name, arguments, context = service.hands.take(run)
    reset = service.put(f"{PATH}/{model}", json={"status": "ready"})
    assert (reset.status_code, reset.json()["status"]) == (200, "ready")
    assert service.row(TrainingRun, run).outcome == "stopped"
    from app.jobs import JobLost, registry

    with pytest.raises(JobLost):  # the worker may go on for a while, and publishes nothing
        context.check()
    registry.jobs[name].function(context, **arguments)
    assert service.row(VoiceModel, model).state_key == before
    assert status(service, model) == "ready"


def test_a_first_training_is_stopped(any_service: Service) -> None:
    service = any_service
    model = with_sample(service)
    run = train(service, model)
    refused = service.put(f"{PATH}/{model}", json={"status": "ready"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_good_state")
    assert "cancel" in refused.json()["detail"]
    for _ in range(2):
        stopped = service.post(f"{PATH}/{model}/cancel")
        assert (stopped.status_code, stopped.json()["status"]) == (200, "pending")
    assert service.row(TrainingRun, run).outcome == "stopped"
    assert run not in service.hands.queued()
    service.hands.do(train(service, model))
    assert service.post(f"{PATH}/{model}/cancel").json()["status"] == "ready"


def test_who_waits_for_a_training_hears_that_it_was_stopped(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before is no answer to how this one went."""
    model = service.model()
    really_over = endpoints._is_over

    def stopped_meanwhile(container: Container, run: str) -> bool:
        with container.database.session() as session:
            models.cancel(container, session, model)
        return really_over(container, run)

    def at_a_step(container: Container, run: str) -> bool:
        with container.database.session() as session:
            row = session.get(TrainingRun, run)
            row.steps = [{**STEP, "status": "ok"}, {**STEP, "status": "running"}]  # type: ignore[union-attr]
        return stopped_meanwhile(container, run)

    for is_over, steps in ((stopped_meanwhile, []), (at_a_step, ["ok", "stopped"])):
        monkeypatch.setattr(endpoints, "_is_over", is_over)
        answer = service.post(f"{PATH}/{model}/debug-train")
        assert (answer.status_code, answer.json()["code"]) == (409, "training_stopped")
        assert [step["status"] for step in answer.json()["steps"]] == steps


@pytest.mark.parametrize(("error", "status"), [(SpeakingCancelled("x"), "stopped"), (ValueError(), "failed")])
def test_a_step_that_was_stopped_did_not_fail(service: Service, error: Exception, status: str) -> None:
    with service.container.database.session() as session:
        run = models.train(service.container, session, service.model()).id
    with pytest.raises(type(error)), StepLog(service.container, run).step("condition"):
        raise error
    assert [step["status"] for step in service.row(TrainingRun, run).steps] == [status]


def test_models_are_found_by_what_they_are_called(any_service: Service) -> None:
    service = any_service
    first, second = (service.model(service.actor(name)) for name in ("김하늘", "이바다"))
    service.put(f"{PATH}/{first}", json={"model_name": "낮"})
    object.__setattr__(service.container.settings, "voice_aliases", {"house": "낮"})

    def named(name: str) -> set[str]:
        return {each["id"] for each in service.get(PATH, params={"name": name}).json()["items"]}

    for name in (first, "house", "낮", "김하늘"):
        assert named(name) == {first}
    service.put(f"{PATH}/{second}", json={"model_name": "낮"})
    assert named("낮") == named("house") == {first, second}
    assert named("") == named("밤") == set()


def test_reset_after_a_failure(any_service: Service) -> None:
    service = any_service
    model = service.model()
    service.hands.do(train(service, model))  # without samples it fails
    assert status(service, model) == "failed"
    assert service.put(f"{PATH}/{model}", json={"status": "ready"}).json()["status"] == "ready"


def test_reset_needs_a_good_state(any_service: Service) -> None:
    service = any_service
    pending = service.model(ready=False)
    refused = service.put(f"{PATH}/{pending}", json={"status": "ready"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_good_state")
    model = service.model()
    for key in service.files("models"):
        service.container.store.delete("models", key)
    refused = service.put(f"{PATH}/{model}", json={"status": "ready"})
    assert (refused.status_code, refused.json()["code"]) == (409, "voice_file_missing")


def test_a_refused_reset_changes_nothing_else(service: Service) -> None:
    pending = service.model(ready=False)
    body = {"status": "ready", "model_name": "새 이름"}
    assert service.put(f"{PATH}/{pending}", json=body).status_code == 409
    assert service.get(f"{PATH}/{pending}").json()["model_name"] == "테스트 모델 v1.0"


def test_a_model_is_renamed(service: Service) -> None:
    model = service.model()
    assert service.put(f"{PATH}/{model}", json={"model_name": "새 이름"}).json()["model_name"] == "새 이름"


def test_a_new_training_replaces_the_state_and_nothing_keeps_the_old(service: Service) -> None:
    model = with_sample(service)
    service.hands.do(train(service, model))
    first = service.row(VoiceModel, model)
    service.hands.do(train(service, model))
    second = service.row(VoiceModel, model)
    assert (first.version, second.version) == (1, 2)
    assert first.state_key != second.state_key
    object.__setattr__(service.container.settings, "orphan_seconds", 0.0)
    service.fix()
    assert {key.rsplit("/", 1)[0] for key in service.files("models")} == {second.state_key}


def test_debug_train_answers_every_step(service: Service) -> None:
    model = with_sample(service)
    with service.hands.at_work():
        answer = service.post(f"{PATH}/{model}/debug-train")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["status"], shown["engine"], shown["failure"]) == ("ready", "mock", None)
    assert [(step["name"], step["status"]) for step in shown["steps"]] == [
        (name, "ok")
        for name in (
            "gather_samples",
            "load_engine",
            "condition",
            "speak_test_lines",
            "measure_quality",
            "store_voice",
        )
    ]
    assert all(step["seconds"] >= 0 and step["used"] for step in shown["steps"][:4])
    assert shown["steps"][0]["figures"]["chosen"] == 1
    assert shown["quality_score"] > 0


def test_debug_train_says_where_and_why_it_failed(service: Service) -> None:
    model = service.model(ready=False)
    with service.hands.at_work():
        answer = service.post(f"{PATH}/{model}/debug-train")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["status"], shown["failure"]["code"]) == ("failed", "no_samples")
    [step] = shown["steps"]
    assert (step["name"], step["status"]) == ("gather_samples", "failed")
    assert step["error"]
    assert "Upload" in step["fix"]


def test_debug_train_does_not_wait_for_ever(service: Service) -> None:
    object.__setattr__(service.container.settings, "debug_train_seconds", 0.01)
    answer = service.post(f"{PATH}/{with_sample(service)}/debug-train")
    assert (answer.status_code, answer.json()["status"]) == (202, "training")


def test_those_who_wait_for_a_training_take_no_threads_from_others(service: Service) -> None:
    """Fifty wait, with a pool of four threads: all of them have started, and others are answered."""
    models = [service.model(ready=False) for _ in range(50)]
    headers = {"Authorization": f"Bearer {service.token('producer')}"}

    async def ask() -> list[httpx.Response]:
        current_default_thread_limiter().total_tokens = 4
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            posts = [asyncio.create_task(client.post(f"{API}{PATH}/{model}/debug-train")) for model in models]
            while await asyncio.to_thread(service.count, TrainingRun) < len(models):
                assert (await client.get("/healthz")).status_code == 200
            training = (await client.get(f"{API}{PATH}")).json()["items"]
            assert {model["status"] for model in training} == {"training"}
            assert not any(post.done() for post in posts)
            await asyncio.to_thread(service.hands.do_all)
            return await asyncio.gather(*posts)

    answers = asyncio.run(ask())
    assert [answer.json()["failure"]["code"] for answer in answers] == ["no_samples"] * 50


def test_a_fault_of_the_engine_is_a_failure_with_its_step(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = any_service
    model = with_sample(service)

    def broken(_recordings: object) -> None:
        raise RuntimeError("secret path /root")

    monkeypatch.setattr(service.container.engine, "condition", broken)
    run = train(service, model)
    service.hands.do(run)
    shown = service.get(f"{PATH}/{model}").json()
    assert (shown["status"], shown["failure"]["code"]) == ("failed", "internal_error")
    assert "secret path" not in shown["failure"]["message"]
    steps = service.row(TrainingRun, run).steps
    assert [(step["name"], step["status"]) for step in steps][-1] == ("condition", "failed")


def test_models_are_listed_by_actor(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    ids = [service.model(actor) for _ in range(2)]
    service.model()
    found = service.get(PATH, params={"voice_actor_id": actor}).json()["items"]
    assert [each["id"] for each in found] == ids[::-1]
    assert len(service.get(f"{PATH}/").json()["items"]) == 3


def test_a_model_that_scripts_speak_with_stays(any_service: Service) -> None:
    service = any_service
    model = service.model()
    script = service.script(model)
    refused = service.delete(f"{PATH}/{model}")
    assert (refused.status_code, refused.json()["code"]) == (409, "voice_model_in_use")
    assert service.delete(f"/voice-actors/tts-scripts/{script}").status_code == 204
    assert service.delete(f"{PATH}/{model}").status_code == 204
    assert service.files("models") == []


def test_a_model_deleted_while_it_trains_stays_deleted(any_service: Service) -> None:
    service = any_service
    model = with_sample(service)
    run = train(service, model)
    service.hands.take(run)
    assert service.delete(f"{PATH}/{model}").status_code == 204
    service.hands.do(run)
    assert (service.count(VoiceModel), service.count(TrainingRun)) == (0, 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model_name": "x"}, "body.voice_actor_id"),
        ({"voice_actor_id": NOBODY}, "body.model_name"),
        ({"voice_actor_id": NOBODY, "model_name": ""}, "body.model_name"),
        ({"voice_actor_id": NOBODY, "model_name": "x" * 201}, "body.model_name"),
        ({"voice_actor_id": NOBODY, "model_name": "x", "status": "ready"}, "body.status"),
        ({"voice_actor_id": 5, "model_name": "x"}, "body.voice_actor_id"),
    ],
)
def test_a_model_of_another_form_is_refused_by_field(service: Service, body: dict, field: str) -> None:
    refused = service.post(PATH, json=body)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize("state", ["training", "pending", "failed", "READY", 1])
def test_only_ready_can_be_asked_for(service: Service, state: object) -> None:
    refused = service.put(f"{PATH}/{service.model()}", json={"status": state})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "body.status")


@pytest.mark.parametrize("actor_id", [NOBODY, "YOUR_VOICE_ACTOR_ID", "a\0b"])
def test_a_model_needs_an_actor(service: Service, actor_id: str) -> None:
    refused = service.post(PATH, json={"voice_actor_id": actor_id, "model_name": "x"})
    assert (refused.status_code, refused.json()["code"]) == (404, "voice_actor_not_found")


@pytest.mark.parametrize("model_id", [NOBODY, "nonsense", "%00", "{model_id}"])
def test_an_unknown_model_is_not_there(service: Service, model_id: str) -> None:
    path = f"{PATH}/{model_id}"
    answers = [
        service.get(path),
        service.put(path, json={"status": "ready"}),
        service.delete(path),
        service.post(f"{path}/train"),
        service.post(f"{path}/debug-train"),
    ]
    assert {(each.status_code, each.json()["code"]) for each in answers} == {(404, "voice_model_not_found")}


def test_two_who_train_at_once_start_one(any_service: Service) -> None:
    service = any_service
    model = with_sample(service)
    with ThreadPoolExecutor(4) as pool:
        runs = set(pool.map(lambda _: train(service, model), range(4)))
    assert len(runs) == 1
    assert service.count(TrainingRun) == 1
