"""What is true whenever all work has ended, whatever died on the way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import sqlalchemy as sa

from app.diagnosis import repairs
from app.models import Generation, Script, Take, TrainingRun, VoiceModel
from app.voice_models.state import STATE_FILES
from tests.faults.processes import House, until
from tests.service import Service


@dataclass
class Premises:
    service: Service
    house: House

    def ended(self, generation_ids: list[str]) -> None:
        """Wait until every generation has its end, written into its row."""

        def over() -> bool:
            with self.service.container.database.reading() as session:
                query = sa.select(sa.func.count()).where(
                    Generation.id.in_(generation_ids), Generation.outcome.is_not(None)
                )
                return session.scalar(query) == len(generation_ids)

        until(over, "generations without an end")

    def trained(self, run_id: str) -> TrainingRun:
        """A training run, once it has ended."""
        return until(lambda: run if (run := self.service.row(TrainingRun, run_id)).outcome else None)

    def train(self, model_id: str) -> str:
        answer = self.service.post(f"/voice-actors/models/{model_id}/train")
        assert answer.status_code == 202, answer.text
        run_id: str = answer.json()["training_run_id"]
        return run_id

    def model(self, model_id: str) -> dict:
        return self.service.get(f"/voice-actors/models/{model_id}").json()

    def asked(self, model_id: str, texts: list[str]) -> tuple[list[str], list[str]]:
        """A batch of new scripts; their ids and their generations'."""
        scripts = [self.service.script(model_id, text) for text in texts]
        started = self.service.batch(scripts)
        return scripts, [item["generation_id"] for item in started["scripts"]]

    def sweep(self) -> int:
        """Sweep as if every file without a row were old enough."""
        container = self.service.container
        settings = container.settings.model_copy(update={"orphan_seconds": 0.0})
        return repairs.sweep_strays(replace(container, settings=settings))

    def check(self) -> None:
        """Rows and files agree, nothing is under way, and no script has more or less than one current take."""
        service = self.service
        store = service.container.store
        self.sweep()
        with service.container.database.reading() as session:
            takes = {take.id: take for take in session.scalars(sa.select(Take))}
            generations = {row.id: row for row in session.scalars(sa.select(Generation))}
            scripts = list(session.scalars(sa.select(Script)))
            models = list(session.scalars(sa.select(VoiceModel)))
            runs = list(session.scalars(sa.select(TrainingRun)))
        assert all(row.outcome for row in generations.values())
        assert {row.take_id for row in generations.values() if row.outcome == "done"} == set(takes)
        assert sorted(take.audio_key for take in takes.values()) == service.files("takes")
        for take in takes.values():
            with store.open("takes", take.audio_key) as file:
                assert hashlib.sha256(file.read()).hexdigest() == take.sha256
        for script in scripts:
            done = [
                row for row in generations.values() if row.script_id == script.id and row.outcome == "done"
            ]
            newest = max(done, key=lambda row: row.id, default=None)
            assert script.current_take_id == (newest.take_id if newest else None)
        states = {f"{model.state_key}/{name}" for model in models if model.state_key for name in STATE_FILES}
        assert set(service.files("models")) == states
        assert all(model.training_run_id is None for model in models)
        assert all(run.outcome for run in runs)
        assert {each["status"] for each in service.get("/voice-actors/models").json()["items"]} <= {
            "ready", "failed", "pending",
        }  # fmt: skip
        trouble = {
            "training_lost",
            "generation_lost",
            "take_file_missing",
            "voice_file_missing",
            "stray_file",
        }
        assert not trouble & set(service.findings())
