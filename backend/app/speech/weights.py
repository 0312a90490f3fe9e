"""The weights of XTTS v2: brought here on an explicit wish alone, and kept with who accepted what.

    <root>/xtts-v2/            the official folder: config.json, model.pth, vocab.json, speakers_xtts.pth
    <root>/xtts-v2/moksori.json    where it came from, the hashes, who accepted the licence and when
    <root>/.xtts-v2.part/      what has arrived so far

`root` is `Settings.weights`. Files that lie in the Hugging Face cache (HF_HUB_CACHE, HF_HOME) are copied
from there, the others come from HF_ENDPOINT; either way the SHA-256 decides.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.kit.clock import now
from app.speech.download import (
    FULL,
    DiskFull,
    Downloader,
    HubOffline,
    Progress,
    WeightsError,
    new_client,
    no_room,
    sha256_of,
    without_password,
)
from app.speech.releases import RELEASES, Release, WeightsFile

RECORD = "moksori.json"
SPARE_BYTES = 64 << 20  # left free beside the files, so that the machine goes on living
HUB = "https://huggingface.co"
CHECKPOINTS = ("model.pth", "model.safetensors")


class LicenseNotAccepted(WeightsError):
    code = "license_not_accepted"


class FetchUnderWay(WeightsError):
    code = "fetch_under_way"


class UnusableFolder(WeightsError):
    code = "weights_folder_unusable"


class OtherWeights(WeightsError):
    code = "other_weights_there"


class UnknownWeights(WeightsError):
    code = "weights_unknown"


@dataclass(frozen=True, slots=True)
class Installed:
    """Weights in their folder. `problems` is empty when an engine can take them."""

    name: str
    folder: Path
    bytes: int
    problems: tuple[str, ...]
    record: dict[str, Any]
    """What moksori.json says; empty where somebody put the folder there by hand."""

    @property
    def published(self) -> bool:
        """Whether every file is the published one; a fine-tuned checkpoint is not."""
        return bool(self.record.get("published"))

    @property
    def accepted_by(self) -> str:
        return str(self.record.get("license", {}).get("accepted_by", ""))


def release_of(name: str) -> Release:
    try:
        return RELEASES[name]
    except KeyError:
        known = ", ".join(RELEASES)
        raise UnknownWeights(f"There are no weights called {name!r}.", f"Use one of: {known}.") from None


def fetch(
    release: Release,
    root: Path,
    *,
    accepted: Collection[str],
    accepted_by: str,
    progress: Progress = lambda name, done, size: None,
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    sleep: Callable[[float], None] = time.sleep,
) -> Installed:
    """Bring published weights to `root`; what is there and right already is not fetched again.

    `accepted` holds the codes of accepted licences (`cpml`). Raises WeightsError in one of its kinds:
    LicenseNotAccepted, FetchUnderWay, OtherWeights, DiskFull, HubOffline, HubRefused, ConnectionCut,
    WrongHash.
    """
    _demand(release, accepted)
    with _alone(root, release):
        there = look(release, root)
        if there is not None and not there.problems:
            if there.published and _unchanged(there):
                return there
            _spare_other_weights(release, there)
        part = _part(root, release)
        part.mkdir(parents=True, exist_ok=True)
        missing = [file for file in release.files if not _verified(part / file.name, file)]
        needed = sum(file.bytes for file in missing) - _arrived(part, missing) + SPARE_BYTES
        if needed > (free := free_bytes(part)):
            raise no_room(root, needed, free)
        endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        with new_client() as client:
            downloader = Downloader(client, progress, sleep)
            for file in missing:
                if _copied(release, root, file, progress):
                    continue
                if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
                    raise HubOffline(
                        f"{file.name} is not in the Hugging Face cache, and HF_HUB_OFFLINE is set.",
                        "Unset HF_HUB_OFFLINE, or run `moksori weights import FOLDER`.",
                    )
                url = f"{endpoint}/{release.repository}/resolve/{release.revision}/{file.name}"
                downloader.bring(url, part / file.name, file.bytes, file.sha256)
        return _publish(release, root, source=without_password(endpoint), accepted_by=accepted_by)


def import_folder(
    release: Release,
    folder: Path,
    root: Path,
    *,
    accepted: Collection[str],
    accepted_by: str,
    progress: Progress = lambda name, done, size: None,
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
) -> Installed:
    """Take over a folder in the official layout, or one of ours with model.safetensors.

    A fine-tuned checkpoint is welcome: hashes are recorded, not demanded. Raises WeightsError:
    LicenseNotAccepted, UnusableFolder, FetchUnderWay, DiskFull.
    """
    _demand(release, accepted)
    if problems := _problems(folder):
        raise UnusableFolder(
            f"{folder} cannot be used: {'; '.join(problems)}.",
            "Give a folder with config.json, vocab.json and model.pth (or model.safetensors) of XTTS v2.",
        )
    names = [file.name for file in release.files] + [CHECKPOINTS[1], "LICENSE.txt"]
    found = [folder / name for name in names if (folder / name).is_file()]
    with _alone(root, release):
        if folder.resolve() == (root / release.name).resolve():
            return _record(release, folder, str(folder), accepted_by)
        needed = sum(path.stat().st_size for path in found) + SPARE_BYTES
        if needed > (free := free_bytes(root)):
            raise no_room(root, needed, free)
        part = _part(root, release)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for path in found:
            _copy(path, part / path.name, progress)
        return _publish(release, root, source=str(folder.resolve()), accepted_by=accepted_by)


def list_installed(root: Path) -> list[Installed]:
    """The weights in `root` that an engine can take. Quick: looks at names and sizes, not at hashes."""
    return [there for there in look_all(root) if not there.problems]


def look_all(root: Path) -> list[Installed]:
    """All weights in `root`, with what is wrong with each."""
    return [there for release in RELEASES.values() if (there := look(release, root)) is not None]


def look(release: Release, root: Path) -> Installed | None:
    """What is in the folder of a release, None where there is no such folder."""
    folder = root / release.name
    if not folder.is_dir():
        return None
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        record = {}
    problems = _problems(folder)
    for name, file in record.get("files", {}).items():
        if (folder / name).is_file() and (folder / name).stat().st_size != file["bytes"]:
            problems.append(f"{name} has changed its size")
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return Installed(release.name, folder, size, tuple(problems), record)


def _demand(release: Release, accepted: Collection[str]) -> None:
    if release.license.code not in {code.strip().lower() for code in accepted}:
        raise LicenseNotAccepted(
            f"{release.name} is under the {release.license.name} ({release.license.url}). "
            f"{release.license.summary}",
            f"To accept it: --accept-license {release.license.code}, "
            f"or MOKSORI_ACCEPTED_LICENSES='[\"{release.license.code}\"]'.",
        )


@contextmanager
def _alone(root: Path, release: Release) -> Iterator[None]:
    """Hold the release's lock; the system gives it back even if this process is killed."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{release.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchUnderWay(
                f"Another process is bringing {release.name} to {root}.", "Wait until it is done."
            ) from None
        old, target = _old(root, release), root / release.name
        if old.exists() and not target.exists():  # It ended between the two renames of _publish.
            old.rename(target)
        yield


def _problems(folder: Path) -> list[str]:
    """Why an engine could not take this folder, as far as a quick look tells. Nothing is unpickled."""
    if not folder.is_dir():
        return ["there is no such folder"]
    problems = [
        f"{name} is missing" for name in ("config.json", "vocab.json") if not (folder / name).is_file()
    ]
    sizes = [(folder / name).stat().st_size for name in CHECKPOINTS if (folder / name).is_file()]
    if not sizes:
        problems.append("model.pth is missing")
    elif not max(sizes):
        problems.append("model.pth is empty")
    if not problems:
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            kind = config.get("model", "xtts") if isinstance(config, dict) else None
            json.loads((folder / "vocab.json").read_text("utf-8"))
        except (OSError, ValueError):
            return ["config.json or vocab.json is not JSON"]
        if kind != "xtts":
            problems.append(f"config.json is of a model called {kind!r}, not of xtts")
    return problems


def _verified(path: Path, file: WeightsFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and sha256_of(path) == file.sha256


def _unchanged(there: Installed) -> bool:
    files = there.record["files"].items()
    return all(sha256_of(there.folder / name) == file["sha256"] for name, file in files)


def _arrived(part: Path, files: list[WeightsFile]) -> int:
    parts = [part / f"{file.name}.part" for file in files]
    return sum(path.stat().st_size for path in parts if path.exists())


def _spare_other_weights(release: Release, there: Installed) -> None:
    """A fine-tuned checkpoint that somebody put here is not overwritten by the published one."""
    checkpoints = [file for file in release.files if file.name in CHECKPOINTS]
    if not there.published and not all(_verified(there.folder / file.name, file) for file in checkpoints):
        raise OtherWeights(
            f"{there.folder} holds other weights than the published {release.name}.",
            "Move that folder away if the published ones shall take its place.",
        )


def _copied(release: Release, root: Path, file: WeightsFile, progress: Progress) -> bool:
    """Take a file from the folder that was there, or from the Hugging Face cache, if it is the right one."""
    part = _part(root, release)
    repository = f"models--{release.repository.replace('/', '--')}"
    snapshots = (_hub_cache() / repository / "snapshots").glob("*")
    for folder in (root / release.name, *sorted(snapshots)):
        if _verified(folder / file.name, file):
            _copy(folder / file.name, part / file.name, progress)
            if _verified(part / file.name, file):
                return True
            (part / file.name).unlink()
    return False


def _hub_cache() -> Path:
    """Where Hugging Face's own tools keep files: HF_HUB_CACHE, else below HF_HOME, else ~/.cache."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface" / "hub"


def _copy(source: Path, target: Path, progress: Progress) -> None:
    """A copy, never a link: coqui-tts may write to a checkpoint that it loads."""
    size, done = source.stat().st_size, 0
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            while block := reader.read(1 << 22):
                writer.write(block)
                done += len(block)
                progress(target.name, done, size)
            writer.flush()
            os.fsync(writer.fileno())
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(f"The disk ran full while {target.name} was copied.", "Free some room.") from error
        raise UnusableFolder(f"{source} cannot be copied: {error.strerror}.", "Check its rights.") from error


def _publish(release: Release, root: Path, source: str, accepted_by: str) -> Installed:
    """Make the finished part the release's folder: the old one or the new one, never half of it."""
    part, target, old = _part(root, release), root / release.name, _old(root, release)
    _record(release, part, source, accepted_by)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    part.rename(target)
    _sync(root)
    shutil.rmtree(old, ignore_errors=True)
    there = look(release, root)
    assert there is not None
    return there


def _record(release: Release, folder: Path, source: str, accepted_by: str) -> Installed:
    files: dict[str, dict[str, Any]] = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != RECORD
    }
    published = {file.name: file.sha256 for file in release.files}
    record = {
        "weights": release.name,
        "repository": release.repository,
        "revision": release.revision,
        "source": source,
        "published": all(files.get(name, {}).get("sha256") == sha for name, sha in published.items()),
        "files": files,
        "license": {
            "code": release.license.code,
            "name": release.license.name,
            "url": release.license.url,
            "accepted_by": accepted_by,
            "accepted_at": now().isoformat(),
        },
    }
    temporary = folder / f"{RECORD}.new"
    temporary.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", "utf-8")
    temporary.replace(folder / RECORD)
    _sync(folder)
    return Installed(release.name, folder, sum(f["bytes"] for f in files.values()), (), record)


def _sync(folder: Path) -> None:
    """Make renames in `folder` outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _part(root: Path, release: Release) -> Path:
    return root / f".{release.name}.part"


def _old(root: Path, release: Release) -> Path:
    return root / f".{release.name}.old"
