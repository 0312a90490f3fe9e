"""The demonstration, where it has nothing to show; `make demo` is the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "tools" / "demo.py"


def test_a_folder_without_recordings_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(b"of a telephone")
    ended = subprocess.run(
        [sys.executable, str(DEMO), str(tmp_path)],
        env={"COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert f"There are no recordings in {tmp_path} (.wav, .flac, .mp3, .ogg, .oga, .opus)." in ended.stdout
