"""`moksori sheet …` over a service in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import batching, cli, remote
from tests.service import Service


class Through:
    """In place of the shell's HTTP client: requests go straight to the service."""

    open = 0  # of all

    def __init__(self, service: Service, headers: dict[str, str]) -> None:
        self.service, self.headers = service, headers
        Through.open += 1

    def request(self, method: str, path: str, **options: Any) -> Any:
        return self.service.client.request(method, path, headers=self.headers, **options)

    def close(self) -> None:
        Through.open -= 1

    def stream(self, method: str, path: str, **options: Any) -> Any:
        return self.service.client.stream(method, path, headers=self.headers, **options)


def shell_of(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What runs a command in `folder`, its jobs done meanwhile, and gives what it prints."""
    monkeypatch.setenv("MOKSORI_URL", "http://testserver")
    monkeypatch.setenv("MOKSORI_TOKEN", service.token("producer"))
    monkeypatch.setattr(remote.httpx, "Client", lambda headers, **_: Through(service, headers))
    monkeypatch.setenv("COLUMNS", "200")
    watch = batching.watch_batch

    def work_and_watch(*arguments: Any) -> Any:
        for job in service.hands.queued("tts.generate"):
            service.hands.do(job)
        return watch(*arguments)

    monkeypatch.setattr(batching, "watch_batch", work_and_watch)
    monkeypatch.chdir(folder)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.app, ["sheet", *arguments])
        assert done.exit_code == code, f"{done.exit_code}: {done.output} {done.exception!r}"
        return done.output

    return run
