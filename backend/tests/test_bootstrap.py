from __future__ import annotations

import importlib.util
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app import bootstrap
from app.config import BACKEND, Settings
from app.speech import weights
from tests.running import environment_for


def settings(folder: Path, engine: str = "auto") -> Settings:
    return Settings(_env_file=None, data_dir=folder, engine=engine)  # type: ignore[call-arg]


def test_auto_is_builtin_without_the_weights(tmp_path: Path) -> None:
    choice = bootstrap.choose_engine(settings(tmp_path))
    assert choice.engine.name == "builtin"
    assert "weights" in choice.reason


def test_auto_is_builtin_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "list_installed", lambda _: [tmp_path])
    find = importlib.util.find_spec
    monkeypatch.setattr(
        bootstrap.importlib.util,
        "find_spec",
        lambda name, *more: None if name == "torch" else find(name, *more),
    )
    choice = bootstrap.choose_engine(settings(tmp_path))
    assert choice.engine.name == "builtin"
    assert "PyTorch" in choice.reason


def test_auto_is_builtin_with_weights_that_cannot_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "xtts-v2"
    folder.mkdir(parents=True)
    (folder / "model.pth").write_bytes(b"cut short")
    choice = bootstrap.choose_engine(settings(tmp_path))
    assert choice.engine.name == "builtin"
    assert "weights cannot be used" in choice.reason


@pytest.mark.parametrize("name", ["mock", "builtin"])
def test_a_named_engine_is_taken(tmp_path: Path, name: str) -> None:
    choice = bootstrap.choose_engine(settings(tmp_path, name))
    assert (choice.engine.name, choice.reason) == (name, f"MOKSORI_ENGINE is {name}")


def test_xtts_speaks_in_the_precision_that_is_set(tmp_path: Path) -> None:
    changed = settings(tmp_path).model_copy(update={"xtts_precision": "int8"})
    folder = bootstrap.weights_folder(changed)
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.json", "model.pth"):
        (folder / name).touch()
    assert "int8" in bootstrap.make_engine("xtts", changed).ping().detail


def test_mock_is_never_chosen_by_itself(tmp_path: Path) -> None:
    assert bootstrap.choose_engine(settings(tmp_path)).engine.name != "mock"


def test_building_loads_and_writes_nothing(tmp_path: Path) -> None:
    container = bootstrap.build(settings(tmp_path / "new"))
    assert container.speaker._thread is None
    assert not (tmp_path / "new" / "data").exists()
    container.database.close()


def test_what_is_the_services_alone_is_closed_to_others(tmp_path: Path) -> None:
    made = settings(tmp_path)
    made.logs_dir.mkdir(0o750)  # by its operator, for a reader of logs
    bootstrap.prepare_folders(made)
    modes = {folder.name: stat.S_IMODE(folder.stat().st_mode) for folder in tmp_path.iterdir()}
    assert (modes["data"], modes["logs"]) == (0o700, 0o750)
    assert modes["audio_files"] & 0o055 == 0o055  # others may serve it


def test_a_database_is_checked(tmp_path: Path) -> None:
    from sqlalchemy.exc import DatabaseError, OperationalError

    with pytest.raises(OperationalError):
        bootstrap.check_database(settings(tmp_path / "nowhere"))
    broken = settings(tmp_path)
    bootstrap.prepare_folders(broken)
    (tmp_path / "data" / "moksori.sqlite3").write_bytes(b"no database at all, but a text of some length" * 99)
    with pytest.raises(DatabaseError):
        bootstrap.check_database(broken)


def with_gpu(monkeypatch: pytest.MonkeyPatch, there: bool, cores: int) -> None:
    monkeypatch.setattr("app.speech.xtts.has_gpu", lambda: there)
    monkeypatch.setattr(bootstrap.limits, "cores", lambda: cores)


@pytest.mark.parametrize(
    ("engine", "gpu", "cores", "processes"),
    [
        ("xtts", True, 1, 2),
        ("xtts", True, 8, 4),
        ("xtts", True, 16, 6),
        ("xtts", False, 16, 1),
        ("mock", True, 16, 1),
    ],
)
def test_jobs_beside_a_gpu_are_spread_over_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, gpu: bool, cores: int, processes: int
) -> None:
    with_gpu(monkeypatch, gpu, cores)
    chosen = bootstrap.make_engine(engine, settings(tmp_path))
    assert bootstrap.worker_processes(settings(tmp_path), chosen) == processes


@pytest.mark.parametrize(("wanted", "gpu"), [(1, True), (3, False)])
def test_the_number_of_processes_can_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, gpu: bool
) -> None:
    with_gpu(monkeypatch, gpu, 8)
    changed = settings(tmp_path).model_copy(update={"worker_processes": wanted})
    assert bootstrap.worker_processes(changed, bootstrap.make_engine("xtts", changed)) == wanted


def test_processes_that_start_at_once_on_an_empty_database(empty_database_url: str, tmp_path: Path) -> None:
    """All start, and one of them makes the administrator."""
    program = """
import multiprocessing
from app import bootstrap, config
with multiprocessing.get_context("fork").Pool(4) as pool:
    print(*pool.map(bootstrap.prepare, [config.load_settings()] * 4, chunksize=1))
"""
    environment = environment_for(tmp_path, 0, database_url=empty_database_url, engine="mock")
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=BACKEND, stdout=subprocess.PIPE, check=True
    )
    passwords = done.stdout.split()
    assert (len(passwords), passwords.count(b"None")) == (4, 3)
