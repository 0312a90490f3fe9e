"""The shell: what it prints, how it exits, and that bad input is a sentence and never a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from sqlalchemy import select, text
from typer.testing import CliRunner, Result

from app import cli, remote
from app.auth import secrets
from app.auth.access import identify
from app.cli.announcements import ENDINGS
from app.config import Settings
from app.kit.database import Database
from app.kit.ids import new_id
from app.models import ApiToken, Sample, Script, TrainingRun, User, VoiceModel
from tests.service import NOBODY, Service, buzz, wav

BACKEND = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the shell's own, which the environment names."""
    for name in [name for name in os.environ if name.startswith("MOKSORI_")]:
        monkeypatch.delenv(name)
    data = tmp_path / "data"
    monkeypatch.setenv("MOKSORI_DATA_DIR", str(data))
    monkeypatch.setenv("MOKSORI_ENGINE", "mock")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return data


def run(*arguments: str, input: str | None = None) -> Result:
    result = CliRunner().invoke(cli.app, list(arguments), input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def rows(folder: Path, table: type) -> list:
    database = Database(f"sqlite:///{folder / 'data' / 'moksori.sqlite3'}")
    with database.reading() as session:
        found = list(session.scalars(select(table)))
    database.close()
    return found


# --- in place ---------------------------------------------------------------------------------------


def test_a_token_is_printed_alone(folder: Path) -> None:
    result = run("token", "create", "--name", "me", "--role", "admin", "--quiet")
    assert result.exit_code == 0
    token = result.stdout.removesuffix("\n")
    assert token.startswith("mks_")
    assert "\n" not in token
    [row] = rows(folder, ApiToken)
    assert (row.token_hash, row.role, row.name) == (secrets.hash_token(token), "admin", "me")
    assert "not shown again" in run("token", "create", "--name", "other").stdout


def test_tokens_are_listed_and_revoked(folder: Path) -> None:
    token = run("token", "create", "--name", "me", "--days", "7", "--quiet").stdout.strip()
    [row] = rows(folder, ApiToken)
    listed = run("token", "list").stdout
    assert row.id in listed
    assert token not in listed
    assert run("token", "revoke", row.id).exit_code == 0
    assert rows(folder, ApiToken) == []
    again = run("token", "revoke", row.id)
    assert (again.exit_code, "There is no token" in again.stderr) == (1, True)


def test_a_name_is_listed_as_it_is(folder: Path) -> None:
    name = "[데이터] [/red] :key:"
    run("token", "create", "--name", name)
    assert name in run("token", "list").stdout
    refused = run("batch", "/nowhere/[/red]such", "--voice", "x")
    assert (refused.exit_code, "[/red]such" in refused.stderr) == (2, True)


def test_a_name_of_an_older_version_does_not_move_the_terminal(folder: Path) -> None:
    run("token", "create", "--name", "x")
    database = Database(f"sqlite:///{folder / 'data' / 'moksori.sqlite3'}")
    with database.session() as session:
        session.scalars(select(ApiToken)).one().name = "\x1b]0;PWN\x07 성우\u202e"
    database.close()
    assert r"\x1b]0;PWN\x07 성우\u202e" in run("token", "list").stdout


def test_users_are_made_and_changed(folder: Path) -> None:
    password = "correct horse battery"
    made = run("user", "create", "kim", "--role", "admin", input=f"{password}\n{password}\n")
    assert made.exit_code == 0
    assert password not in made.output
    assert "kim" in run("user", "list").stdout
    before = rows(folder, User)[0].password_hash
    assert run("user", "password", "kim", input="another password\nanother password\n").exit_code == 0
    assert rows(folder, User)[0].password_hash != before


@pytest.mark.parametrize(
    ("arguments", "input", "code", "words"),
    [
        (["user", "create", "kim"], "short\nshort\n", 2, "password"),
        (["user", "create", "kim lee"], "long enough\nlong enough\n", 2, "username"),
        (["user", "create", "kim", "--role", "root"], "long enough\nlong enough\n", 2, "role"),
        (["user", "password", "nobody"], "long enough\nlong enough\n", 1, "no user nobody"),
        (["token", "create", "--name", "x", "--role", "root"], None, 2, "role"),
        (["token", "create", "--name", ""], None, 2, "name"),
        (["token", "create", "--name", "x", "--days", "0"], None, 2, "expires_in_days"),
        (["token", "create", "--name", "x", "--days", "many"], None, 2, "days"),
        (["token", "create"], None, 2, "--name"),
        (["token", "revoke", "nonsense"], None, 1, "no token"),
        (["nonsense"], None, 2, "nonsense"),
        (["doctor", "--nonsense"], None, 2, "--nonsense"),
        (["serve", "--port", "99999"], None, 2, "MOKSORI_PORT"),
        (["serve", "--port", "x"], None, 2, "port"),
        (["wyoming", "--listen", "foo"], None, 2, "tcp://HOST:PORT"),
        (["wyoming", "--listen", "tcp://127.0.0.1:x"], None, 2, "tcp://HOST:PORT"),
        (["wyoming", "--listen", "tcp://127.0.0.1:70000"], None, 2, "tcp://HOST:PORT"),
        (["samples", "add", "/nowhere", "--actor", "x"], None, 2, "/nowhere"),
        (["batch", "/nowhere.txt", "--voice", "x"], None, 2, "/nowhere.txt"),
        (["say", "안녕", "--voice", "x", "-o", "out.aac"], None, 2, "out.aac"),
        (["say", "안녕"], None, 2, "--voice"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_bad_input_is_a_sentence(arguments: list[str], input: str | None, code: int, words: str) -> None:
    result = run(*arguments, input=input)
    assert result.exit_code == code
    assert words in result.stderr


@pytest.mark.parametrize(
    "setting", [("ENGINE", "nonsense"), ("PORT", "x"), ("WORKERS", "-1"), ("DATABASE_URL", "mysql://x/y")]
)
@pytest.mark.usefixtures("folder")
def test_a_bad_setting_is_a_sentence(setting: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MOKSORI_{setting[0]}", setting[1])
    for command in (["doctor"], ["token", "list"], ["serve"]):
        result = run(*command)
        assert result.exit_code == 2
        assert f"MOKSORI_{setting[0]}" in result.stderr


@pytest.mark.parametrize(
    "url", ["nonsense", "postgresql+psycopg://nobody@/x?host=/nowhere", "sqlite:////nowhere/x"]
)
@pytest.mark.usefixtures("folder")
def test_a_database_that_is_not_there_is_a_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOKSORI_DATABASE_URL", url)
    for command in (
        ["doctor"],
        ["token", "create", "--name", "x"],
        ["user", "list"],
        ["serve", "--port", "0"],
    ):
        result = run(*command)
        assert result.exit_code == 1
        assert "database" in result.stderr.lower()


def test_it_says_where_it_listens_once_it_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOKSORI_WORKERS", "0")

    async def ended_at_once(_: uvicorn.Server) -> None: ...

    monkeypatch.setattr(uvicorn.Server, "main_loop", ended_at_once)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = run("serve", "--port", str(port))
    assert (refused.exit_code, f"Is port {port} taken?" in refused.stderr) == (1, True)
    assert "Moksori on" not in refused.stdout
    started = run("serve", "--port", str(port))
    assert started.exit_code == 0
    assert f"Moksori on http://127.0.0.1:{port} (API pages: /docs), data in {folder}" in started.stdout


def test_settings_in_another_encoding_are_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder.parent / ".env"
    file.write_text("# 설정\n", encoding="cp949")
    monkeypatch.setattr("app.config.ENV_FILES", (file,))
    for command in (["doctor"], ["serve"]):
        result = run(*command)
        assert result.exit_code == 2
        assert f"{file} is not UTF-8" in result.stderr


def test_a_database_of_a_newer_version_is_a_sentence(folder: Path) -> None:
    assert run("token", "list").exit_code == 0
    database = Database(f"sqlite:///{folder / 'data' / 'moksori.sqlite3'}")
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999future'"))
    database.close()
    for command in (["doctor"], ["token", "list"], ["serve", "--port", "0"], ["worker"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "newer Moksori" in result.stderr


def test_a_broken_database_is_a_sentence(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "moksori.sqlite3").write_bytes(
        b"this is no database, it is a text of some length" * 100
    )
    for command in (["doctor"], ["token", "list"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "database" in result.stderr.lower()


def test_the_doctor_finds_what_the_api_finds(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so does its --fix."""
    settings = service.container.settings
    monkeypatch.setenv("MOKSORI_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("MOKSORI_DATABASE_URL", settings.database)
    monkeypatch.setattr("app.bootstrap.migrate", lambda _: None)  # the test's tables have no history
    service.generate(service.script())
    service.container.store.delete("takes", service.files("takes")[0])
    over_http = service.get("/voice-actors/debug/diagnosis").json()["diagnosis"]
    result = run("doctor", "--json")
    here = json.loads(result.stdout)["diagnosis"]
    assert here["findings"] == over_http["findings"]
    assert set(here) == set(over_http)
    assert result.exit_code == 0  # a missing worker is no error of an installation, and the rest are warnings
    text = run("doctor").stdout
    for finding in over_http["findings"]:
        assert finding["what"] in text
        assert finding["fix"] in text
    assert "Put right: 1." in run("doctor", "--fix").stdout
    assert "take_file_missing" not in service.findings()
    service.generate(service.script())
    service.container.store.delete("takes", service.files("takes")[0])
    repaired = json.loads(run("doctor", "--fix", "--json").stdout)
    assert [each["code"] for each in repaired["repairs"]["fixed"]] == ["take_file_missing"]
    assert set(repaired["diagnosis"]) == set(over_http)


def test_the_doctor_exits_1_on_an_error(folder: Path) -> None:
    assert run("doctor").exit_code == 0
    store = folder / "voice_samples"
    store.rmdir()
    store.write_text("a file in its place")
    result = run("doctor")
    assert result.exit_code == 1
    assert "voice_samples" in result.stdout


def test_an_id_is_listed_in_one_piece(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the terminal: it is there to be copied."""
    run("token", "create", "--name", "a name of some length", "--role", "admin", "--quiet")
    monkeypatch.setenv("COLUMNS", "60")
    [token] = rows(folder, ApiToken)
    assert token.id in run("token", "list").stdout


def test_help_names_every_command() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "app.cli", "--help"], cwd=BACKEND, capture_output=True, text=True, check=True
    ).stdout
    for name in (
        "weights",
        "serve",
        "worker",
        "doctor",
        "token",
        "user",
        "say",
        "actors",
        "samples",
        "models",
        "batch",
    ):
        assert name in text


def test_lines_are_read_as_they_are_spoken() -> None:
    result = run("normalize", input="3,000원입니다.\n안녕하세요.\n")
    assert result.stdout.splitlines()[1] == "안녕하세요."
    assert "삼천" in result.stdout


def test_help_is_quick() -> None:
    """Nothing heavy is imported before a command needs it."""
    code = "import sys; import app.cli; print([m for m in ('torch', 'fastapi', 'sqlalchemy', 'scipy') if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=BACKEND, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


# --- over the API ----------------------------------------------------------------------------------------


@pytest.fixture
def shell(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service that the shell's commands reach, whose jobs are done meanwhile."""
    monkeypatch.setenv("MOKSORI_TOKEN", service.token("producer"))
    monkeypatch.setenv("MOKSORI_URL", "http://service")

    class Through(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = service.client.request(
                request.method, str(request.url).replace("http://service", ""), content=request.read(),
                headers=dict(request.headers),
            )  # fmt: skip
            kept = {
                k: v for k, v in answer.headers.items() if k not in ("content-length", "transfer-encoding")
            }
            return httpx.Response(answer.status_code, headers=kept, content=answer.content)

    client = httpx.Client
    monkeypatch.setattr(remote.httpx, "Client", lambda **options: client(transport=Through(), **options))
    with service.hands.at_work():
        yield service


def test_from_recordings_to_announcements(shell: Service, tmp_path: Path) -> None:
    actor = run("actors", "add", "김하늘", "--gender", "female").stdout.strip()
    assert actor in run("actors", "list").stdout
    assert "김하늘" in run("actors", "list", "--search", "하늘").stdout
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for number in (1, 2):
        (recordings / f"{number}.wav").write_bytes(wav(buzz(level=0.1 * number)))
    (recordings / "1.txt").write_text("안녕하세요.\n", encoding="utf-8")
    (recordings / "notes.md").write_text("not audio")
    added = run("samples", "add", str(recordings), "--actor", actor)
    assert added.exit_code == 0
    assert [line.split()[-1] for line in added.stdout.splitlines()] == ["1.wav", "2.wav"]
    assert run("samples", "add", str(recordings / "1.wav"), "--actor", actor).exit_code == 0
    assert shell.count(Sample) == 2
    trained = run("models", "train", "하늘 1", "--actor", actor)
    assert trained.exit_code == 0, trained.output
    model = trained.stdout.strip()
    assert "ready" in run("models", "list").stdout
    said = run("say", "상담원 연결은 0번입니다.", "--voice", model, "-o", str(tmp_path / "out.flac"))
    assert said.exit_code == 0
    assert (tmp_path / "out.flac").read_bytes().startswith(b"fLaC")
    assert "mock" in said.stdout
    lines = tmp_path / "lines.txt"
    lines.write_text("\ufeff하나입니다.\n\n둘입니다.\n", encoding="utf-8")
    spoken = run("batch", str(lines), "--voice", model, "-o", str(tmp_path / "out"))
    assert spoken.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["01.wav", "02.wav"]
    assert "simulated" in spoken.stdout


def test_one_bad_line_fails_the_batch_and_not_its_neighbours(shell: Service, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("하나입니다.\n漢\n", encoding="utf-8")
    spoken = run("batch", str(lines), "--voice", shell.model(), "-o", str(tmp_path / "out"))
    assert spoken.exit_code == 1
    assert "failed" in spoken.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["01.wav"]


def test_one_bad_recording_is_named_and_the_others_kept(shell: Service, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no audio")
    (tmp_path / "b.wav").write_bytes(wav())
    (tmp_path / "b.txt").write_text("안녕하세요.", encoding="utf-8")
    (tmp_path / "c.m4a").write_bytes(b"of a telephone")
    added = run("samples", "add", str(tmp_path), "--actor", shell.actor())
    assert added.exit_code == 1
    assert "c.m4a: left out; taken are .wav, .flac, .mp3, .ogg, .oga, .opus" in added.stderr
    assert "b.txt" not in added.stderr
    assert "a.wav: " in added.stderr
    assert "1 of 2" in added.stderr
    assert shell.count(Sample) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["say", "안녕", "--voice", NOBODY], "no voice model"),
        (["say", "안녕", "--voice", ""], "no voice model"),
        (["batch", "lines.txt", "--voice", "밤"], "no voice model 밤"),
        (["models", "cancel", "밤"], "no voice model 밤"),
        (["say", "안녕", "--voice", "테스트 모델 v1.0", "--speed", "9"], "speed"),
        (["say", "", "--voice", "테스트 모델 v1.0"], "text"),
        (["models", "train", "x", "--actor", NOBODY], "no voice actor"),
        (["samples", "add", "one.wav", "--actor", NOBODY], "no voice actor"),
        (["actors", "add", ""], "name"),
        (["actors", "add", "x", "--gender", "?"], "gender"),
    ],
)
def test_what_the_service_refuses_is_a_sentence(
    shell: Service, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "one.wav").write_bytes(wav())
    (tmp_path / "lines.txt").write_text("안녕")
    shell.model()
    result = run(*arguments)
    assert (result.exit_code, words in result.stderr) == (1, True), result.output
    assert shell.count(Script) == 0


def test_a_voice_goes_by_any_of_its_names(shell: Service, tmp_path: Path) -> None:
    model = shell.model(shell.actor("김하늘"))
    object.__setattr__(shell.container.settings, "voice_aliases", {"house": model})
    for name in (model, "house", "테스트 모델 v1.0", "김하늘"):
        said = run("say", "안녕", "--voice", name)
        assert said.exit_code == 0, said.output
    lines = tmp_path / "lines.txt"
    lines.write_text("안녕", encoding="utf-8")
    assert run("batch", str(lines), "--voice", "김하늘").exit_code == 0
    other = shell.model()
    unclear = run("say", "안녕", "--voice", "테스트 모델 v1.0")
    assert unclear.exit_code == 1
    assert "2 voice models" in unclear.stderr and model in unclear.stderr and other in unclear.stderr


def test_a_training_is_cancelled(shell: Service) -> None:
    model, run_id = shell.model(ready=False), new_id()
    with shell.container.database.session() as session:
        session.add(TrainingRun(id=run_id, voice_model_id=model, steps=[]))
        session.get(VoiceModel, model).training_run_id = run_id  # type: ignore[union-attr]
    cancelled = run("models", "cancel", model)
    assert (cancelled.exit_code, cancelled.stdout) == (0, f"{model}: pending\n")
    assert shell.row(TrainingRun, run_id).outcome == "stopped"


def test_a_failed_training_says_why(shell: Service) -> None:
    result = run("models", "train", "x", "--actor", shell.actor())
    assert result.exit_code == 1
    assert "no samples" in result.stderr
    assert "Upload recordings" in result.stderr


def test_what_somebody_stopped_is_a_sentence(shell: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.Remote, "_wait", lambda *_: {"id": "", "status": "cancelled", "failure": None})
    for command in (
        ["say", "안녕", "--voice", shell.model()],
        ["models", "train", "x", "--actor", shell.actor()],
    ):
        result = run(*command)
        assert (result.exit_code, "it is cancelled" in result.stderr) == (1, True), result.output


@pytest.mark.usefixtures("folder")
def test_help_names_every_form_that_is_taken() -> None:
    assert all(ending in run("say", "--help").stdout for ending in ENDINGS)


@pytest.mark.usefixtures("folder")
def test_without_a_token_it_says_how_to_make_one() -> None:
    for command in (["actors", "list"], ["say", "안녕", "--voice", "x"], ["models", "list"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "moksori token create" in result.stderr


@pytest.mark.usefixtures("shell")
def test_a_wrong_token_is_a_sentence() -> None:
    result = run("actors", "list", "--token", "mks_wrong")
    assert result.exit_code == 1
    assert "token" in result.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "http://[", "ftp://127.0.0.1"])
@pytest.mark.usefixtures("folder")
def test_a_service_that_does_not_answer_is_a_sentence(url: str) -> None:
    result = run("actors", "list", "--token", "mks_x", "--url", url)
    assert result.exit_code == 1
    assert "moksori serve" in result.stderr or "MOKSORI_URL" in result.stderr


def test_an_output_that_cannot_be_written_is_a_sentence(shell: Service, tmp_path: Path) -> None:
    result = run("say", "안녕하세요", "--voice", shell.model(), "-o", str(tmp_path / "nowhere" / "out.wav"))
    assert result.exit_code == 1
    assert "nowhere" in result.stderr


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"", b"\n \n"])
def test_a_file_of_lines_that_is_none_is_a_sentence(shell: Service, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "lines.txt").write_bytes(data)
    result = run("batch", str(tmp_path / "lines.txt"), "--voice", shell.model())
    assert result.exit_code in (1, 2)
    assert "lines.txt" in result.stderr


def test_the_installed_command_prints_a_token_alone(folder: Path) -> None:
    """As the guide's readers do: in a shell, with nothing else on standard output."""
    made = subprocess.run(
        [sys.executable, "-m", "app.cli", "token", "create", "--name", "x", "--role", "viewer", "--quiet"],
        cwd=BACKEND, capture_output=True, text=True, check=True,
    )  # fmt: skip
    token = made.stdout.strip()
    settings = Settings(_env_file=None, engine="mock", data_dir=folder)  # type: ignore[call-arg]
    from app import bootstrap

    container = bootstrap.build(settings)
    assert identify(container, token).role == "viewer"
    container.database.close()
