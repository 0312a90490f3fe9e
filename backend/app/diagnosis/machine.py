"""What this machine has: packages, graphics cards, weights, folders, the database. Nothing is loaded."""

from __future__ import annotations

import os
import platform
import shutil
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.deps import Container
from app.diagnosis.schemas import Finding
from app.kit.database import journal_mode
from app.speech import weights

PACKAGES = (
    "torch", "tokenizers", "safetensors", "soundfile", "soxr", "numpy", "scipy", "pyworld", "pyloudnorm",
    "espeakng-loader", "kiwipiepy", "dbos", "fastapi", "sqlalchemy",
)  # fmt: skip
LOW_SPACE = 2 * 2**30


@cache  # what is installed changes with a new process at the earliest
def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def dependencies(mode: str, engine: str) -> dict[str, Any]:
    """Packages with versions. `TTS`, which the guide asks for, says what speaks here in its place."""
    coqui = version_of("coqui-tts")
    found: dict[str, Any] = {
        "TTS": {
            "available": coqui is not None,
            "package": "coqui-tts",
            "version": coqui,
            "mode": mode,
            "engine": engine,
            "note": "The package TTS is no longer kept; coqui-tts took its place, "
            "and only the engine `coqui` needs it.",
        },
        "python": {"available": True, "version": platform.python_version()},
    }
    for package in PACKAGES:
        version = version_of(package)
        found[package] = {"available": version is not None, "version": version}
    return found


def graphics() -> dict[str, Any]:
    """NVIDIA cards as the kernel's driver names them: asking CUDA would take seconds."""
    cards = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        cards.append(lines.get("Model", "unknown").strip())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"available": bool(cards) and visible != "", "cards": cards, "CUDA_VISIBLE_DEVICES": visible}


def licensed_weights(container: Container) -> tuple[dict[str, Any], list[Finding]]:
    """The weights that an engine can take, and a finding for those that none can."""
    found = weights.look_all(container.settings.weights)
    facts = {
        "installed": [_described(each) for each in found if not each.problems],
        "folder": str(container.settings.weights),
        "license": "Coqui Public Model License 1.0 (CPML): non-commercial use",
        "how": "moksori weights fetch xtts-v2 --accept-license cpml",
    }
    wanted = container.engine.name in ("xtts", "coqui")
    findings = [
        Finding(
            code="weights_unusable", severity="error" if wanted else "warning", fixable=False,
            subjects=[each.name],
            what=f"The weights in {each.folder} cannot be used: {'; '.join(each.problems)}.",
            effect="Nothing can be trained or generated." if wanted else "Another engine speaks.",
            fix=f"Run `moksori weights fetch {each.name} --accept-license cpml`, or "
            "`moksori weights import FOLDER` with a folder that is whole.",
        )
        for each in found
        if each.problems
    ]  # fmt: skip
    return facts, findings


def _described(there: weights.Installed) -> str:
    kind = "the published files" if there.published else "other files than the published ones"
    return f"{there.name}, {kind}, {there.bytes / 1e9:.2f} GB, accepted by {there.accepted_by or 'nobody'}"


def folders(container: Container) -> tuple[dict[str, Any], list[Finding]]:
    """The data folders: there, writable (tried, not guessed), and how much room is left."""
    found: dict[str, Any] = {}
    findings = []
    for bucket in container.store.ping().buckets:
        name = Path(bucket.place).name
        found[name] = {
            "path": bucket.place, "exists": bucket.there, "writable": bucket.writable,
            "free_bytes": bucket.free_bytes,
        }  # fmt: skip
    for path in (container.settings.logs_dir, container.settings.state_dir):
        there = path.is_dir()
        found[path.name] = {
            "path": str(path),
            "exists": there,
            "writable": there and os.access(path, os.W_OK),
            "free_bytes": shutil.disk_usage(path).free if there else None,
        }
    for name, facts in found.items():
        if not facts["exists"]:
            findings.append(_folder("folder_missing", name, "is not there", f"mkdir -p {facts['path']}"))
        elif not facts["writable"]:
            findings.append(
                _folder(
                    "folder_read_only",
                    name,
                    "cannot be written to",
                    f"chmod 755 {facts['path']}; chown it to the service's user",
                )
            )
        elif facts["free_bytes"] is not None and facts["free_bytes"] < LOW_SPACE:
            findings.append(
                Finding(
                    code="disk_nearly_full",
                    severity="warning",
                    fixable=False,
                    subjects=[facts["path"]],
                    what=f"The disk of {name} has {facts['free_bytes'] // 2**20} MiB left.",
                    effect="Uploads and takes will soon be refused (507).",
                    fix="Free some space, or set MOKSORI_RETENTION_DAYS.",
                )  # fmt: skip
            )
    return found, findings


def _folder(code: str, name: str, state: str, fix: str) -> Finding:
    return Finding(
        code=code, severity="error", fixable=code == "folder_missing", subjects=[name],
        what=f"The folder {name} {state}.", effect="What belongs there cannot be kept.", fix=fix,
    )  # fmt: skip


def database(container: Container) -> dict[str, Any]:
    with container.database.reading() as session:
        session.execute(text("SELECT 1"))
        dialect = session.get_bind().dialect.name
        facts: dict[str, Any] = {"reachable": True, "kind": dialect}
        if dialect == "sqlite":
            facts["version"] = session.scalar(text("SELECT sqlite_version()"))
            facts["journal_mode"] = journal_mode()
        else:
            facts["version"] = session.scalar(text("SHOW server_version"))
    return facts
