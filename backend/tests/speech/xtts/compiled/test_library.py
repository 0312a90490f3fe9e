from __future__ import annotations

import ctypes
import logging
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.compiled import layers, library
from app.speech.xtts.gpt import Gpt
from app.speech.xtts.model import Model
from app.speech.xtts.vocoder import HOP, Vocoder

CPU = torch.device("cpu")
EACH = len(library._SOURCES) + 1
COMPILING = 'echo "$@" >> {calls}\nwhile [ "$1" != -o ]; do shift; done\n'


def processor(folder: Path, *parts: str) -> Path:
    """What Linux says of one."""
    file = folder / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: fpu sse2 {' '.join(parts)} pku\nbugs\t\t: none\n\n")
    return file


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A processor that has all there is, empty folders, and nothing loaded yet."""
    monkeypatch.setattr(library, "_PROCESSOR", processor(tmp_path, *library._PARTS))
    monkeypatch.setattr(library, "_library", cache(library._library.__wrapped__))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a script the compiler; returns the file with its calls, a line each: `EACH` to compile once."""

    def make(end: str) -> Path:
        script, calls = tmp_path / "compiler", tmp_path / "calls"
        script.write_text(f"#!/bin/sh\n{COMPILING.format(calls=calls)}{end}\n")
        script.chmod(0o755)
        monkeypatch.setenv("CC", str(script))
        return calls

    return make


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is loaded: nothing is, in truth, so that the processor need not be one that could."""
    paths: list[Path] = []

    def load(path: str) -> Any:
        paths.append(Path(path))
        return MagicMock()

    monkeypatch.setattr(ctypes, "CDLL", load)
    return paths


def again() -> Any:
    """As another process would ask for it."""
    library._library.cache_clear()
    return library.library()


def works_without(tiny_folder: Path) -> None:
    opened = open_checkpoint(tiny_folder)
    gpt = Gpt(opened.weights, opened.settings, "bf16", CPU)
    vocoder = Vocoder(opened.weights.under("hifigan_decoder.waveform_decoder"), "bf16", CPU)
    assert not gpt.compiled
    assert not vocoder.compiled
    channels = opened.settings.channels
    row = gpt.cache(1, 32)
    assert gpt.prefill(torch.ones(1, 3, channels), row, 0, 0).isfinite().all()
    assert vocoder(torch.ones(1, 2, channels), torch.ones(1, 512)).shape == (1, 2 * HOP)


def test_no_compiler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tiny_folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert library.library() is None
    assert not library.supported(CPU)
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "tts.xtts.no_compiler")
    ]
    assert not any(file.is_file() for file in (tmp_path / "cache").rglob("*"))
    works_without(tiny_folder)


@pytest.mark.parametrize("vendor", ["AuthenticAMD", "GenuineIntel"])
def test_every_kind_of_processor_has_code_of_its_own(
    vendor: str, compiler: Callable[[str], Path], loaded: list[Path], tmp_path: Path
) -> None:
    calls = compiler('touch "$2"')
    with library._PROCESSOR.open("a") as file:
        file.write(f"vendor_id\t: {vendor}\n")
    assert library.library() is not None
    commands = calls.read_text().splitlines()
    assert all(("-DAMD" in command) == (vendor == "AuthenticAMD") for command in commands[:-1])
    (tmp_path / "cpuinfo").write_text(library._PROCESSOR.read_text().replace(vendor, "Another"))
    assert again() is not None
    assert (loaded[0] == loaded[1]) == (vendor != "AuthenticAMD")


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("exit 1", "CalledProcessError"),
        ("exit 0", "FileNotFoundError"),  # and wrote nothing
        ("echo nonsense > $2", "OSError"),  # which cannot be loaded
    ],
)
def test_a_compiler_that_fails(
    end: str,
    error: str,
    compiler: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    tiny_folder: Path,
) -> None:
    calls = compiler(end)
    assert library.library() is None
    assert not library.supported(CPU)
    assert [(record.message, record.__dict__["error"]) for record in caplog.records] == [
        ("tts.xtts.not_compiled", error)
    ]
    works_without(tiny_folder)
    assert len(calls.read_text().splitlines()) == (len(library._SOURCES) if end == "exit 1" else EACH)


def test_a_compiler_that_never_ends(compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    started, popen = [], subprocess.Popen

    def recorded(*given: Any, **options: Any) -> Any:
        started.append(popen(*given, **options))
        return started[-1]

    compiler("exec sleep 60")
    monkeypatch.setattr(subprocess, "Popen", recorded)
    monkeypatch.setattr(library, "_PATIENCE", 0.05)
    assert library.library() is None
    assert [process.returncode for process in started] == [-signal.SIGKILL] * len(library._SOURCES)


def test_compiled_once(
    compiler: Callable[[str], Path], loaded: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = compiler('touch "$2"')
    assert library.library() is library.library()
    monkeypatch.setenv("CC", "no-such-compiler")  # it may be gone from then on
    assert again() is not None
    assert len(calls.read_text().splitlines()) == EACH
    assert loaded == [loaded[0]] * 2
    folder = tmp_path / "cache/moksori"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == loaded[:1]


def test_other_code_is_compiled_anew(
    compiler: Callable[[str], Path], loaded: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls, sources = compiler('touch "$2"'), tmp_path / "sources"
    sources.mkdir()
    for name in (*library._SOURCES, *library._HEADERS):
        (sources / name).write_text("")
    monkeypatch.setattr(library, "_FOLDER", sources)
    again()
    for name in (*library._SOURCES, *library._HEADERS):
        (sources / name).write_text(name)
        again()
    monkeypatch.setattr(library, "_FLAGS", ("-O3", *library._FLAGS))
    again()
    changes = 2 + len(library._SOURCES) + len(library._HEADERS)
    assert len(set(loaded)) == changes
    assert len(calls.read_text().splitlines()) == changes * EACH


def test_another_process_was_first(
    compiler: Callable[[str], Path], loaded: list[Path], tmp_path: Path
) -> None:
    """Its file is there when this one's is done."""
    compiler('touch "$2"\ncase "$2" in *.so.*) touch "${2%.*}";; esac')
    assert library.library() is not None
    assert list((tmp_path / "cache/moksori").iterdir()) == loaded


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(
    mode: int, compiler: Callable[[str], Path], loaded: list[Path], tmp_path: Path
) -> None:
    compiler('touch "$2"')
    library.library()
    folder = loaded[0].parent
    folder.chmod(mode)
    assert again() is not None
    assert loaded[0].parent == folder
    assert loaded[1].parent.parent == tmp_path / "temporary"
    assert loaded[1].parent.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == loaded[:1]


def test_a_folder_of_somebody_else_is_not_used(
    compiler: Callable[[str], Path], loaded: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler('touch "$2"')
    library.library()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert again() is not None
    assert loaded[1].parent.parent == tmp_path / "temporary"


def test_no_folder_can_be_made(compiler: Callable[[str], Path], loaded: list[Path], tmp_path: Path) -> None:
    compiler('touch "$2"')
    (tmp_path / "cache").write_text("a file")
    assert library.library() is not None
    assert loaded[0].parent.parent == tmp_path / "temporary"


def test_nobody_has_a_home(
    compiler: Callable[[str], Path], loaded: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container whose user has no entry of his own."""
    compiler('touch "$2"')
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", MagicMock(side_effect=KeyError))
    assert library.library() is not None
    assert loaded[0].parent.parent == tmp_path / "temporary"


def test_threads_that_ask_at_once_compile_once(compiler: Callable[[str], Path], loaded: list[Path]) -> None:
    calls = compiler('touch "$2"')
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: library.library(), range(8)))
    assert found[0] is not None
    assert found == found[:1] * 8
    assert len(calls.read_text().splitlines()) == EACH
    assert len(loaded) == 1


def test_supported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = MagicMock()
    monkeypatch.setattr(library, "library", asked)
    for lacking in library._PARTS:
        processor(tmp_path, *(part for part in library._PARTS if part != lacking))
        assert not library.supported(CPU)
    processor(tmp_path, *library._PARTS, "amx_bf16")
    assert not library.supported(CPU)
    processor(tmp_path, *library._PARTS)
    assert not library.supported(torch.device("cuda"))
    asked.assert_not_called()  # nothing is compiled for a processor that cannot run it
    assert library.supported(CPU)
    monkeypatch.setattr(library, "library", lambda: None)
    assert not library.supported(CPU)
    monkeypatch.setattr(library, "library", asked)
    monkeypatch.setattr(library, "_PROCESSOR", tmp_path / "no Linux")
    assert not library.supported(CPU)


def compiling() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "compiling"]


def test_prepared_while_others_load(
    compiler: Callable[[str], Path], loaded: list[Path], tmp_path: Path
) -> None:
    """Whoever needs it then waits for what is under way; a processor that cannot run it gets nothing."""
    calls = compiler('touch "$2"')
    library.prepare()
    assert library.library() is not None
    assert len(calls.read_text().splitlines()) == EACH
    assert len(loaded) == 1
    for thread in compiling():
        thread.join()
    processor(tmp_path)
    library.prepare()
    assert not compiling()


def test_no_pytorch_needed() -> None:
    code = "import sys, app.speech.xtts.compiled.library; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("channels", "heads", "expected"),
    [(64, 4, True), (1024, 16, True), (64, 2, False), (48, 3, False), (1024, 8, False)],
)
def test_sizes_that_layers_has(
    channels: int, heads: int, expected: bool, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "library", MagicMock())
    sizes = SimpleNamespace(channels=channels, heads=heads)
    assert layers.supported(sizes, CPU) == expected  # type: ignore[arg-type]


def test_a_team_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "library", lambda: SimpleNamespace(team_new=lambda helpers: None))
    with pytest.raises(MemoryError):
        library.Team(3)


def test_a_team_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = MagicMock()
    fake.team_new.return_value = 4096
    monkeypatch.setattr(library, "library", lambda: fake)
    team = library.Team(3)
    fake.team_new.assert_called_once_with(2)
    handle = team.handle
    del team
    fake.team_free.assert_called_once_with(handle)
