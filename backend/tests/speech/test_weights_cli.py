"""`moksori weights`: what it shows, what it asks for, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.speech.releases import RELEASES
from app.speech.weights_cli import weights_app
from tests.speech.hub import CONTENTS, Hub, running_hub, small_release


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setitem(RELEASES, "xtts-v2", small_release())
    monkeypatch.setenv("MOKSORI_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("MOKSORI_ACCEPTED_LICENSES", "[]")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("app.speech.download.ATTEMPTS", 1)  # no second one, no wait
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def run(*words: str) -> Result:
    return CliRunner().invoke(weights_app, words)


def test_fetch_shows_the_licence_and_wants_a_yes(hub: Hub, tmp_path: Path) -> None:
    refused = run("fetch", "xtts-v2")
    assert refused.exit_code == 3
    assert "Coqui Public Model License" in refused.output
    assert "non-commercial" in refused.output
    assert "--accept-license cpml" in refused.output
    assert hub.asked == []

    fetched = run("fetch", "xtts-v2", "--accept-license", "cpml", "--accepted-by", "Kim")
    assert fetched.exit_code == 0, fetched.output
    assert "Coqui Public Model License" in fetched.output
    record = json.loads((tmp_path / "weights/xtts-v2/moksori.json").read_text("utf-8"))
    assert record["license"]["accepted_by"] == "Kim"


def test_the_setting_is_a_yes_as_well(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOKSORI_ACCEPTED_LICENSES", '["cpml"]')
    monkeypatch.setenv("LOGNAME", "operator")
    fetched = run("fetch")
    assert fetched.exit_code == 0, fetched.output
    assert "accepted by operator" in fetched.output


def test_list_tells_what_is_there(hub: Hub, tmp_path: Path) -> None:
    assert "is not here" in run("list").output
    run("fetch", "--accept-license", "cpml", "--accepted-by", "Kim")
    listed = run("list")
    assert listed.exit_code == 0
    assert "published" in listed.output
    assert "Kim" in listed.output
    (tmp_path / "weights/xtts-v2/model.pth").unlink()
    assert "model.pth is missing" in run("list").output


def test_import_and_its_refusal(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    imported = run("import", str(folder), "--accept-license", "cpml", "--accepted-by", "Kim")
    assert imported.exit_code == 0, imported.output
    assert "the published files" in imported.output
    (folder / "vocab.json").unlink()
    refused = run("import", str(folder), "--accept-license", "cpml")
    assert refused.exit_code == 8
    assert "vocab.json is missing" in refused.output


def test_exit_codes_tell_the_failures_apart(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("fetch", "xtts-v9").exit_code == 2
    hub.contents["model.pth"] = b"?" * len(CONTENTS["model.pth"])
    assert run("fetch", "--accept-license", "cpml").exit_code == 5
    del hub.contents["model.pth"]
    assert run("fetch", "--accept-license", "cpml").exit_code == 4
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run("fetch", "--accept-license", "cpml").exit_code == 4
