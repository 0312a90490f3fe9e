from __future__ import annotations

import json
import logging
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog

from app.kit import logging as ours
from app.kit.logging import rotate, set_up_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    configuration = structlog.get_config()
    yield
    for handler in root.handlers[:]:
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.configure(**configuration)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "app.log").read_text().splitlines()]


def test_lines_are_json_and_name_their_process(tmp_path: Path) -> None:
    set_up_logging(tmp_path, process="service")
    structlog.get_logger().info("tts.generated", generation="g", seconds=1.5)
    logging.getLogger("some.library").warning("한글 %s", "line\nbreak")
    first, second = lines(tmp_path)
    assert (first["event"], first["process"], first["level"], first["seconds"]) == (
        "tts.generated", "service", "info", 1.5,
    )  # fmt: skip
    assert first["timestamp"].endswith("Z")
    assert second["event"] == "한글 line\nbreak"


def test_half_a_character_does_not_cost_its_line(tmp_path: Path) -> None:
    set_up_logging(tmp_path / "logs", process="service")
    structlog.get_logger().info("http.failed", path="/\ud800")
    assert [line["path"] for line in lines(tmp_path / "logs")] == ["/\ud800"]
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


def test_engines_say_more_and_libraries_do_not(tmp_path: Path) -> None:
    set_up_logging(tmp_path, process="worker")
    logging.getLogger("app.speech").warning("tts.xtts.out_of_memory", extra={"slots": 4, "token": "hunter2"})
    (line,) = lines(tmp_path)
    assert (line["event"], line["slots"]) == ("tts.xtts.out_of_memory", 4)
    assert "token" not in line


@pytest.mark.parametrize("name", ours.SECRET_WORDS)
def test_a_field_of_a_secret_name_is_blanked(tmp_path: Path, name: str) -> None:
    set_up_logging(tmp_path, process="service")
    structlog.get_logger().info("auth.something", **{name: "hunter2"})
    assert "hunter2" not in (tmp_path / "app.log").read_text()


def test_an_exceptions_trace_is_kept(tmp_path: Path) -> None:
    set_up_logging(tmp_path, process="worker")
    try:
        raise RuntimeError("boom")
    except RuntimeError as error:
        structlog.get_logger().error("job.failed", exc_info=error)
    assert "RuntimeError: boom" in lines(tmp_path)[0]["exception"]


def test_a_folder_that_cannot_be_written_does_not_stop_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file in its place")
    set_up_logging(tmp_path / "logs", process="service")
    structlog.get_logger().info("service.started")
    assert "no log file" in capsys.readouterr().err


def test_a_large_log_is_turned_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "MAX_BYTES", 10)
    set_up_logging(tmp_path, process="service")
    log = structlog.get_logger()
    for number in range(ours.KEPT_FILES + 2):
        log.info("line", number=number)
        rotate(tmp_path)
    log.info("line", number="last")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["app.log", *(f"app.log.{number}" for number in range(1, ours.KEPT_FILES + 1))]
    assert [line["number"] for line in lines(tmp_path)] == ["last"]
    rotate(tmp_path / "nowhere")


def test_a_large_log_is_turned_over_once_by_all_who_do_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes of a crew look after it at the same intervals."""
    monkeypatch.setattr(ours, "MAX_BYTES", 10)
    together = threading.Barrier(16)

    def at_once(folder: Path) -> None:
        together.wait(10)
        rotate(folder)

    with ThreadPoolExecutor(16) as pool:
        for number in range(30):
            folder = tmp_path / str(number)
            folder.mkdir()
            for name in ("app.log", "app.log.1"):
                (folder / name).write_text(f"what was in {name}")
            list(pool.map(at_once, [folder] * 16))
            assert {file.name: file.read_text() for file in folder.iterdir()} == {
                "app.log.1": "what was in app.log",
                "app.log.2": "what was in app.log.1",
            }
