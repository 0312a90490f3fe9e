"""The service in this process for tests: real parts over a temporary folder, its jobs done on demand."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
import sqlalchemy as sa
from fastapi import FastAPI
from starlette.testclient import TestClient

import app.worker  # noqa: F401 - registers every job
from app import bootstrap
from app.audio import decode, decode_child
from app.auth import service as auth
from app.auth.roles import Role
from app.auth.schemas import TokenIn
from app.config import Settings
from app.deps import Container
from app.jobs import JobContext, JobLost, registry, rows
from app.jobs.serializer import as_failure
from app.kit.ids import new_id
from app.models import Generation, Script, VoiceActor, VoiceModel
from app.speech.interface import Recording, VoiceState
from app.speech.mock import MockEngine
from app.voice_models.state import put_state

API = "/api/v1"
NOBODY = "01990000-0000-7000-8000-000000000000"  # the form of an id, and nobody's
TEXT = "안녕하세요. 고객센터입니다."


def buzz(seconds: float = 2.0, rate: int = 16_000, *, pitch: float = 120.0, level: float = 0.3) -> np.ndarray:
    """Something like speech, quickly: a buzz with formants and breath that comes and goes, (samples,)."""
    at = np.arange(round(seconds * rate)) / rate
    number = np.arange(1, int(0.45 * rate / pitch))
    waves = np.sin(2 * np.pi * pitch * number[:, None] * at)
    tone = (waves / (1 + (number * pitch / 700) ** 2)[:, None]).sum(axis=0)
    breath = np.random.default_rng(1).normal(size=len(at)) * 0.05
    syllables = np.clip(1.6 * np.sin(np.pi * 4 * at) ** 2 - 0.2, 0, 1)
    audio = (tone / np.abs(tone).max() + breath) * syllables
    return (level * audio / np.abs(audio).max()).astype(np.float32)


def wav(
    audio: np.ndarray | None = None, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None
) -> bytes:
    """Audio as a file's bytes; of its own two seconds of something like speech."""
    file = io.BytesIO()
    soundfile.write(file, buzz(rate=rate) if audio is None else audio, rate, format=kind, subtype=subtype)
    return file.getvalue()


def decode_here(source: Path, target: Path, limits: decode.DecodeLimits) -> dict[str, Any]:
    """In place of the decoder's child process, which has tests of its own: a second saved an upload."""
    from dataclasses import asdict

    try:
        return {"info": decode_child.decode(source, target, asdict(limits))}
    except decode_child.Refused as refusal:
        return {"error": refusal.code, "detail": str(refusal)}


class Hands:
    """Does the queued jobs in this thread, when and in the order that a test says."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._prefix = "" if container.settings.database.startswith("sqlite") else "dbos."

    def queued(self, name: str | None = None) -> list[str]:
        """The ids of jobs in line, as a worker would take them up."""
        with self.container.database.reading() as session:
            found = session.execute(
                sa.text(
                    f"SELECT workflow_uuid, name FROM {self._prefix}workflow_status "
                    "WHERE status = 'ENQUEUED' ORDER BY priority, created_at, workflow_uuid"
                )
            ).all()
        return [row.workflow_uuid for row in found if name in (None, row.name)]

    def take(self, job_id: str) -> tuple[str, dict[str, Any], JobContext]:
        """Claim a job as a worker does; its name, arguments and context. Left at that, it is under way."""
        owner = new_id()
        with self.container.database.session() as session:
            session.execute(
                sa.text(
                    f"UPDATE {self._prefix}workflow_status SET status = 'PENDING', "
                    "owner_xid = :owner, executor_id = :owner, recovery_attempts = recovery_attempts + 1 "
                    "WHERE workflow_uuid = :id"
                ),
                {"owner": owner, "id": job_id},
            )
            name = session.scalar(
                sa.text(f"SELECT name FROM {self._prefix}workflow_status WHERE workflow_uuid = :id"),
                {"id": job_id},
            )
            inputs = session.scalar(
                sa.text(f"SELECT inputs FROM {self._prefix}workflow_input WHERE workflow_uuid = :id"),
                {"id": job_id},
            )
        arguments = self.container.jobs._client._serializer.deserialize(inputs)["kwargs"]
        context = JobContext(
            self.container.database, job_id, owner=owner, attempt=1, stopping=threading.Event(),
            container=self.container,
        )  # fmt: skip
        return name, arguments, context

    def do(self, job_id: str) -> None:
        """Take a job up and end it as a worker does."""
        name, arguments, context = self.take(job_id)
        try:
            registry.jobs[name].function(context, **arguments)
        except JobLost:
            return
        except Exception as error:
            with self.container.database.session() as session:
                rows.fail(session, job_id, as_failure(error))
            return
        with self.container.database.session() as session:
            session.execute(
                sa.text(
                    f"UPDATE {self._prefix}workflow_status SET status = 'SUCCESS', owner_xid = NULL, "
                    "completed_at = updated_at WHERE workflow_uuid = :id AND status = 'PENDING'"
                ),
                {"id": job_id},
            )

    def do_all(self, name: str | None = None) -> int:
        """Do jobs until none is in line; how many."""
        done = 0
        while queued := self.queued(name):
            self.do(queued[0])
            done += 1
        return done

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Meanwhile another thread does what is in line."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(0.02):
                self.do_all()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class Service:
    """A service to talk to over HTTP, with factories for what a test needs to be there."""

    def __init__(self, app: FastAPI, container: Container) -> None:
        self.app, self.container, self.hands = app, container, Hands(container)
        self.tokens: dict[str, str] = {}
        app.state.container = container
        self.client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)

    # --- requests -------------------------------------------------------------------------------

    def token(self, role: Role = "admin", **options: Any) -> str:
        """A token of a role, made once."""
        if options:
            with self.container.database.session() as session:
                return auth.create_token(session, TokenIn(name=role, role=role, **options), None)[1]
        if role not in self.tokens:
            with self.container.database.session() as session:
                self.tokens[role] = auth.create_token(session, TokenIn(name=role, role=role), None)[1]
        return self.tokens[role]

    def request(
        self, method: str, path: str, *, role: Role | None = "producer", **options: Any
    ) -> httpx.Response:
        """One request under /api/v1 as somebody of a role; `role=None` sends no token."""
        headers = {"Authorization": f"Bearer {self.token(role)}"} if role else {}
        headers |= options.pop("headers", {})
        return self.client.request(
            method, path if path.startswith("//") else API + path, headers=headers, **options
        )

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    # --- things that are there -------------------------------------------------------------------

    def actor(self, name: str = "테스트 성우") -> str:
        with self.container.database.session() as session:
            actor = VoiceActor(name=name, gender="female", age_range="30s", description="")
            session.add(actor)
            session.flush()
            return actor.id

    def upload(
        self,
        actor_id: str,
        data: bytes | None = None,
        text: str = "",
        name: str = "sample.wav",
        **options: Any,
    ) -> httpx.Response:
        return self.post(
            f"/voice-actors/{actor_id}/samples",
            files={"audio_file": (name, wav() if data is None else data)},
            data={"text_content": text},
            **options,
        )

    def sample(self, actor_id: str, *, measured: bool = True) -> dict[str, Any]:
        """A sample of something like speech, as the API answers it."""
        answer = self.upload(actor_id, wav(buzz(level=0.2 + np.random.default_rng().uniform(0, 0.1))), TEXT)
        assert answer.status_code == 201, answer.text
        sample: dict[str, Any] = answer.json()
        if measured:
            self.hands.do_all("samples.measure")
            sample = self.get(f"/voice-actors/{actor_id}/samples/{sample['id']}").json()
        return sample

    def model(self, actor_id: str | None = None, *, ready: bool = True) -> str:
        """A voice model, trained or not, without the work of a training."""
        with self.container.database.session() as session:
            model = VoiceModel(
                id=new_id(), voice_actor_id=actor_id or self.actor(), model_name="테스트 모델 v1.0"
            )
            if ready:
                model.state_key, model.engine, model.version = f"{model.id}/{new_id()}", "mock", 1
                put_state(self.container.store, model.state_key, voice())
            session.add(model)
            return model.id

    def script(self, model_id: str | None = None, text: str = TEXT) -> str:
        with self.container.database.session() as session:
            script = Script(voice_model_id=model_id or self.model(), title="안내", text=text)
            session.add(script)
            session.flush()
            return script.id

    def generate(self, script_id: str) -> dict[str, Any]:
        """A script generated to the end; the generation as the API answers it."""
        answer = self.post(f"/voice-actors/tts-scripts/{script_id}/generate")
        assert answer.status_code == 202, answer.text
        generation_id = answer.json()["generation_id"]
        self.hands.do(generation_id)
        return self.generation(generation_id)

    def generation(self, generation_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.get(f"/voice-actors/tts-generations/{generation_id}").json()
        return answer

    def batch(self, script_ids: list[str], *, force: bool = False) -> dict[str, Any]:
        body = {"script_ids": script_ids, "force_regenerate": force}
        answer = self.post("/voice-actors/tts-scripts/batch-generate", json=body)
        assert answer.status_code == 202, answer.text
        started: dict[str, Any] = answer.json()
        return started

    # --- looking behind --------------------------------------------------------------------------

    def row(self, table: type, row_id: str) -> Any:
        with self.container.database.reading() as session:
            return session.get(table, row_id)

    def count(self, table: type) -> int:
        with self.container.database.reading() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    def files(self, bucket: str) -> list[str]:
        return sorted(file.key for file in self.container.store.keys(bucket))

    def findings(self, **options: Any) -> dict[str, dict[str, Any]]:
        """What diagnosis finds, by code."""
        answer = self.get("/voice-actors/debug/diagnosis", **options).json()
        return {each["code"]: each for each in answer["diagnosis"]["findings"]}

    def fix(self, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.post("/voice-actors/debug/fix-issues", params=params).json()
        return answer

    def lose_job(self, job_id: str) -> None:
        """End a job as a crash of everything that knew of it would: its row in the line is gone."""
        with self.container.database.session() as session:
            session.execute(
                sa.text(f"DELETE FROM {self.hands._prefix}workflow_status WHERE workflow_uuid = :id"),
                {"id": job_id},
            )

    def last_generation(self, script_id: str) -> Generation:
        with self.container.database.reading() as session:
            query = sa.select(Generation).where(Generation.script_id == script_id)
            return session.scalars(query.order_by(Generation.id.desc())).first()  # type: ignore[return-value]


def voice() -> VoiceState:
    return MockEngine().condition([Recording(buzz(0.5), 16_000)])


@contextmanager
def serving(app: FastAPI, settings: Settings, **parts: Any) -> Iterator[Service]:
    """The service on these settings; `parts` take the place of the container's own."""
    bootstrap.prepare_folders(settings)
    container = replace(bootstrap.build(settings), **parts)
    try:
        yield Service(app, container)
    finally:
        container.speaker.close()
        container.database.close()
