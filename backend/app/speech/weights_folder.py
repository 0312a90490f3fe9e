"""A folder of weights: what its moksori.json says of them, and what is wrong with its files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import safetensors
from pydantic import BaseModel, NonNegativeInt, ValidationError

RECORD = "moksori.json"
OFFICIAL, CONVERTED = CHECKPOINTS = ("model.pth", "model.safetensors")


class RecordedFile(BaseModel):
    bytes: NonNegativeInt
    sha256: str


class RecordedLicense(BaseModel):
    code: str
    name: str
    url: str
    accepted_by: str
    accepted_at: str


class Record(BaseModel):
    """Where weights came from, what they were then, and who accepted their licence."""

    weights: str
    repository: str
    revision: str
    source: str
    published: bool
    files: dict[str, RecordedFile]
    license: RecordedLicense


def read_record(folder: Path) -> Record | None:
    """None where nobody wrote one. Raises ValueError where it is no record, and OSError."""
    try:
        content = (folder / RECORD).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return Record.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{RECORD} is no record of weights") from error


def problems_of(folder: Path) -> list[str]:
    """Why an engine could not take this folder, as far as a quick look tells. Nothing is unpickled."""
    try:
        if not folder.is_dir():
            return ["there is no such folder"]
        problems = [
            f"{name} is missing" for name in ("config.json", "vocab.json") if not (folder / name).is_file()
        ]
        checkpoints = [folder / name for name in CHECKPOINTS if (folder / name).is_file()]
        if not checkpoints:
            problems.append(f"{OFFICIAL} is missing")
        elif not any(path.stat().st_size for path in checkpoints):
            problems.append(f"{checkpoints[0].name} is empty")
        elif not any(has_index(path) for path in checkpoints):
            problems.append(f"{checkpoints[0].name} is damaged or cut short")
        return problems or _config_problems(folder)
    except OSError as error:
        return [unreadable(folder, error)]


def _config_problems(folder: Path) -> list[str]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        kind = config.get("model", "xtts") if isinstance(config, dict) else None
        json.loads((folder / "vocab.json").read_text("utf-8"))
    except (ValueError, RecursionError):
        return ["config.json or vocab.json is not JSON"]
    return [] if kind == "xtts" else [f"config.json is of a model called {kind!r}, not of xtts"]


def has_index(checkpoint: Path) -> bool:
    """Whether the list of its tensors can be found: PyTorch's at a file's end, safetensors' with its length."""
    try:
        if checkpoint.name == CONVERTED:
            with safetensors.safe_open(checkpoint, framework="numpy"):
                return True
        with zipfile.ZipFile(checkpoint):
            return True
    except (safetensors.SafetensorError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def changes_in(folder: Path, record: Record) -> list[str]:
    """What is no longer as it was recorded. `convert` may write the converted file anew at any time."""
    changes = []
    for name, file in record.files.items():
        path = folder / name
        if path.is_file():
            if name != CONVERTED and path.stat().st_size != file.bytes:
                changes.append(f"{name} has changed its size")
        elif name not in CHECKPOINTS:  # of which one is enough
            changes.append(f"{name} is missing")
    return changes


def unreadable(folder: Path, error: OSError) -> str:
    return f"{Path(error.filename or folder).name} cannot be read ({error.strerror or error})"
