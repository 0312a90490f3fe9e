"""The xtts engine in the whole service, on a tiny made-up checkpoint that was imported from the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.speech.builtin.espeak import Espeak
from tests.running import running_service
from tests.service import wav
from tests.speech.xtts.checkpoints import tiny

TEXT = "안녕하세요, 반갑습니다. 잠시만 기다려 주십시오."
ENDS_SOON = 6.0  # so that made-up weights find an end, as trained ones do


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recording") / "sample.wav"
    with Espeak() as espeak:
        spoken = espeak.say(TEXT)
    file.write_bytes(wav(spoken.audio, spoken.sample_rate))
    return file


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights that were imported and converted."""
    folder = tmp_path_factory.mktemp("imported")
    data, checkpoint = folder / "data", tiny(folder / "checkpoint", ENDS_SOON)
    for command in (["import", str(checkpoint), "--accept-license", "cpml"], ["convert"]):
        subprocess.run(
            [sys.executable, "-m", "app.cli", "weights", *command],
            env=os.environ | {"MOKSORI_DATA_DIR": str(data)}, check=True, capture_output=True,
        )  # fmt: skip
    assert (data / "weights" / "xtts-v2" / "model.safetensors").is_file()
    return data / "weights"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_imported_weights_train_and_speak_with_a_measured_similarity(
    tmp_path: Path, weights: Path, recording: Path, processes: str
) -> None:
    """In the worker's only process; and in one of its own, with two that do the jobs, as beside a GPU."""
    settings = {"engine": "auto", "worker_processes": processes, "weights_dir": str(weights)}
    with running_service(tmp_path / "data", **settings) as service, service.remote() as remote:
        diagnosis = remote.call("GET", "/voice-actors/debug/diagnosis")["diagnosis"]
        assert (diagnosis["engine"]["chosen"], diagnosis["mode"]) == ("xtts", "real")
        assert "non-commercial" in diagnosis["weights"]["license"]
        actor = remote.call("POST", "/voice-actors", json={"name": "성우"})["id"]
        remote.upload_sample(actor, recording, TEXT)
        body = {"voice_actor_id": actor, "model_name": "작은 모델"}
        model = remote.call("POST", "/voice-actors/models", json=body)["id"]
        trained = remote.call("POST", f"/voice-actors/models/{model}/debug-train")
        assert trained["status"] == "ready", trained
        [spoke] = [step for step in trained["steps"] if step["name"] == "speak_test_lines"]
        assert all(-1 <= similarity <= 1 for similarity in spoke["figures"]["similarity"])
        body = {"text": "0번을 눌러 주십시오.", "voice_model_id": model}
        script = remote.call("POST", "/voice-actors/tts-scripts", json=body)["id"]
        started = remote.call("POST", f"/voice-actors/tts-scripts/{script}/generate")
        done = remote.wait_for_generation(started["generation_id"], 120)
        assert done["status"] == "done", done
        assert done["take"]["engine"] == "xtts"
        assert done["take"]["sample_rate"] == 24_000
        assert -1 <= done["take"]["report"]["similarity"] <= 1
        spoken = httpx.post(
            f"{service.url}/v1/audio/speech",
            headers={"Authorization": f"Bearer {service.token}"},
            json={"input": "0번을 눌러 주십시오.", "voice": model, "response_format": "pcm"},
            timeout=60,
        )
        assert spoken.status_code == 200
        assert len(spoken.content) > 0.2 * 2 * 24_000
