"""Finishing and publishing a take: what it becomes of its generation and its script, and what it leaves alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest

from app.generation import speaking
from app.generation.fingerprint import settings_of
from app.kit import limits
from app.kit.clock import now
from app.kit.ids import new_id
from app.lexicons.service import readings
from app.models import Generation, Script, Take, VoiceModel
from tests.service import Service


def asked(service: Service, script: str) -> Generation:
    model = service.row(Script, script).voice_model_id
    row = Generation(
        id=new_id(), script_id=script, voice_model_id=model, text="안내", settings={}, fingerprint="f" * 64
    )
    with service.container.database.session() as session:
        session.add(row)
    return service.row(Generation, row.id)


def take_of(generation: Generation) -> Take:
    return Take(
        id=new_id(), generation_id=generation.id, script_id=generation.script_id,
        voice_model_id=generation.voice_model_id, model_version=1, engine="mock", simulated=True,
        fingerprint="f" * 64, text="안내", reading={"text": "안내", "trace": []}, seed=0,
        audio_key=f"{generation.id}.wav", sha256="0" * 64, bytes=1, seconds=1.0, sample_rate=24_000,
        quality_score=None, report={"score": 1},
    )  # fmt: skip


def publish(service: Service, generation: Generation, take: Take) -> bool:
    with service.container.database.session() as session:
        return speaking.publish(session, generation, take)


@pytest.fixture
def script(any_service: Service) -> str:
    return any_service.script(any_service.model())


def test_it_is_all_there_afterwards(any_service: Service, script: str) -> None:
    generation = asked(any_service, script)
    take = take_of(generation)
    assert publish(any_service, generation, take)
    kept = any_service.row(Take, take.id)
    for column in Take.__table__.columns:
        if column.name != "created_at":
            assert getattr(kept, column.name) == getattr(take, column.name), column
    assert now() - kept.created_at < timedelta(minutes=1)
    ended = any_service.row(Generation, generation.id)
    assert (ended.outcome, ended.take_id) == ("done", take.id)
    assert ended.ended_at is not None
    assert any_service.row(Script, script).current_take_id == take.id


def test_an_older_one_that_ends_late_is_not_the_current_one(any_service: Service, script: str) -> None:
    older, newer = asked(any_service, script), asked(any_service, script)
    first, second = take_of(newer), take_of(older)
    assert publish(any_service, newer, first)
    assert publish(any_service, older, second)
    assert any_service.row(Script, script).current_take_id == first.id
    assert any_service.row(Generation, older.id).take_id == second.id
    newest = asked(any_service, script)
    third = take_of(newest)
    assert publish(any_service, newest, third)
    assert any_service.row(Script, script).current_take_id == third.id


def test_one_takes_the_place_of_a_take_that_is_gone(any_service: Service, script: str) -> None:
    with any_service.container.database.session() as session:
        session.get_one(Script, script).current_take_id = new_id()
    generation = asked(any_service, script)
    take = take_of(generation)
    assert publish(any_service, generation, take)
    assert any_service.row(Script, script).current_take_id == take.id


@pytest.mark.parametrize(("minutes", "stale"), [(-1, False), (1, True)])
def test_what_became_stale_before_it_was_asked_for_is_so_no_more(
    any_service: Service, script: str, minutes: int, stale: bool
) -> None:
    generation = asked(any_service, script)
    with any_service.container.database.session() as session:
        session.get_one(Script, script).stale_at = generation.created_at + timedelta(minutes=minutes)
    assert publish(any_service, generation, take_of(generation))
    assert (any_service.row(Script, script).stale_at is not None) == stale


def test_a_generation_that_is_over_or_gone_stays_so(any_service: Service, script: str) -> None:
    over, gone = asked(any_service, script), asked(any_service, script)
    with any_service.container.database.session() as session:
        session.get_one(Generation, over.id).outcome = "cancelled"
        session.delete(session.get_one(Generation, gone.id))
    for generation in (over, gone):
        take = take_of(generation)
        assert not publish(any_service, generation, take)
        with any_service.container.database.reading() as session:
            assert session.get(Take, take.id) is None
    assert any_service.row(Generation, over.id).outcome == "cancelled"
    assert any_service.row(Script, script).current_take_id is None


@pytest.mark.parametrize("interactive", [True, False])
def test_who_waits_for_a_similarity_keeps_nobody_from_a_core(
    service: Service, monkeypatch: pytest.MonkeyPatch, interactive: bool
) -> None:
    """Where another process or a GPU computes it, more can wait for it together than there are cores."""
    container, number = service.container, limits.cores() + 1
    together = threading.Barrier(number)

    def similarity(*_: object) -> float:
        together.wait(20)
        return 0.5

    monkeypatch.setattr(container.engine, "measures_elsewhere", True)
    monkeypatch.setattr(container.engine, "similarity", similarity)
    script = service.row(Script, service.script(service.model()))
    generation = Generation(
        id=new_id(),
        script_id=script.id,
        text=script.text,
        settings=settings_of(script),
        interactive=interactive,
    )
    with container.database.reading() as session:
        read = readings(session, best_effort=False)
        model = session.get_one(VoiceModel, script.voice_model_id)
    work = speaking.prepare(container, generation, model, read)
    audio = np.sin(np.arange(24_000, dtype=np.float32) / 20)
    with ThreadPoolExecutor(number) as pool:
        finished = list(pool.map(lambda _: speaking.finish(container, work, [audio], 24_000), range(number)))
    assert [each.report.similarity for each in finished] == [0.5] * number
