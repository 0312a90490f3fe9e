from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from app.models import Sample
from app.samples.service import label
from tests.service import Service, wav


@settings(deadline=None, max_examples=200)
@given(st.none() | st.text(max_size=400))
def test_a_label_is_short_printable_and_no_path(name: str | None) -> None:
    made = label(name)
    assert 0 < len(made) <= 200
    assert made.isprintable()
    assert not set(made) & set("/\\\0")


def test_a_commit_that_fails_is_no_sample(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its files, which nobody knows whether a lost answer left needed, are swept later."""
    from app.samples import service as samples

    service = any_service
    actor = service.actor()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(samples, "request_measurement", fail)
        assert service.upload(actor).status_code == 507
    assert service.count(Sample) == 0
    assert service.findings()["stray_file"]["fixable"] is False
    object.__setattr__(service.container.settings, "orphan_seconds", 0.0)
    service.fix()
    assert service.files("samples") == []
    assert service.upload(actor).status_code == 201


def test_an_actor_deleted_meanwhile_gets_no_sample(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.samples import service as samples

    service = any_service
    actor = service.actor()
    store = samples._store

    def slow(*arguments: object) -> None:
        store(*arguments)  # type: ignore[arg-type]
        assert service.delete(f"/voice-actors/{actor}").status_code == 204

    monkeypatch.setattr(samples, "_store", slow)
    refused = service.upload(actor, wav())
    assert (refused.status_code, refused.json()["code"]) == (404, "voice_actor_not_found")
    assert service.count(Sample) == 0
