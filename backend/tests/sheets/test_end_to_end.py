"""The job as a team does it, from the shell: a sheet of 300 in, ten lines changed, a package out."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from app.config import Settings
from app.models import VoiceModel
from app.speech.interface import VoiceState
from app.text import normalize
from app.voice_models.state import put_state
from tests.service import Service, serving
from tests.sheets.shell import shell_of
from tests.speech.builtin.actors import prompts

CASES = Path(__file__).parents[1] / "text" / "cases"
HEADINGS = ["멘트코드", "멘트", "속도", "쉼", "파일명", "경로", "비고"]
LINES = 300


def announcements() -> list[str]:
    """Real announcements, none of which is unclear."""
    found: dict[str, None] = {}
    for file in sorted(CASES.glob("*.tsv")):
        for row in file.read_text(encoding="utf-8").splitlines():
            text = row.split("\t")[0].strip()
            plain = 8 <= len(text) <= 24 and text[-1:] == "." and not text.startswith("#") and "|" not in text
            if (
                plain
                and text.encode("cp949", "ignore").decode("cp949") == text
                and not normalize(text).unclear
            ):
                found[text] = None
    return sorted(found, key=len)[:LINES]


def as_cp949(texts: list[str]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(HEADINGS)
    for number, text in enumerate(texts, 1):
        writer.writerow(
            [f"A{number:03}", text, "", "0.3초" if number % 7 == 0 else "", "", f"ivr/{number % 5}", ""]
        )
    return file.getvalue().encode("cp949")


@pytest.fixture
def shell(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    return shell_of(service, tmp_path, monkeypatch)


@pytest.mark.needs("sox", "ffprobe")
@pytest.mark.timeout(400)  # a minute on an idle machine
def test_a_sheet_of_300_goes_in_ten_change_and_a_package_comes_out(
    service: Service, shell: Callable[..., str], tmp_path: Path
) -> None:
    voice = voice_at(service, 600.0)
    texts = announcements()
    assert len(texts) == LINES
    (tmp_path / "멘트.csv").write_bytes(as_cp949(texts))

    seen = shell("import", "멘트.csv", "--voice", voice, "--preview")
    assert "cp949" in seen and "300 announcements" in seen
    sheet = shell("import", "멘트.csv", "--voice", voice, "--name", "대표번호").strip()
    shell("diff", "대표번호", "멘트.csv", code=0)
    assert "300 to generate" in shell("generate", sheet)
    before = lines_of(service, sheet)
    assert {line["state"] for line in before.values()} == {"done"}

    changed = {number * 30: f"{texts[number * 30][:-1]}, 감사합니다." for number in range(10)}
    texts = [changed.get(number, text) for number, text in enumerate(texts)]
    (tmp_path / "멘트 2.csv").write_bytes(as_cp949(texts))
    assert "0 new, 10 changed, 0 gone, 290 the same" in shell("diff", sheet, "멘트 2.csv", code=3)
    shell("import", "멘트 2.csv", "--into", sheet, code=3)  # nobody said yes
    shell("import", "멘트 2.csv", "--into", sheet, "--yes")
    refused = shell("export", sheet, "--for", "asterisk", "-o", "out.zip", code=1)
    assert "10 are not ready" in refused and not (tmp_path / "out.zip").exists()
    assert "10 to generate, 290 up to date" in shell("generate", sheet)

    after = lines_of(service, sheet)
    again = {code for code, line in after.items() if line["take"]["id"] != before[code]["take"]["id"]}
    assert again == {f"A{number + 1:03}" for number in changed}
    assert {line["script_id"] for line in after.values()} == {line["script_id"] for line in before.values()}

    shell("export", sheet, "--for", "asterisk", "-o", "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as package:
        package.extractall(tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text(encoding="utf-8"))
    assert manifest["left_out"] == [] and len(manifest["files"]) == 5 * LINES
    said = {entry["code"]: entry["text"] for entry in manifest["files"]}
    assert [said[f"A{number:03}"] for number in range(1, LINES + 1)] == texts
    check_files(tmp_path / "out", manifest["files"])


def voice_at(service: Service, hertz: float) -> str:
    """A model whose takes are heard over a telephone: its tone is inside the narrow band."""
    model_id = service.model()
    state = VoiceState("mock", {"hertz": np.array([hertz], np.float32)}, {"simulated": True})
    put_state(service.container.store, service.row(VoiceModel, model_id).state_key, state)
    return model_id


def lines_of(service: Service, sheet: str) -> dict[str, dict[str, Any]]:
    items, cursor = [], {}
    while cursor is not None:
        page = service.get(f"/sheets/{sheet}/lines", params={"limit": 200, **cursor}).json()
        items += page["items"]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    return {line["code"]: line for line in items}


def check_files(root: Path, entries: list[dict[str, object]]) -> None:
    """What sox and ffprobe read is what the manifest promises, and what Asterisk asks of a file."""
    for entry in entries:
        data = (root / str(entry["file"])).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        per_second = {"ulaw": 8000, "alaw": 8000, "sln": 16_000, "sln16": 32_000}.get(str(entry["format"]))
        if per_second:  # no header: nothing but samples
            assert len(data) == round(float(str(entry["seconds"])) * per_second)
    by_format = {
        name: [e for e in entries if e["format"] == name] for name in ("ulaw", "alaw", "wav", "sln16")
    }
    for name, told in (
        ("ulaw", ["-t", "ul", "-r", "8000", "-c", "1"]),
        ("alaw", ["-t", "al", "-r", "8000", "-c", "1"]),
    ):
        some = by_format[name][::25]
        for entry in some:
            heard = subprocess.run(
                ["sox", *told, root / str(entry["file"]), "-n", "stat"],
                capture_output=True,
                text=True,
                check=True,
            ).stderr
            facts = dict(line.split(":") for line in heard.splitlines() if ":" in line)
            assert float(facts["Length (seconds)"]) == pytest.approx(entry["seconds"], abs=1e-5)
            assert 0.05 < float(facts["Maximum amplitude"]) <= 0.75  # heard, and below -3 dBTP
    wavs = [str(root / str(entry["file"])) for entry in by_format["wav"]]
    for option, wanted in (("-r", {"8000"}), ("-c", {"1"}), ("-b", {"16"}), ("-e", {"Signed Integer PCM"})):
        told_by_soxi = subprocess.run(
            ["soxi", option, *wavs], capture_output=True, text=True, check=True
        ).stdout
        assert set(told_by_soxi.splitlines()) == wanted
    for entry in by_format["wav"][::60]:
        probed = subprocess.run(
            ["ffprobe", "-v", "error", "-of", "json", "-show_streams", root / str(entry["file"])],
            capture_output=True, check=True,
        )  # fmt: skip
        (stream,) = json.loads(probed.stdout)["streams"]
        assert (stream["codec_name"], stream["channels"], stream["sample_rate"]) == ("pcm_s16le", 1, "8000")
        assert float(stream["duration"]) == pytest.approx(float(str(entry["seconds"])), abs=1e-4)


@pytest.mark.needs("sox", "asterisk-prompts")
def test_a_few_lines_in_the_voice_of_a_real_actor(
    application: FastAPI, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The builtin engine from sheet to package: what sox measures is speech at the level of the preset."""
    texts = ["상담원 연결은 0번을 눌러 주세요.", "결제하실 금액은 32,500원입니다."]
    with serving(application, settings.model_copy(update={"engine": "builtin"})) as service:
        shell = shell_of(service, tmp_path, monkeypatch)
        (tmp_path / "a.csv").write_bytes(as_cp949(texts))
        service.container.engine.load()
        model_id = service.model()
        state = service.container.engine.condition(prompts("June", 20, 1)[0])
        put_state(service.container.store, service.row(VoiceModel, model_id).state_key, state)
        shell("import", "a.csv", "--voice", model_id, "--name", "안내")
        shell("generate", "안내")
        shell("export", "안내", "--for", "asterisk", "-o", "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as package:
        package.extractall(tmp_path / "out")
    entries = json.loads((tmp_path / "out/manifest.json").read_text(encoding="utf-8"))["files"]
    assert {entry["engine"] for entry in entries} == {"builtin"} and len(entries) == 10
    assert entries[0]["reading"] == normalize(texts[0]).text
    check_files(tmp_path / "out", entries)
    for entry in entries:
        assert 1.5 < entry["seconds"] < 6
