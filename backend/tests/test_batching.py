from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app import batching


class Remote:
    """A batch of two accepted scripts, beside three that were up to date."""

    def wait_for_batch(self, batch_id: str, watch: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        batch = {"id": batch_id, "done": 1, "failed": 1, "cancelled": 0, "unchanged": 3}
        watch(batch)
        return batch


def test_progress_counts_what_was_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert batching.watch_batch(Remote(), "x", 2)["id"] == "x"  # type: ignore[arg-type]
    assert "2/2" in capsys.readouterr().err
