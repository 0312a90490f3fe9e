"""That a GPU is lost, seen without one."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from app.speech.xtts.gpu.losing import is_lost, leave_if_lost


def test_one_that_answers_with_errors_only_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *call: left.append(call))
    answers: list[Exception | None] = []

    def answer() -> None:
        if error := answers.pop():
            raise error

    stream = SimpleNamespace(synchronize=answer)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: stream)
    device = torch.device("cuda")
    answers = [None, None]
    assert not is_lost(device)
    leave_if_lost(device)
    assert left == []
    answers = [RuntimeError("an illegal memory access was encountered")] * 2
    assert is_lost(device)
    leave_if_lost(device)
    assert left == [(os.getpid(), signal.SIGKILL)]


def test_a_processor_is_never_lost() -> None:
    assert not is_lost(torch.device("cpu"))
