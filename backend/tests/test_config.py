from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app import config
from app.audio.decode import LIMITS
from app.config import Settings, UnreadableSettings, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("MOKSORI_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)
    files = (tmp_path / "project.env", tmp_path / ".env")
    monkeypatch.setattr(config, "ENV_FILES", files)
    monkeypatch.setitem(Settings.model_config, "env_file", files)


def test_settings_come_from_the_environment_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project.env").write_text("MOKSORI_PORT=8001\nMOKSORI_ENGINE=mock\nOTHER=1\n")
    (tmp_path / ".env").write_text("MOKSORI_ENGINE=builtin\n")
    monkeypatch.setenv("MOKSORI_HOST", "0.0.0.0")
    settings = load_settings()
    assert (settings.port, settings.engine, settings.host) == (8001, "builtin", "0.0.0.0")
    monkeypatch.setenv("MOKSORI_PORT", "8002")
    assert load_settings().port == 8002
    assert load_settings(port=8003).port == 8003


@pytest.mark.parametrize(
    ("written", "expected"),
    [("cpml", ["cpml"]), (" cpml, other ", ["cpml", "other"]), ('["cpml"]', ["cpml"]), ("[]", []), ("", [])],
)
def test_licences_as_anybody_would_write_them(
    monkeypatch: pytest.MonkeyPatch, written: str, expected: list[str]
) -> None:
    monkeypatch.setenv("MOKSORI_ACCEPTED_LICENSES", written)
    assert load_settings().accepted_licenses == expected


def test_aliases_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOKSORI_VOICE_ALIASES", '{"alloy": "고객센터 v1"}')
    assert load_settings().voice_aliases == {"alloy": "고객센터 v1"}
    monkeypatch.setenv("MOKSORI_VOICE_ALIASES", "")
    assert load_settings().voice_aliases == {}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("VOICE_ALIASES", "alloy=mine"),
        ("VOICE_ALIASES", "{"),
        ("VOICE_ALIASES", "[1]"),
        ("ACCEPTED_LICENSES", "[cpml"),
    ],
)
def test_what_is_no_json_is_said(monkeypatch: pytest.MonkeyPatch, name: str, written: str) -> None:
    monkeypatch.setenv(f"MOKSORI_{name}", written)
    with pytest.raises(ValidationError, match=name.lower()):
        load_settings()


def test_everything_lies_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOKSORI_DATA_DIR", "here")
    settings = load_settings()
    assert settings.data_dir == tmp_path / "here"
    assert settings.database == f"sqlite:///{tmp_path}/here/data/moksori.sqlite3"
    assert settings.weights == tmp_path / "here" / "weights"
    assert settings.logs_dir == tmp_path / "here" / "logs"


@pytest.mark.parametrize(
    ("written", "expected"),
    [("CUDA_VISIBLE_DEVICES=\n", ""), ('CUDA_VISIBLE_DEVICES=""\n', ""), ("CUDA_VISIBLE_DEVICES=1\n", "1")],
)
def test_the_guides_line_in_env_forces_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, expected: str
) -> None:
    """`echo "CUDA_VISIBLE_DEVICES=" >> .env`, before any engine is loaded."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / ".env").write_text(written)
    load_settings()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected


def test_the_environment_has_the_last_word_on_the_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    (tmp_path / ".env").write_text("CUDA_VISIBLE_DEVICES=\n")
    load_settings()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"engine": "other"},
        {"workers": -1},
        {"retention_days": -1},
        {"login_tries": 0},
        {"database_url": "mysql://x/y"},
        {"database_url": "postgresql://x/y"},
        {"database_url": "postgresql+asyncpg://x/y"},
        {"database_url": "sqlite+aiosqlite:///x"},
        {"xtts_precision": "fp16"},
        {"upload_max_bytes": 0},
        {"upload_max_bytes": LIMITS.max_bytes + 1},
        {"beat_seconds": 5, "silent_seconds": 9},
    ],
)
def test_a_wrong_value_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        load_settings(**wrong)


def test_a_folder_may_be_written_as_in_a_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = load_settings(data_dir="~/data", weights_dir="~/weights")
    assert (found.data_dir, found.weights) == (tmp_path / "data", tmp_path / "weights")


@pytest.mark.parametrize("name", ["settings.md", "settings.ko.md"])
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    text = (config.BACKEND.parent / "docs" / name).read_text()
    rows = dict(re.findall(r"^\| `MOKSORI_(\w+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE))
    assert [variable.lower() for variable in rows] == list(Settings.model_fields)
    for variable, written in rows.items():
        default = Settings.model_fields[variable.lower()].get_default(call_default_factory=True)
        if isinstance(default, (bool, int, float)):
            assert written == f"`{json.dumps(default).removesuffix('.0')}`"
        elif isinstance(default, str) and default:
            assert written == f"`{default}`"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_may_have_a_korean_comment(tmp_path: Path, encoding: str) -> None:
    (tmp_path / ".env").write_text("MOKSORI_PORT=8001  # 포트\n", encoding=encoding)
    assert load_settings().port == 8001


@pytest.mark.parametrize("encoding", ["utf-16", "cp949"])
def test_a_file_in_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / ".env").write_text("# 설정\nMOKSORI_PORT=8001\n", encoding=encoding)
    with pytest.raises(UnreadableSettings, match=re.escape(str(tmp_path / ".env"))):
        load_settings()


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_every_documented_setting_is_one(name: str) -> None:
    text = (config.BACKEND.parent / name).read_text()
    documented = {variable.lower() for variable in re.findall(r"`MOKSORI_(\w+)`", text)}
    assert {"engine", "xtts_precision"} <= documented <= Settings.model_fields.keys()
