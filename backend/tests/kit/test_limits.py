from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from app.kit import limits

GB = 10**9
WHOLE = 64 * GB


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 GB and 16 cores."""
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: SimpleNamespace(total=WHOLE))
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda _: set(range(16)))


def group(folder: Path, line: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A process's line in its list of groups, and the groups' files."""
    for file, written in files.items():
        (folder / "groups" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "groups" / file).write_text(f"{written}\n")
    (folder / "process").write_text(f"{line}\n")
    return folder / "process", folder / "groups"


@pytest.mark.parametrize(
    ("line", "file", "written", "expected"),
    [
        ("0::/", "memory.max", "4000000000", 4 * GB),
        ("0::/service", "service/memory.max", "3000000000", 3 * GB),
        ("0::/outside", "memory.max", "2000000000", 2 * GB),
        ("0::/", "memory.max", "max", WHOLE),
        ("5:cpu,memory:/docker/1", "memory/docker/1/memory.limit_in_bytes", "1000000000", GB),
        ("5:memory:/docker/1", "memory/memory.limit_in_bytes", "1000000000", GB),
        ("5:cpu:/", "memory/memory.limit_in_bytes", "1000000000", WHOLE),
        ("5:memory:/", "memory/memory.limit_in_bytes", "9223372036854771712", WHOLE),
    ],
)
def test_memory(line: str, file: str, written: str, expected: int, tmp_path: Path) -> None:
    assert limits.memory(*group(tmp_path, line, {file: written})) == expected


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 16),
        ("0::/a", {"cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/", {"cpu.max": "6400000 100000"}, 16),
        ("4:cpu,cpuacct:/docker/1", {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
    ],
)
def test_cores(line: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert limits.cores(*group(tmp_path, line, files)) == expected


def test_a_machine_without_groups(tmp_path: Path) -> None:
    assert limits.memory(tmp_path / "none", tmp_path) == WHOLE
    assert limits.cores(tmp_path / "none", tmp_path) == 16


def test_the_machine_that_this_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert limits.cores() >= 1
    assert limits.memory() > GB // 4
