"""The guide's way to try speech in a Python shell."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.services.tts_service import TtsService, tts_service

BACKEND = Path(__file__).resolve().parents[2]


def test_the_engine_is_chosen_and_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOKSORI_ENGINE", "mock")
    service = TtsService()
    first = asyncio.run(service.initialize_tts_model())
    assert first.name == "mock"
    assert asyncio.run(service.initialize_tts_model()) is first
    service.close()
    service.close()
    assert asyncio.run(service.initialize_tts_model()) is not first


def test_one_is_ready_to_be_imported() -> None:
    assert isinstance(tts_service, TtsService)
    assert tts_service.engine is None


def test_the_doctors_script_exits_as_the_doctor_does(tmp_path: Path) -> None:
    environment = os.environ | {"MOKSORI_DATA_DIR": str(tmp_path / "data"), "MOKSORI_ENGINE": "mock"}
    done = subprocess.run(
        [sys.executable, str(BACKEND / "test_tts_setup.py")], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "engine: mock" in done.stdout
    (tmp_path / "data" / "audio_files").rmdir()
    (tmp_path / "data" / "audio_files").write_text("a file in its place")
    done = subprocess.run(
        [sys.executable, str(BACKEND / "test_tts_setup.py")], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "audio_files" in done.stdout
    assert "Traceback" not in done.stderr
