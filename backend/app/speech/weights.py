"""The weights of XTTS v2: brought here on an explicit wish alone, and kept with who accepted what.

    <root>/xtts-v2/            the official folder: config.json, model.pth, vocab.json, speakers_xtts.pth
    <root>/xtts-v2/moksori.json    where it came from, the hashes, who accepted the licence and when
    <root>/.xtts-v2.part/      what has arrived so far

`root` is `Settings.weights`. Files that lie in the Hugging Face cache (HF_HUB_CACHE, HF_HOME) are copied
from there, the others come from HF_ENDPOINT; either way the SHA-256 decides.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.kit.clock import now
from app.speech.download import (
    FULL,
    MORE_ROOM,
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
from app.speech.interface import EngineUnavailable
from app.speech.releases import RELEASES, Release, WeightsFile
from app.speech.weights_folder import (
    CHECKPOINTS,
    CONVERTED,
    OFFICIAL,
    RECORD,
    Record,
    RecordedFile,
    RecordedLicense,
    changes_in,
    has_index,
    problems_of,
    read_record,
    unreadable,
)

SPARE_BYTES = 64 << 20  # left free beside the files, so that the machine goes on living
HUB = "https://huggingface.co"


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
    record: Record | None
    """What moksori.json says; None where somebody put the folder there by hand, or it is damaged."""

    @property
    def published(self) -> bool:
        """Whether every file is the published one; a fine-tuned checkpoint is not."""
        return self.record is not None and self.record.published

    @property
    def accepted_by(self) -> str:
        return self.record.license.accepted_by if self.record else ""


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
    LicenseNotAccepted, FetchUnderWay, OtherWeights, UnusableFolder, DiskFull, HubOffline, HubRefused,
    ConnectionCut, WrongHash.
    """
    _demand(release, accepted)
    with _alone(root, release):
        there = look(release, root)
        if there is not None:
            if there.published and not there.problems and _whole(release, there):
                return there
            _spare_other_weights(release, there)
        part = _part(root, release)
        if not part.is_dir():
            _remove(part)
            part.mkdir()
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
        names = [file.name for file in release.files]
        return _publish(release, root, names, source=without_password(endpoint), accepted_by=accepted_by)


def import_folder(
    release: Release,
    folder: Path,
    root: Path,
    *,
    accepted: Collection[str],
    accepted_by: str,
    progress: Progress = lambda name, done, size: None,
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    examine: Callable[[Path], None] = lambda folder: None,
) -> Installed:
    """Take over a folder in the official layout, or one of ours with model.safetensors.

    A fine-tuned checkpoint is welcome: hashes are recorded, not demanded. `examine` looks at the folder more
    closely, and raises EngineUnavailable where no engine could take it. Raises WeightsError:
    LicenseNotAccepted, UnusableFolder, FetchUnderWay, DiskFull.
    """
    _demand(release, accepted)
    if problems := problems_of(folder):
        raise UnusableFolder(
            f"{folder} cannot be used: {'; '.join(problems)}.",
            "Give a folder with config.json, vocab.json and model.pth (or model.safetensors) of XTTS v2.",
        )
    names = [file.name for file in release.files] + [CONVERTED, "LICENSE.txt"]
    found = [folder / name for name in names if (folder / name).is_file()]
    in_place = folder.resolve() == (root / release.name).resolve()
    if not in_place:
        _demand_apart(folder, found, root)
    try:
        examine(folder)
    except EngineUnavailable as error:
        raise UnusableFolder(
            f"{folder} cannot be used: {error}",
            f"Copy it anew from where it came from, or run `moksori weights fetch {release.name}`.",
        ) from error
    with _alone(root, release):
        if in_place:
            return _record(release, folder, names, str(folder), accepted_by)
        needed = sum(path.stat().st_size for path in found) + SPARE_BYTES
        if needed > (free := free_bytes(root)):
            raise no_room(root, needed, free)
        part = _part(root, release)
        _remove(part)
        part.mkdir()
        for path in found:
            _copy(path, part / path.name, progress)
        return _publish(release, root, names, source=str(folder.resolve()), accepted_by=accepted_by)


def list_installed(root: Path) -> list[Installed]:
    """The weights in `root` that an engine can take. Quick: looks at names and sizes, not at hashes."""
    return [there for there in look_all(root) if not there.problems]


def look_all(root: Path) -> list[Installed]:
    """All weights in `root`, with what is wrong with each."""
    return [there for release in RELEASES.values() if (there := look(release, root)) is not None]


def look(release: Release, root: Path) -> Installed | None:
    """What is in the folder of a release, None where there is no such folder. Raises nothing."""
    folder = root / release.name
    record, size = None, 0
    try:
        if not folder.is_dir():
            return None
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        problems = problems_of(folder)
        record = read_record(folder)
        problems += changes_in(folder, record) if record else []
    except OSError as error:
        problems = [unreadable(folder, error)]
    except ValueError:
        problems.append(
            f"{RECORD}, which says who accepted the licence, is damaged "
            f"(`moksori weights import {folder}` writes it anew)"
        )
    return Installed(release.name, folder, size, tuple(dict.fromkeys(problems)), record)


def _demand(release: Release, accepted: Collection[str]) -> None:
    if release.license.code not in {code.strip().lower() for code in accepted}:
        raise LicenseNotAccepted(
            f"{release.name} is under the {release.license.name} ({release.license.url}). "
            f"{release.license.summary}",
            f"To accept it: --accept-license {release.license.code}, "
            f"or MOKSORI_ACCEPTED_LICENSES={release.license.code}.",
        )


@contextmanager
def on_disk(root: Path) -> Iterator[None]:
    """What the disk under `root` refuses becomes DiskFull or UnusableFolder."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(f"The disk of {root} ran full.", MORE_ROOM) from error
        raise UnusableFolder(
            f"{error.filename or root}: {error.strerror or error}.",
            "Let this user write there, or set MOKSORI_WEIGHTS_DIR to another folder.",
        ) from error


@contextmanager
def _alone(root: Path, release: Release) -> Iterator[None]:
    """Hold the release's lock; the system gives it back even if this process is killed.

    Raises FetchUnderWay, UnusableFolder and DiskFull.
    """
    with on_disk(root):
        root.mkdir(parents=True, exist_ok=True)
        with (root / f".{release.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FetchUnderWay(
                    f"Another process is bringing {release.name} to {root}.", "Wait until it is done."
                ) from None
            old, target = _old(root, release), root / release.name
            if os.path.lexists(target) and not target.is_dir():
                kind = "a link that leads nowhere" if target.is_symlink() else "no folder"
                raise UnusableFolder(
                    f"{target} is {kind}, and the folder of these weights belongs there.", "Move it away."
                )
            if old.exists() and not target.exists():  # It ended between the two renames of _publish.
                old.rename(target)
            yield


def _demand_apart(folder: Path, found: list[Path], root: Path) -> None:
    """What lies in the folder of weights may be replaced by the very import that reads it."""
    place = root.resolve()
    sources = [folder.resolve(), *(path.resolve() for path in found)]
    if place.is_relative_to(sources[0]) or any(source.is_relative_to(place) for source in sources):
        raise UnusableFolder(
            f"One of {folder} and {root}, where weights are kept, lies in the other.",
            "Give a folder somewhere else; `moksori weights fetch` goes on with what it left here.",
        )


def _verified(path: Path, file: WeightsFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and sha256_of(path) == file.sha256


def _whole(release: Release, there: Installed) -> bool:
    return all(_verified(there.folder / file.name, file) for file in release.files)


def _arrived(part: Path, files: list[WeightsFile]) -> int:
    parts = [part / f"{file.name}.part" for file in files]
    return sum(path.stat().st_size for path in parts if path.exists())


def _spare_other_weights(release: Release, there: Installed) -> None:
    """A fine-tuned checkpoint that somebody put here is not overwritten by the published one."""
    if there.published:
        return
    kept = [there.folder / name for name in CHECKPOINTS if (there.folder / name).is_file()]
    theirs = there.record is not None or any(has_index(path) for path in kept)
    official = next(file for file in release.files if file.name == OFFICIAL)
    if theirs and not _verified(there.folder / OFFICIAL, official):
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
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub")
    try:
        return cache.expanduser()
    except RuntimeError:  # a user without a home, as in a container that runs under a bare number
        return cache


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
            raise DiskFull(f"The disk ran full while {target.name} was copied.", MORE_ROOM) from error
        raise UnusableFolder(f"{source} cannot be copied: {error.strerror}.", "Check its rights.") from error


def _publish(
    release: Release, root: Path, names: Collection[str], *, source: str, accepted_by: str
) -> Installed:
    """Make the files `names` of the part the release's folder: the old one or the new one, never half of it."""
    part, target, old = _part(root, release), root / release.name, _old(root, release)
    for path in part.iterdir():
        if path.name not in names:  # half a file that came from elsewhere in the end, or another command's
            _remove(path)
    _record(release, part, names, source, accepted_by)
    _remove(old)
    if target.exists():
        target.rename(old)
    part.rename(target)
    _sync(root)
    with suppress(OSError):  # the next one takes it away, or says why it cannot
        _remove(old)
    there = look(release, root)
    assert there is not None
    return there


def _record(
    release: Release, folder: Path, names: Collection[str], source: str, accepted_by: str
) -> Installed:
    files = {
        name: RecordedFile(bytes=(folder / name).stat().st_size, sha256=sha256_of(folder / name))
        for name in sorted(names)
        if (folder / name).is_file()
    }
    terms = release.license
    record = Record(
        weights=release.name,
        repository=release.repository,
        revision=release.revision,
        source=source,
        published=all(
            file.name in files and files[file.name].sha256 == file.sha256 for file in release.files
        ),
        files=files,
        license=RecordedLicense(
            code=terms.code,
            name=terms.name,
            url=terms.url,
            accepted_by=accepted_by,
            accepted_at=now().isoformat(),
        ),
    )
    temporary = folder / f"{RECORD}.new"
    temporary.write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
    temporary.replace(folder / RECORD)
    _sync(folder)
    return Installed(release.name, folder, sum(file.bytes for file in files.values()), (), record)


def _remove(path: Path) -> None:
    """Remove what bears this name, if anything does: of a link the link alone, never what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
