"""Settling beside workers that publish: PostgreSQL lets both happen at once, SQLite never does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session

from app.deps import Container
from app.diagnosis import data, repairs
from app.models import Generation, VoiceModel
from app.voice_models import service as voice_models
from tests.conftest import _settings
from tests.databases import POSTGRESQL, Databases, PostgresServer
from tests.service import Service, serving


@pytest.fixture
def service(application: FastAPI, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Service]:
    for url in Databases(POSTGRESQL, tmp_path, postgres_server).laid_out():
        with serving(application, _settings(tmp_path / "data folder", url)) as made:
            yield made


def test_a_generation_that_ends_meanwhile_keeps_its_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = service.batch([service.script()])["scripts"][0]["generation_id"]
    service.lose_job(generation)
    look = data.lost_generations

    def look_late(container: Container, session: Session) -> list[str]:
        found = look(container, session)
        with container.database.session() as other:
            other.get_one(Generation, generation).outcome = "done"
        return found

    monkeypatch.setattr(data, "lost_generations", look_late)
    assert repairs.settle_work(service.container) == 0
    assert service.row(Generation, generation).outcome == "done"


def after_the_look(monkeypatch: pytest.MonkeyPatch, change: Callable[[Session], None]) -> None:
    """Somebody changes something once lost trainings were looked for, and before they are settled."""
    look = voice_models.lost

    def look_late(container: Container, session: Session) -> list[VoiceModel]:
        found = list(look(container, session))
        with container.database.session() as other:
            change(other)
        return found

    monkeypatch.setattr(voice_models, "lost", look_late)


def lose_training(service: Service) -> str:
    """A model that shows a training whose job is gone."""
    model = service.model()
    service.lose_job(service.post(f"/voice-actors/models/{model}/train").json()["training_run_id"])
    return model


def test_a_training_that_ends_meanwhile_keeps_its_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lose_training(service)

    def end(session: Session) -> None:
        session.get_one(VoiceModel, model).training_run_id = None

    after_the_look(monkeypatch, end)
    assert repairs.settle_work(service.container) == 0
    assert service.row(VoiceModel, model).failure is None


def test_a_model_that_is_deleted_meanwhile_keeps_nothing_from_being_settled(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted, kept = lose_training(service), lose_training(service)
    after_the_look(monkeypatch, lambda session: session.delete(session.get_one(VoiceModel, deleted)))
    assert repairs.settle_work(service.container) == 1
    assert service.row(VoiceModel, kept).failure["code"] == "training_lost"


def test_what_is_read_together_is_of_one_moment(service: Service) -> None:
    generation = service.batch([service.script()])["scripts"][0]["generation_id"]
    with service.container.database.reading() as session:
        assert session.get_one(Generation, generation).outcome is None
        with service.container.database.session() as other:
            other.get_one(Generation, generation).outcome = "done"
        session.expire_all()
        assert session.get_one(Generation, generation).outcome is None
