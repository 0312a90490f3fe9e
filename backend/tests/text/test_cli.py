"""`moksori normalize`: a line for a line, whatever the line."""

import io
import json
import subprocess
import sys

import pytest

from app.text.cli import normalize_lines


def test_each_line_has_its_reading() -> None:
    out = io.StringIO()
    assert normalize_lines(["3명\n", "\n", "1588-1234\r\n"], out) == 0
    assert out.getvalue() == "세 명\n\n일오팔팔 일이삼사\n"


def test_trace_prints_json_lines() -> None:
    out = io.StringIO()
    normalize_lines(["VIP은"], out, trace=True)
    reading = json.loads(out.getvalue())
    assert reading["text"] == "브이아이피는"
    assert [span["written"] for span in reading["trace"]] == ["VIP", "은"]
    assert {"kind", "rule", "alternatives", "confidence", "spoken_start"} <= reading["trace"][0].keys()


def test_broken_markup_and_unclear_words_are_named_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = io.StringIO()
    assert normalize_lines(["<speak>가", "Qwertyzon 안내"], out) == 1
    assert len(out.getvalue().splitlines()) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("line 1: line 1, column") and "'Qwertyzon'" in errors[1]


def test_the_program_reads_standard_input() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "app.text"], input="20개\n", capture_output=True, text=True, check=True
    )
    assert ran.stdout == "스무 개\n"
