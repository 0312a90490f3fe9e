"""`moksori sheet`: what it prints and its exit codes; the whole job is in tests/sheets/test_end_to_end.py."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service import Service
from tests.sheets.factories import TEXT, lines
from tests.sheets.shell import Through, shell_of

Shell = Callable[..., str]
FAILING = "코드,멘트\n1,하나입니다.\n2,漢字입니다.\n"


@pytest.fixture
def shell(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return shell_of(service, tmp_path, monkeypatch)


def test_a_sheet_goes_in_and_out(service: Service, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "안내.csv").write_bytes(TEXT.encode("cp949"))
    sheet = shell("import", "안내.csv", "--voice", service.model()).strip()
    assert "안내" in shell("list") and sheet in shell("list")
    assert "3 to generate" in shell("generate", "안내")
    assert "0 to generate, 3 up to date" in shell("generate", sheet)
    assert "done" in shell("lines", sheet)
    assert "bytes" in shell("export", sheet, "-o", "out.xlsx")
    assert "3 the same" in shell("diff", sheet, "out.xlsx")
    shell("export", sheet, "--for", "asterisk", "--format", "ulaw", "--names", "p_{code}", "-o", "out.zip")
    assert zipfile.ZipFile(tmp_path / "out.zip").namelist()[0] == "sounds/ko/ivr/p_A1.ulaw"
    assert not list(tmp_path.glob(".*part"))


def test_a_difference_is_shown_and_applied_only_with_a_yes(
    service: Service, shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "b.csv").write_text(TEXT.replace("말씀 2", "바뀐 말 2").replace("A3", "A4"))
    sheet = shell("import", "a.csv", "--voice", service.model()).strip()
    shown = shell("diff", sheet, "b.csv", code=3)
    assert "~ A2" in shown and "+ A4" in shown and "- A3" in shown
    assert "안내 말씀 2입니다. → 안내 바뀐 말 2입니다." in shown
    shell("import", "b.csv", "--into", sheet, code=3)
    assert lines(service, sheet)[1]["text"] == "안내 말씀 2입니다."
    assert sheet in shell("import", "b.csv", "--into", sheet, "--yes")
    shell("diff", sheet, "b.csv")
    shell("import", "b.csv", "--into", sheet)  # nothing differs, nothing to ask


def test_a_voice_goes_by_any_of_its_names(service: Service, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    model = service.model(service.actor("김하늘"))
    sheet = shell("import", "a.csv", "--voice", "김하늘").strip()
    assert {line["voice_model_id"] for line in lines(service, sheet)} == {model}
    assert "3 the same" in shell("diff", sheet, "a.csv", "--voice", "테스트 모델 v1.0")
    service.model()
    told = shell("import", "a.csv", "--voice", "테스트 모델 v1.0", code=2)
    assert "2 voice models" in told and model in told
    assert "no voice model 밤" in shell("diff", sheet, "a.csv", "--voice", "밤", code=2)


def test_failures_end_with_1(service: Service, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(FAILING)
    assert "unclear how to read 漢字" in shell("import", "a.csv", "--voice", service.model(), "--preview")
    sheet = shell("import", "a.csv", "--voice", service.model()).strip()
    shell("export", sheet, "--for", "avaya", "-o", "out.zip", code=1)
    told = shell("generate", sheet, code=1)
    assert "1 lines failed" in told and "2: " in told
    assert "1 to generate" in shell("generate", sheet, "--only-failed", code=1)
    assert "漢字" in shell("lines", sheet, "--state", "failed")
    shell("export", sheet, "--for", "avaya", "--allow-incomplete", "-o", "out.zip")


def test_wrong_input_ends_with_2(service: Service, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("코드,멘트,속도\n1,,\n2,둘,빠름\n")
    (tmp_path / "no.csv").write_text("가,나\n1,2\n")
    model = service.model()
    told = shell("import", "bad.csv", "--voice", model, code=2)
    assert "row 2, 멘트" in told and "row 3, 속도" in told
    assert "row 2" in shell("import", "bad.csv", "--voice", model, "--preview", code=2)
    assert "No row holds headings" in shell("import", "no.csv", code=2)
    shell("import", "missing.csv", code=2)
    shell("diff", "없는 시트", "bad.csv", code=2)
    (tmp_path / "a.csv").write_text(TEXT)
    sheet = shell("import", "a.csv", "--voice", model).strip()
    shell("export", sheet, "-o", "out.pdf", code=2)
    assert "genesys-cloud" in shell("export", sheet, "--for", "cisco", "-o", "out.zip", code=2)
    shell("generate", sheet)
    assert "gsm" in shell("export", sheet, "--for", "asterisk", "--format", "gsm", "-o", "out.zip", code=2)
    assert not (tmp_path / "out.zip").exists()
    assert Through.open == 0


def test_lines_are_approved_by_their_codes(service: Service, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    sheet = shell("import", "a.csv", "--voice", service.model(), "--requires-approval").strip()
    assert "generate it first" in shell("approve", sheet, "A1", code=1)
    shell("generate", sheet)
    assert "A9" in shell("approve", sheet, "A1", "A9", code=2)
    assert not any(line["approved"] for line in lines(service, sheet))
    shell("approve", sheet, "A1", "A3")
    assert [line["approved"] for line in lines(service, sheet)] == [True, False, True]
    assert "A2: Nobody has approved" in shell("export", sheet, "--for", "avaya", "-o", "out.zip", code=1)
    shell("approve", sheet, "A2")
    shell("export", sheet, "--for", "avaya", "-o", "out.zip")
