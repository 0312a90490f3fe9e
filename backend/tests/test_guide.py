"""Every command block of the operator's guide, run through bash against the real service, in its order."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from app.remote import Remote
from app.speech.builtin.espeak import Espeak
from app.speech.coqui import INSTALL
from tests.running import Running, running_service, start, stop

BACKEND = Path(__file__).resolve().parent.parent
GUIDE = BACKEND.parent / "docs" / "voice-model-guide.ko.md"
COQUI = INSTALL.removeprefix(
    "Run: pip install "
)  # one set of versions, in the guide and in what the engine says
# Lines of an operator's older guide that are not in ours: what takes their place in it, and why.
REPLACED = {
    "uv add TTS torch torchaudio librosa soundfile": (
        f"uv add {COQUI} librosa soundfile",
        "no release of TTS goes with numpy 2 and Python 3.12 or newer: there is nothing to resolve to",
    ),
    "pip install TTS torch torchaudio librosa soundfile": (
        f"pip install {COQUI} librosa soundfile",
        "TTS 0.22, the last one, brings numpy back to 1.26, with which the service does not run",
    ),
    "pip install --force-reinstall TTS torch torchaudio": (
        f"pip install --force-reinstall {COQUI}",
        "the same",
    ),
    'docker run --memory="4g" --memory-swap="4g" your_container': ("", "containers are left to the operator"),
}
# Lines of ours that are not run as they stand: what is run of them, on a copy of backend/. PyTorch and what
# comes with it are gigabytes: that everything resolves with the service's own packages is what can break.
INSTALLATIONS = {
    f"uv add {COQUI} librosa soundfile": f"uv add --quiet --no-sync {COQUI} librosa soundfile",
    f"pip install {COQUI} librosa soundfile":
        f"uv pip install --dry-run -p {{python}} -r pyproject.toml {COQUI} librosa soundfile",
    f"pip install --force-reinstall {COQUI}":
        f"uv pip install --dry-run --reinstall -p {{python}} -r pyproject.toml {COQUI}",
    "uv sync --reinstall": "uv sync --quiet --reinstall",
}  # fmt: skip
# Programs of the machine's, not of ours; their lines are run where there are such programs.
OF_THE_MACHINE = ("nvidia-smi",)
SAMPLES = {
    "sample.wav": "안녕하세요. 테스트 샘플입니다. 오늘도 저희 고객센터를 이용해 주셔서 감사합니다.",
    "your_sample.wav": "잠시만 기다려 주시면 상담원이 친절하게 안내해 드리겠습니다.",
}


def blocks() -> list[str]:
    return re.findall(r"```bash\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def lines() -> list[str]:
    return [line.strip() for block in blocks() for line in block.splitlines()]


def runnable(block: str) -> str:
    """A block without the lines that are run elsewhere, or not on this machine."""
    kept = [
        line
        for line in block.splitlines()
        if line not in INSTALLATIONS and (line not in OF_THE_MACHINE or shutil.which(line))
    ]
    return "\n".join(kept)


class Operator:
    """Somebody who follows the guide in a project's folder, with a real token and real ids."""

    def __init__(self, project: Path, service: Running, remote: Remote) -> None:
        self.project, self.service, self.remote = project, service, remote
        actor = self.remote.call("POST", "/voice-actors", json={"name": "처음 성우"})
        for name, text in SAMPLES.items():
            self.remote.upload_sample(actor["id"], project / name, text)
        self.actor = actor["id"]
        self.model = self.new_model()
        self.scripts: list[str] = []

    def new_model(self) -> str:
        body = {"voice_actor_id": self.actor, "model_name": "처음 모델"}
        model_id: str = self.remote.call("POST", "/voice-actors/models", json=body)["id"]
        return model_id

    def run(self, block: str) -> str:
        block = runnable(block)
        for name, value in {
            "http://localhost:8000": self.service.url,
            "YOUR_TOKEN": self.service.token,
            "YOUR_VOICE_ACTOR_ID": self.actor,
            "{voice_actor_id}": self.actor,
            "{model_id}": self.model,
            **{f'"script{number}"': f'"{id}"' for number, id in enumerate(self.scripts, 1)},
        }.items():
            block = block.replace(name, value)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"set -e; curl() {{ command curl -sS --fail-with-body \"$@\"; }}\n{block}"],
            cwd=self.project,
            env=self.service.environment | {"USER": "root", "PATH": f"{self.project}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a clone's: backend/ with its environment, two recordings, and the programs of PATH."""
    project = tmp_path_factory.mktemp("project")
    backend, programs = project / "backend", project / "bin"
    backend.mkdir()
    programs.mkdir()
    shutil.copy(BACKEND / "test_tts_setup.py", backend)
    (backend / ".venv" / "bin").mkdir(parents=True)
    (backend / ".venv" / "bin" / "activate").write_text(
        f'export PATH="{Path(sys.executable).parent}:$PATH"\n'
    )
    # The environment of this very Python is not to be torn down while it runs: uv is tested on a copy below.
    if os.getuid() == 0 and shutil.which("sudo") is None:
        (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (programs / "sudo").chmod(0o755)
    with Espeak() as espeak:
        for name, text in SAMPLES.items():
            spoken = espeak.say(text)
            soundfile.write(project / name, spoken.audio, spoken.sample_rate)
    return project


def check_diagnosis(_: Operator, output: str) -> None:
    diagnosis = json.loads(output)["diagnosis"]
    assert diagnosis["mode"] == "builtin"
    assert output.count("\n") <= 1


def check_fixed(_: Operator, output: str) -> None:
    assert json.loads(output)["dry_run"] is False


def check_trained(operator: Operator, output: str) -> None:
    answer = json.loads(output)
    assert answer["status"] == "ready", answer
    assert all(step["status"] == "ok" and step["seconds"] >= 0 for step in answer["steps"])
    assert answer["quality_score"] > 0


def check_actor(operator: Operator, output: str) -> None:
    actor = json.loads(output)
    assert (actor["name"], actor["age_range"]) == ("테스트 성우", "30s")
    operator.actor = actor["id"]


def check_sample(operator: Operator, output: str) -> None:
    sample = json.loads(output[output.index('{"id"') :])
    assert sample["seconds"] > 1
    path = f"/voice-actors/{operator.actor}/samples/{sample['id']}/audio"
    assert operator.remote.call("GET", path)[:4] == b"RIFF"


def check_model(operator: Operator, output: str) -> None:
    model = json.loads(output)
    assert (model["model_name"], model["status"]) == ("테스트 모델 v1.0", "pending")
    operator.model = model["id"]


def check_reset(_: Operator, output: str) -> None:
    fixed, reset = (json.loads(line) for line in output.replace('}{"id"', '}\n{"id"').splitlines())
    assert fixed["left"] == []
    assert reset["status"] == "ready"


def check_cpu(operator: Operator, _: str) -> None:
    """The variable counts from `.env` once the service is started again."""
    assert (operator.project / ".env").read_text() == "CUDA_VISIBLE_DEVICES=\n"
    stop(operator.service.process)
    operator.service.process = start(operator.service.environment, operator.project)
    diagnosis = operator.remote.call("GET", "/voice-actors/debug/diagnosis")["diagnosis"]
    assert diagnosis["gpu"]["CUDA_VISIBLE_DEVICES"] == ""


def check_folders(operator: Operator, _: str) -> None:
    for name in ("audio_files", "voice_samples", "voice_models"):
        assert (operator.project / "backend" / name).stat().st_mode & 0o777 == 0o755


def check_tts(_: Operator, output: str) -> None:
    assert json.loads(output)["mode"] == "builtin"


def check_batch(operator: Operator, output: str) -> None:
    answer = json.loads(output)
    assert (answer["accepted"], answer["unknown"]) == (3, 0)
    batch = operator.remote.wait_for_batch(answer["batch_id"], lambda _: None, 120)
    assert (batch["done"], batch["failed"]) == (3, 0)
    again = operator.remote.call(
        "POST", "/voice-actors/tts-scripts/batch-generate", json={"script_ids": operator.scripts}
    )
    assert again["unchanged"] == 3


def make_scripts(operator: Operator) -> None:
    for text in ("상담원 연결은 0번을 눌러주세요.", "이번 달 요금은 125,000원입니다.", "감사합니다."):
        body = {"text": text, "voice_model_id": operator.model}
        operator.scripts.append(operator.remote.call("POST", "/voice-actors/tts-scripts", json=body)["id"])


def age_takes(operator: Operator) -> None:
    files = list((operator.project / "backend/audio_files").rglob("*.wav"))
    assert len(files) == 3
    for file in files:
        os.utime(file, (1, 1))


def check_deleted_takes(operator: Operator, _: str) -> None:
    """What was deleted behind the service's back is named, marked and made again."""
    codes = {
        each["code"]
        for each in operator.remote.call("GET", "/voice-actors/debug/diagnosis")["diagnosis"]["findings"]
    }
    assert "take_file_missing" in codes
    fixed = operator.remote.call("POST", "/voice-actors/debug/fix-issues")["fixed"]
    assert "take_file_missing" in {each["code"] for each in fixed}
    batch = operator.remote.call(
        "POST", "/voice-actors/tts-scripts/batch-generate", json={"script_ids": operator.scripts}
    )
    assert batch["accepted"] == 3
    assert operator.remote.wait_for_batch(batch["batch_id"], lambda _: None, 120)["done"] == 3


def check_health_log(operator: Operator, _: str) -> None:
    lines = (operator.project / "health_check.log").read_text().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["diagnosis"]["status"]


def break_something(operator: Operator) -> None:
    """So that there is an error to grep for."""
    body = {"text": "이 글자는 漢字입니다.", "voice_model_id": operator.model}
    script = operator.remote.call("POST", "/voice-actors/tts-scripts", json=body)
    started = operator.remote.call("POST", f"/voice-actors/tts-scripts/{script['id']}/generate")
    assert operator.remote.wait_for_generation(started["generation_id"], 60)["status"] == "failed"


def check_logs(operator: Operator, output: str) -> None:
    events = {json.loads(line)["event"] for line in output.splitlines()}
    assert {"tts.generated", "tts.failed", "voice_model.trained"} <= events
    assert operator.service.token not in output
    assert "漢字" not in output


def check_started(_: Operator, output: str) -> None:
    assert "TTS 초기화 성공!" in output


def check_doctor(_: Operator, output: str) -> None:
    assert "engine: builtin" in output


def check_torch(_: Operator, output: str) -> None:
    assert output.splitlines()[-1] in ("True", "False")


def check_installations(_operator: Operator, output: str) -> None:
    """Nothing of these blocks is run here: see the tests of the installations."""
    assert output == ""


Check = Callable[[Operator, str], None]
# A line of each block, what is done before it, and what it must have done.
STEPS: list[tuple[str, Callable[[Operator], None] | None, Check]] = [
    ("TTS 환경 전체 진단", None, check_diagnosis),
    ("일반적인 문제들 자동 수정", None, check_fixed),
    ("특정 모델을 디버그 모드로 학습", None, check_trained),
    ("테스트 스크립트 실행", None, check_doctor),
    ("uv 사용 (권장)", None, check_installations),
    ("필요한 디렉토리들 확인 및 생성", None, check_folders),
    ("1. 성우 등록", None, check_actor),
    ("2. 음성 샘플 업로드", None, check_sample),
    ("1. Voice Model 생성", None, check_model),
    ("2. 디버그 모드 학습 시작", None, check_trained),
    ("의존성 재설치", None, check_installations),
    ("CPU 모드로 강제 실행", None, check_cpu),
    ("권한 수정", None, check_folders),
    ("또는 수동으로 상태 리셋", None, check_reset),
    ("샘플 재업로드", None, check_sample),
    ("진단 API로 현재 모드 확인", None, check_tts),
    ("CUDA 설정 확인", None, check_torch),
    ("여러 TTS를 한 번에 생성", make_scripts, check_batch),
    ("생성된 파일들 정기 정리", age_takes, check_deleted_takes),
    ("정기 헬스체크", None, check_health_log),
    ("TTS 관련 로그 확인", break_something, check_logs),
    ("Python 인터프리터에서 직접 테스트", None, check_started),
]


@pytest.mark.needs("curl", "jq")
@pytest.mark.timeout(600)
def test_every_block_of_the_guide_works_in_order(project: Path) -> None:
    found = blocks()
    assert len(found) == len(STEPS), "a block came or went: say what it must do"
    with running_service(project / "backend", project) as service, service.remote() as remote:
        operator = Operator(project, service, remote)
        for block, (line, before, check) in zip(found, STEPS, strict=True):
            assert line in block
            if before:
                before(operator)
            check(operator, operator.run(block))


def test_every_line_of_older_guides_has_its_place_in_ours() -> None:
    for replacement, why in REPLACED.values():
        assert why
        assert not replacement or replacement in lines()
    assert not REPLACED.keys() & set(lines())
    assert INSTALLATIONS.keys() <= set(lines())
    assert set(OF_THE_MACHINE) <= set(lines())


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    """A copy of backend/ without what is made in it: this Python's own environment must live on."""
    backend = tmp_path / "backend"
    ignored = shutil.ignore_patterns(
        ".venv", "__pycache__", ".*_cache", "tests", "data", "logs", "voice_*s", "audio_files", "uv.lock"
    )
    shutil.copytree(
        BACKEND,
        backend,
        ignore=lambda folder, names: ignored(folder, names) if folder == str(BACKEND) else [],
    )
    return backend


def install(backend: Path, line: str) -> tuple[str, dict[str, str]]:
    """Run what is run of a line in a copy of backend/; what it said, and the environment for what follows."""
    clean = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment = clean | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", INSTALLATIONS[line].format(python=sys.executable)],
        cwd=backend, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr, environment


@pytest.mark.timeout(600)
def test_uv_sync_makes_an_environment_in_which_the_service_starts(backend: Path, tmp_path: Path) -> None:
    _, environment = install(backend, "uv sync --reinstall")
    answer = subprocess.run(
        [backend / ".venv/bin/moksori", "doctor", "--json"],
        cwd=tmp_path, env=environment | {"MOKSORI_DATA_DIR": str(tmp_path / "data")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    diagnosis: dict[str, Any] = json.loads(answer.stdout)["diagnosis"]
    assert diagnosis["engine"]["available"]


@pytest.mark.timeout(300)
def test_uv_adds_what_took_the_place_of_tts(backend: Path) -> None:
    install(backend, f"uv add {COQUI} librosa soundfile")
    locked = (backend / "uv.lock").read_text()
    assert 'name = "coqui-tts"' in locked
    assert 'name = "dbos"' in locked  # beside the service's own


@pytest.mark.parametrize("line", [line for line in INSTALLATIONS if line.startswith("pip ")])
@pytest.mark.timeout(300)
def test_pip_finds_what_took_the_place_of_tts(backend: Path, line: str) -> None:
    said, _ = install(backend, line)
    assert "coqui-tts==" in said
    assert "numpy==1." not in said  # what the service runs on stays
