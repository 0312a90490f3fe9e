"""Which voice a name means, and who may read the lists, without a worker."""

from __future__ import annotations

import pytest

from app.clients import voices
from app.clients.answers import engine_speed
from app.clients.voices import OPENAI_NAMES, VoiceNotFound
from app.models import VoiceModel
from tests.service import NOBODY, TEXT, Service


def named(service: Service, name: str, *, ready: bool = True) -> str:
    model = service.model(ready=ready)
    with service.container.database.session() as session:
        session.get(VoiceModel, model).model_name = name  # type: ignore[union-attr]
    return model


def meant(service: Service, asked: str) -> str:
    with service.container.database.reading() as session:
        return voices.resolve(session, service.container.settings, asked).id


def let(service: Service, **settings: object) -> None:
    for name, value in settings.items():
        object.__setattr__(service.container.settings, name, value)


def test_an_id_an_alias_and_a_name(any_service: Service) -> None:
    service = any_service
    old, new = named(service, "고객센터"), named(service, "고객센터")
    other = named(service, "야간")
    let(service, voice_aliases={"nova": "야간", "day": old, "야간 목소리": "야간", "gone": "없는 모델"})
    assert meant(service, old) == old
    assert meant(service, "고객센터") == new  # of two of a name the newer
    assert meant(service, "nova") == meant(service, "야간 목소리") == meant(service, "야간") == other
    assert meant(service, "day") == old
    let(service, voice_aliases={"야간": "고객센터", old: "야간", NOBODY: "야간"})
    assert meant(service, "야간") == new  # an alias comes before a name
    assert meant(service, old) == old  # and an id before an alias
    assert meant(service, NOBODY) == other
    let(service, voice_aliases={"gone": "없는 모델"})
    for unknown in ("gone", "고객", "", "x" * 201, "a\0b", NOBODY, "../takes"):
        with pytest.raises(VoiceNotFound):
            meant(service, unknown)


def test_openais_names_are_the_houses_voice(service: Service) -> None:
    with pytest.raises(VoiceNotFound):
        meant(service, "alloy")
    named(service, "untrained", ready=False)
    first, second = named(service, "하나"), named(service, "둘")
    assert {meant(service, name) for name in OPENAI_NAMES} == {first}
    let(service, voice_aliases={"default": "둘"})
    assert meant(service, "alloy") == meant(service, "default") == second
    let(service, voice_aliases={"alloy": "없는 모델"})  # an alias that leads nowhere is not passed over
    with pytest.raises(VoiceNotFound):
        meant(service, "alloy")


def test_a_model_named_like_openais_is_itself(service: Service) -> None:
    named(service, "하나")
    alloy = named(service, "alloy")
    assert meant(service, "alloy") == alloy


def test_lists_name_what_can_speak(service: Service) -> None:
    ready = named(service, "고객센터")
    named(service, "아직", ready=False)
    let(service, voice_aliases={"nova": "고객센터", "echo": "아직"})
    shown = service.client.get(
        "/v1/audio/voices", headers={"Authorization": f"Bearer {service.token('viewer')}"}
    )
    assert shown.json() == {
        "voices": [{"id": ready, "name": "고객센터"}, {"id": "nova", "name": "nova (고객센터)"}]
    }


def test_lists_need_a_token_unless_a_setting_says_otherwise(service: Service) -> None:
    paths = ("/v1/audio/voices", "/v1/audio/models", "/v1/models", "/v1/models/tts-1")
    assert {service.client.get(path).status_code for path in paths} == {401}
    let(service, voices_public=True)
    assert {service.client.get(path).status_code for path in paths} == {200}
    refused = service.client.post("/v1/audio/speech", json={"input": TEXT, "voice": "alloy"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert service.client.get("/elevenlabs/v1/voices").status_code == 401


def test_without_a_live_worker_a_client_hears_the_finished_take(service: Service) -> None:
    service.model()
    headers = {"Authorization": f"Bearer {service.token('producer')}"}
    body = {"input": TEXT, "voice": "alloy", "response_format": "wav"}
    with service.hands.at_work():
        answer = service.client.post("/v1/audio/speech", json=body, headers=headers)
    assert answer.status_code == 200
    take = service.generation(answer.headers["x-moksori-generation"])["take"]
    assert len(answer.content) == pytest.approx(44 + 48_000 * take["seconds"], abs=400)


def test_what_will_not_get_better_is_not_tried_again(service: Service) -> None:
    """openai repeats every 409, 429 and 5xx unless it is told not to."""
    model = service.model()
    headers = {"Authorization": f"Bearer {service.token('producer')}"}
    for file in service.files("models"):
        service.container.store.delete("models", file)
    with service.hands.at_work():
        answer = service.client.post(
            "/v1/audio/speech", json={"input": TEXT, "voice": model}, headers=headers
        )
    assert answer.status_code >= 500
    assert answer.headers["x-should-retry"] == "false"
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("asked", "speed", "tempo"), [(1.0, 1.0, 1.0), (0.25, 0.5, 0.5), (4.0, 2.0, 2.0), (1.7, 1.7, 1.0)]
)
def test_speed_is_spoken_as_far_as_engines_go(asked: float, speed: float, tempo: float) -> None:
    assert engine_speed(asked) == (speed, tempo)
