"""`moksori weights`: what it shows, what it asks for, and how it ends."""

from __future__ import annotations

import errno
import getpass
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.cli.weights import weights_app
from app.speech.releases import RELEASES
from tests.speech.hub import CONTENTS, Hub, running_hub, small_release
from tests.speech.xtts import checkpoints


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setitem(RELEASES, "xtts-v2", small_release())
    monkeypatch.setenv("MOKSORI_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("MOKSORI_ACCEPTED_LICENSES", "[]")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("app.speech.download.ATTEMPTS", 1)  # no second one, no wait
    monkeypatch.setattr("app.bootstrap.examine_weights", lambda folder: None)  # they hold no tensors
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


@pytest.fixture
def weights_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where weights go, with a name that rich takes for markup unless it is told not to."""
    monkeypatch.setenv("MOKSORI_WEIGHTS_DIR", str(tmp_path / "[red]"))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "[red]"


def run(*words: str) -> Result:
    result = CliRunner().invoke(weights_app, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


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


def test_a_user_without_a_name_is_recorded_by_number(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a bare number."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    fetched = run("fetch", "--accept-license", "cpml")
    assert f"accepted by user {os.getuid()}" in fetched.output
    assert fetched.exit_code == 0


@pytest.mark.usefixtures("hub")
def test_brackets_are_no_markup(weights_dir: Path) -> None:
    fetched = run("fetch", "--accept-license", "cpml", "--accepted-by", "[Kim]")
    assert f"{weights_dir}/xtts-v2, accepted by [Kim]." in fetched.output
    listed = run("list").output
    assert f"{weights_dir}/xtts-v2" in listed
    assert "[Kim]" in listed
    (weights_dir / "xtts-v2" / "config.json").write_text('{"model": "[/bold]"}')
    assert "'[/bold]'" in run("list").output
    refused = run("import", "/nowhere/[/red]such", "--accept-license", "cpml")
    assert (refused.exit_code, "/nowhere/[/red]such cannot be used" in refused.output) == (8, True)


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 6), (errno.EDQUOT, 6), (errno.EROFS, 8)])
def test_what_the_disk_refuses_has_its_exit_code(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    refused = run("fetch", "--accept-license", "cpml")
    assert (refused.exit_code, "MOKSORI_WEIGHTS_DIR" in refused.output) == (code, True)


@pytest.mark.usefixtures("hub")
def test_a_damaged_record_is_listed(tmp_path: Path) -> None:
    run("fetch", "--accept-license", "cpml")
    (tmp_path / "weights/xtts-v2/moksori.json").write_text("[]")
    listed = run("list")
    assert listed.exit_code == 0
    assert "is damaged" in listed.output


# --- with a checkpoint that speaks ------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.tiny(tmp_path_factory.mktemp("tiny"))


def test_only_what_opens_is_taken_over(weights_dir: Path, tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "mine"))
    content = (folder / "model.pth").read_bytes()
    for part, said in (
        (content[: len(content) // 2], "cut short"),
        (CONTENTS["model.pth"], "damaged, or holds more than weights"),
    ):
        (folder / "model.pth").write_bytes(part)
        refused = run("import", str(folder), "--accept-license", "cpml")
        assert (refused.exit_code, said in refused.output) == (8, True), refused.output
        assert not weights_dir.exists()
    (folder / "model.pth").write_bytes(content)
    assert run("import", str(folder), "--accept-license", "cpml").exit_code == 0


def test_conversion_in_place(weights_dir: Path, tiny: Path) -> None:
    assert run("convert").exit_code == 1  # there is nothing
    run("import", str(tiny), "--accept-license", "cpml")
    converted = run("convert")
    assert (converted.exit_code, f"{weights_dir}/xtts-v2: converted." in converted.output) == (0, True)
    (weights_dir / "xtts-v2" / "model.pth").unlink()
    refused = run("convert", "--precision", "fp32")
    assert (refused.exit_code, "moksori weights fetch" in refused.output) == (1, True)


def test_a_full_disk_while_converting(weights_dir: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run("import", str(tiny), "--accept-license", "cpml")
    monkeypatch.setattr(os, "fsync", fill)
    assert run("convert").exit_code == 6
