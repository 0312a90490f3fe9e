"""Many lines at once, over the API: scripts, a batch, and a WAV file each, with progress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.remote import Remote


def speak_lines(remote: Remote, lines: list[str], voice: str, folder: Path) -> list[list[str]]:
    """Rows of file (or why there is none), seconds, engine, quality and text, in the lines' order."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts = [
        remote.call(
            "POST",
            "/voice-actors/tts-scripts",
            json={"text": line, "voice_model_id": voice, "title": line[:60]},
        )["id"]
        for line in lines
    ]
    started = remote.call("POST", "/voice-actors/tts-scripts/batch-generate", json={"script_ids": scripts})
    watch_batch(remote, started["batch_id"], len(lines))
    width = len(str(len(lines)))
    rows = []
    for number, (line, item) in enumerate(zip(lines, started["scripts"], strict=True), 1):
        done = remote.call("GET", f"/voice-actors/tts-generations/{item['generation_id']}")
        if done["status"] != "done":
            reason = (done["failure"] or {}).get("message", done["status"])
            rows.append([f"failed: {reason}", "", "", "", line])
            continue
        target = folder / f"{number:0{max(width, 2)}}.wav"
        target.write_bytes(remote.call("GET", f"/voice-actors/tts-generations/{done['id']}/audio"))
        rows.append(_row(target, done["take"], line))
    return rows


def _row(target: Path, take: dict[str, Any], line: str) -> list[str]:
    quality = "simulated" if take["simulated"] else f"{take['quality_score']:.0f}"
    return [str(target), f"{take['seconds']:.2f}", take["engine"], quality, line]


def watch_batch(remote: Remote, batch_id: str, total: int) -> dict[str, Any]:
    """Show a batch's progress, of `total` accepted scripts, until it is over."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        bar = progress.add_task("Generating", total=total)
        return remote.wait_for_batch(
            batch_id,
            lambda batch: progress.update(
                bar, completed=batch["done"] + batch["failed"] + batch["cancelled"]
            ),
        )
