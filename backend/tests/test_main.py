"""The service as a whole: its pages, its operations, its first start, and what it answers when parts fail."""

from __future__ import annotations

import errno
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app import bootstrap
from app.config import Settings
from app.main import create_app
from app.models import Sample, User, VoiceActor
from app.storage import local
from tests.conftest import _settings
from tests.service import API, NOBODY, TEXT, Service, serving


def test_a_warning_that_nobody_can_do_anything_about_is_not_shown() -> None:
    command = [sys.executable, "-W", "error::UserWarning", "-c", "import app, pyworld"]
    assert (
        subprocess.run(
            command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
        ).stderr
        == ""
    )


# --- operations -------------------------------------------------------------------------------------


def test_it_says_that_it_is_alive_and_ready(any_service: Service) -> None:
    assert any_service.client.get("/healthz").json() == {"status": "ok"}
    ready = any_service.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "workers": 0, "engine": "mock"})


def test_without_a_database_it_is_alive_and_not_ready(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, OSError("no connection"))

    monkeypatch.setattr(Session, "execute", gone)
    assert service.client.get("/healthz").status_code == 200
    answer = service.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["retry-after"]


def test_unknown_parameters_are_refused_by_our_own_routes_alone(service: Service) -> None:
    """Other programs' clients send what they like."""
    params = {"sample_rate": 8000}
    refused = service.get(f"/voice-actors/tts-generations/{NOBODY}/audio", params=params)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert refused.json()["errors"][0]["message"].endswith("known are format, preview")
    token = service.token("viewer")
    headers = {"Authorization": f"Bearer {token}", "xi-api-key": token}
    for path in ("/v1/models", "/elevenlabs/v1/voices"):
        assert service.client.get(path, params=params, headers=headers).status_code == 200


def test_metrics_count_requests_and_jobs(service: Service) -> None:
    service.batch([service.script()])
    text = service.client.get("/metrics").text
    assert 'moksori_jobs{queue="speech",state="queued"} 1.0' in text
    assert 'moksori_workers{state="alive"} 0.0' in text
    labels = f'method="POST",route="{API}/voice-actors/tts-scripts/batch-generate",status="202"'
    assert f"moksori_http_requests_total{{{labels}}}" in text


ROUTES = {
    f"{API}/voice-actors/{NOBODY}/": f"{API}/voice-actors/{{actor_id}}",
    f"{API}/voice-actors/models/{NOBODY}": f"{API}/voice-actors/models/{{model_id}}",
    f"/v1/models/{NOBODY}": "/v1/models/{model_id}",
    f"/elevenlabs/v1/voices/{NOBODY}": "/elevenlabs/v1/voices/{voice_id}",
    f"/nowhere/{NOBODY}": "unknown",
}


def test_requests_are_counted_and_logged_by_their_whole_route(settings: Settings) -> None:
    """A route, not a path: few series, and no id among them."""
    with serving(create_app(settings), settings) as service:
        headers = {"Authorization": f"Bearer {service.token('admin')}"}
        statuses = [service.client.get(path, headers=headers).status_code for path in ROUTES]
        metrics = service.client.get("/metrics").text
        lines = [json.loads(line) for line in (settings.logs_dir / "app.log").read_text().splitlines()]
    for route, status in zip(ROUTES.values(), statuses, strict=True):
        labels = f'method="GET",route="{route}",status="{status}"'
        assert f"moksori_http_requests_total{{{labels}}}" in metrics
    assert NOBODY not in metrics
    logged = [line["route"] for line in lines if line["event"] == "http.request"]
    assert logged == list(ROUTES.values())


def test_every_answer_has_an_id(service: Service) -> None:
    ids = {service.client.get(path).headers["x-request-id"] for path in ("/healthz", "/nowhere", "/healthz")}
    assert len(ids) == 3


# --- the API's document and pages ------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_need_nothing_from_outside(service: Service, page: str) -> None:
    html = service.client.get(page)
    assert html.status_code == 200
    assert "img-src 'self'" in html.headers["content-security-policy"]  # scripts know other places too
    sources = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", html.text)
    assert sources
    for source in sources:
        assert source.startswith("/"), source
        assert service.client.get(source).status_code == 200, source
    assert "//" not in html.text.replace("</", "").replace("/>", "") or not re.search(r"https?://", html.text)


def test_the_front_door_leads_to_the_pages(service: Service) -> None:
    answer = service.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


def test_the_document_names_every_error_as_a_problem(service: Service) -> None:
    document = service.client.get("/openapi.json").json()
    assert "HTTPValidationError" not in json.dumps(document)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if status >= "400" and path.startswith(API):  # others answer as the services they speak like
                    [kind] = answer["content"]
                    assert kind == "application/problem+json", (method, path, status)
    assert document["components"]["schemas"]["Problem"]["properties"].keys() >= {"code", "detail", "status"}


def test_the_document_gives_an_example_of_each_body(service: Service) -> None:
    document = service.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body and set(operation["tags"]) & {
                "sign-in",
                "voice actors",
                "voice models",
                "scripts",
                "generation",
            }:
                name = body["schema"]["$ref"].rsplit("/", 1)[-1]
                assert document["components"]["schemas"][name].get("example"), (method, path)


def test_the_guides_routes_are_there(service: Service) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    for path, methods in {
        "/login": {"post"},
        "/tokens": {"get", "post"},
        "/tokens/{token_id}": {"delete"},
        "/users": {"get", "post"},
        "/users/{user_id}": {"patch"},
        "/voice-actors": {"get", "post"},
        "/voice-actors/{actor_id}": {"get", "patch", "delete"},
        "/voice-actors/{actor_id}/samples": {"get", "post"},
        "/voice-actors/{actor_id}/samples/{sample_id}": {"get", "delete"},
        "/voice-actors/{actor_id}/samples/{sample_id}/audio": {"get"},
        "/voice-actors/models": {"get", "post"},
        "/voice-actors/models/{model_id}": {"get", "put", "delete"},
        "/voice-actors/models/{model_id}/train": {"post"},
        "/voice-actors/models/{model_id}/debug-train": {"post"},
        "/voice-actors/tts-scripts": {"get", "post"},
        "/voice-actors/tts-scripts/{script_id}": {"get", "put", "delete"},
        "/voice-actors/tts-scripts/{script_id}/generate": {"post"},
        "/voice-actors/tts-scripts/batch-generate": {"post"},
        "/voice-actors/batches/{batch_id}": {"get"},
        "/voice-actors/batches/{batch_id}/events": {"get"},
        "/voice-actors/batches/{batch_id}/cancel": {"post"},
        "/voice-actors/tts-generations/{generation_id}": {"get"},
        "/voice-actors/tts-generations/{generation_id}/audio": {"get"},
        "/voice-actors/debug/diagnosis": {"get"},
        "/voice-actors/debug/fix-issues": {"post"},
    }.items():
        assert set(paths[API + path]) == methods, path


# --- failures of parts ------------------------------------------------------------------------------


class CommitFails:
    """From now on every commit fails, as if the disk or the connection were gone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(sa.engine.Connection, "_commit_impl", fail)


class SqliteFull(Exception):
    sqlite_errorcode = sqlite3.SQLITE_FULL


FAILURES = {
    "lost": (
        sa.exc.OperationalError("COMMIT", {}, OSError("gracefully closed")),
        503,
        "database_unavailable",
    ),
    "full": (sa.exc.OperationalError("COMMIT", {}, SqliteFull()), 507, "storage_full"),
    "full_server": (sa.exc.OperationalError("COMMIT", {}, psycopg.errors.DiskFull()), 507, "storage_full"),
    "other": (RuntimeError("a fault"), 500, "internal_error"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_commit_that_fails_is_never_a_success(
    any_service: Service, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """The answer leaves after the commit: a request that did not happen must not say that it did."""
    service = any_service
    error, status, code = FAILURES[failure]
    actor, model, script = service.actor(), service.model(), service.script()
    batch = service.batch([script])["batch_id"]
    token = service.token("admin")
    requests = [
        ("POST", "/voice-actors/", {"name": "하나"}),
        ("PATCH", f"/voice-actors/{actor}", {"name": "둘"}),
        ("DELETE", f"/voice-actors/{actor}", None),
        ("POST", "/voice-actors/models", {"voice_actor_id": actor, "model_name": "x"}),
        ("PUT", f"/voice-actors/models/{model}", {"status": "ready"}),
        ("POST", f"/voice-actors/models/{model}/train", None),
        ("POST", f"/voice-actors/models/{model}/debug-train", None),
        ("POST", "/voice-actors/tts-scripts", {"text": TEXT, "voice_model_id": model}),
        ("PUT", f"/voice-actors/tts-scripts/{script}", {"title": "x"}),
        ("POST", f"/voice-actors/tts-scripts/{script}/generate", None),
        ("POST", "/voice-actors/tts-scripts/batch-generate", {"script_ids": [script]}),
        ("POST", f"/voice-actors/batches/{batch}/cancel", None),
        ("DELETE", f"/voice-actors/tts-scripts/{script}", None),
        ("POST", "/tokens", {"name": "x"}),
        ("POST", "/users", {"username": "kim", "password": "correct horse battery"}),
        ("POST", "/lexicons", {"name": "x", "entries": [{"written": "a", "spoken": "에이"}]}),
    ]
    for path in ("/voice-actors/", "/users"):  # the first use of a token is noted before anything fails
        service.get(path, role="admin")
    before = contents(service)
    with monkeypatch.context() as broken:
        CommitFails(broken, error)
        for method, path, body in requests:
            answer = service.client.request(
                method, API + path, json=body, headers={"Authorization": f"Bearer {token}"}
            )
            assert (answer.status_code, answer.json()["code"]) == (status, code), (method, path)
        upload = service.upload(actor, role="admin")
        assert (upload.status_code, upload.json()["code"]) == (status, code)
    assert contents(service) == before
    assert service.upload(actor).status_code == 201


def contents(service: Service) -> dict[str, int]:
    from app.kit.database import Base

    with service.container.database.reading() as session:
        return {
            table.name: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }


@pytest.mark.parametrize("when", ["inbox", "store"])
def test_a_full_disk_is_507_and_leaves_nothing(
    any_service: Service, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    service = any_service
    actor = service.actor()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        if when == "store":
            disk.setattr(local, "_write_all", full)
        else:
            from app.samples import service as samples

            disk.setattr(samples.Path, "open", full)
        refused = service.upload(actor)
    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert (service.count(Sample), service.files("samples")) == (0, [])
    inbox = service.container.settings.state_dir / "inbox"
    assert not list(inbox.rglob("*"))
    assert not list((service.container.settings.data_dir / "voice_samples").rglob("*.part"))
    assert service.upload(actor).status_code == 201


def test_a_read_only_folder_is_503_with_what_to_do(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(local.LocalStore, "_create", refuse)
    refused = service.upload(service.actor())
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_read_only")
    assert "chmod" in refused.json()["detail"]


def test_a_fault_says_nothing_of_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.voice_actors import service as voice_actors

    def fail(*_: object) -> None:
        raise RuntimeError("secret: hunter2")

    monkeypatch.setattr(voice_actors, "get", fail)
    answer = service.get(f"/voice-actors/{NOBODY}")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    "path", ["/nowhere", f"{API}/nowhere", f"{API}/voice-actors/x/y/z", "/static/api/../x"]
)
def test_an_unknown_path_is_404(service: Service, path: str) -> None:
    answer = service.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/voice-actors"), ("GET", "/login"), ("PUT", "/tokens")]
)
def test_another_method_is_405(service: Service, method: str, path: str) -> None:
    answer = service.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


# --- the first start, the log -----------------------------------------------------------------------


def test_the_first_start_prints_how_to_sign_in_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(_env_file=None, engine="mock", workers=0, data_dir=tmp_path)  # type: ignore[call-arg]
    for start in range(2):
        with TestClient(create_app(settings)) as client:
            assert client.get("/readyz").status_code == 200
            printed = capsys.readouterr().out
            if start:
                assert printed == ""
                continue
            password = re.search(r"`admin` with the password `(\S+)`", printed)
            assert password
            body = {"username": "admin", "password": password[1]}
            assert client.post(f"{API}/login", json=body).status_code == 200
    assert password[1] not in (settings.logs_dir / "app.log").read_text()


def test_uploads_lie_on_the_datas_disk(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, engine="mock", workers=0, data_dir=tmp_path)  # type: ignore[call-arg]
    before = tempfile.gettempdir()
    with TestClient(create_app(settings)):
        assert tempfile.gettempdir() == str(tmp_path / "data" / "inbox")
        tempfile.TemporaryFile().close()
    assert tempfile.gettempdir() == before


def test_a_start_says_in_the_log_what_is_wrong(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, engine="mock", workers=0, data_dir=tmp_path)  # type: ignore[call-arg]
    with TestClient(create_app(settings)):
        pass
    lines = [json.loads(line) for line in (settings.logs_dir / "app.log").read_text().splitlines()]
    [looked] = [line for line in lines if line["event"] == "service.diagnosed"]
    assert "mock_engine" in looked["findings"]
    assert "no_worker" not in looked["findings"]  # they are started at this moment


def test_folders_and_tables_are_made(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, engine="mock", workers=0, data_dir=tmp_path / "new")  # type: ignore[call-arg]
    assert bootstrap.prepare(settings)
    assert bootstrap.prepare(settings) is None
    names = {path.name for path in settings.data_dir.iterdir()}
    assert names >= {"voice_samples", "audio_files", "voice_models", "logs", "data"}
    assert (settings.state_dir / "signing.key").exists()
    container = bootstrap.build(settings)
    with container.database.reading() as session:
        assert session.scalar(sa.select(User.role)) == "admin"
        assert session.scalar(sa.select(sa.func.count()).select_from(VoiceActor)) == 0
    container.database.close()


def test_a_start_bears_with_a_folder_that_cannot_be_written(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts, and its diagnosis says so. Root may write anywhere, so the disk's refusal is played."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(bootstrap.Path, "mkdir", refuse)
    assert bootstrap.prepare(_settings(tmp_path / "data folder", database_url))


def test_migrations_make_the_tables_that_the_models_say(empty_database_url: str, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from app.kit.database import Base, Database

    settings = Settings(_env_file=None, data_dir=tmp_path, database_url=empty_database_url)  # type: ignore[call-arg]
    bootstrap.migrate(settings)
    bootstrap.migrate(settings)
    database = Database(empty_database_url)
    ours = set(Base.metadata.tables)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": lambda _o, name, kind, reflected, _c: not (
                kind == "table" and reflected and name not in ours)},
        )  # fmt: skip
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_no_secret_and_no_transcript_reaches_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.audio import decode
    from app.generation import speaking
    from tests.service import decode_here

    monkeypatch.setattr(decode, "_run_child", decode_here)
    with serving(create_app(settings), settings) as service:
        secret = "비밀스러운 안내입니다"
        actor = service.actor("비밀스러운 성우")
        service.upload(actor, text=secret, name="비밀스러운.wav")
        service.upload(actor, b"no audio", text=secret, name="비밀스러운.wav")
        script = service.script(text=secret)
        service.generate(script)
        service.generate(service.script(text=secret + " 漢"))
        service.post("/voice-actors/tts-scripts", json={"text": secret, "voice_model_id": NOBODY})
        service.post("/voice-actors/tts-scripts", json={"text": secret, "speed": secret})
        service.post("/text/normalize", json={"text": secret})
        service.post("/login", role=None, json={"username": "admin", "password": "hunter2-hunter2"})
        service.post("/users", role="admin", json={"username": "kim", "password": "hunter2-hunter2"})
        token = service.post("/tokens", role="admin", json={"name": "studio"}).json()["token"]
        service.client.get(f"{API}/voice-actors", headers={"Authorization": "Bearer mks_wrong-one"})
        service.client.get(f"{API}/voice-actors", params={"search": secret})
        monkeypatch.setattr(speaking, "measure_take", lambda *_, **__: 1 / 0)
        generation = service.post(f"/voice-actors/tts-scripts/{script}/generate").json()["generation_id"]
        service.hands.do(generation)
        service.hands.do_all()
        written = (settings.logs_dir / "app.log").read_text()
    assert "tts.generated" in written
    assert "voice_sample.added" in written
    for word in ("비밀", "hunter2", "mks_", token, *service.tokens.values()):
        assert word not in written, word


def test_the_log_answers_the_guides_searches(settings: Settings) -> None:
    with serving(create_app(settings), settings) as service:
        service.generate(service.script())
        service.generate(service.script(text="漢"))
        lines = [json.loads(line) for line in (settings.logs_dir / "app.log").read_text().splitlines()]
    tts = [line["event"] for line in lines if re.search("tts|voice", json.dumps(line), re.IGNORECASE)]
    assert {"tts.generated", "tts.failed", "tts.generation_asked"} <= set(tts)
    assert all(line["process"] and line["timestamp"] and line["level"] for line in lines)
    assert any("request" in line for line in lines)


def test_two_applications_do_not_share_parts(application: FastAPI, settings: Settings) -> None:
    assert create_app(settings).state is not application.state
