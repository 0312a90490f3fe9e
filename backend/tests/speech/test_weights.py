"""Weights come over lines that break and disks that fill, and only to whoever accepted the licence."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import pwd
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from app.speech import weights
from app.speech.download import ConnectionCut, DiskFull, HubOffline, HubRefused, WeightsError, WrongHash
from app.speech.interface import EngineUnavailable
from app.speech.releases import XTTS_V2, Release
from app.speech.weights_folder import Record
from tests.speech.hub import CONTENTS, REPOSITORY, Hub, checkpoint, running_hub, small_release

RELEASE = small_release()
MODEL = CONTENTS["model.pth"]
TUNED = checkpoint(b"tuned")
CONVERTED = safetensors.numpy.save({"mel_stats": np.ones(80, np.float32)})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address + "/")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
        for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield hub


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def fetch(root: Path, release: Release = RELEASE, **changes: Any) -> weights.Installed:
    settings: dict[str, Any] = {"accepted": ["cpml"], "accepted_by": "kim", "sleep": lambda seconds: None}
    return weights.fetch(release, root, **{**settings, **changes})


def import_(folder: Path, root: Path, **changes: Any) -> weights.Installed:
    settings: dict[str, Any] = {"accepted": ["cpml"], "accepted_by": "lee"}
    return weights.import_folder(RELEASE, folder, root, **{**settings, **changes})


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != weights.RECORD}


def left_behind(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {".xtts-v2.lock"}


def official_folder(folder: Path, **changes: bytes | None) -> Path:
    folder.mkdir(parents=True)
    for name, content in {**CONTENTS, **changes}.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


def test_the_published_table_is_whole() -> None:
    assert {"config.json", "vocab.json", "model.pth", "speakers_xtts.pth"} == {f.name for f in XTTS_V2.files}
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) for file in XTTS_V2.files)
    assert 1.8e9 < XTTS_V2.bytes < 2e9


def test_fetch_brings_everything_and_records_who_accepted_what(hub: Hub, root: Path) -> None:
    seen: dict[str, int] = {}
    there = fetch(root, progress=lambda name, done, size: seen.__setitem__(name, done))
    assert contents_of(root / "xtts-v2") == CONTENTS
    assert seen == {name: len(content) for name, content in CONTENTS.items()}
    assert left_behind(root) == {"xtts-v2"}
    record = json.loads((root / "xtts-v2" / "moksori.json").read_text("utf-8"))
    assert Record.model_validate(record) == there.record
    assert record["license"]["accepted_by"] == "kim"
    assert record["license"]["accepted_at"].endswith("+00:00")
    assert record["files"]["model.pth"]["sha256"] == hashlib.sha256(MODEL).hexdigest()
    assert record["source"] == hub.address
    assert weights.list_installed(root) == [there]
    assert there.published
    assert not there.problems


def test_what_is_there_is_not_fetched_again(hub: Hub, root: Path) -> None:
    fetch(root)
    hub.asked.clear()
    assert fetch(root).published
    assert hub.asked == []


@pytest.mark.parametrize("accepted", [[], ["mit"], [""]])
def test_without_the_licence_nothing_is_asked_for(hub: Hub, root: Path, accepted: list[str]) -> None:
    with pytest.raises(weights.LicenseNotAccepted) as refusal:
        fetch(root, accepted=accepted)
    assert "Coqui Public Model License" in str(refusal.value)
    assert "--accept-license cpml" in refusal.value.fix
    assert hub.asked == []
    assert not root.exists()


def test_a_cut_connection_is_resumed_where_it_broke(hub: Hub, root: Path) -> None:
    hub.cut_after = [300_000, 500_000]
    waits: list[float] = []
    assert fetch(root, sleep=waits.append).published
    assert hub.asked_for("model.pth") == ["", "bytes=300000-", "bytes=800000-"]
    assert len(waits) == 2


def test_a_line_that_stays_cut_is_told_and_the_next_call_goes_on(hub: Hub, root: Path) -> None:
    hub.cut_after = [300_000] + [0] * 20
    with pytest.raises(ConnectionCut) as cut:
        fetch(root)
    assert cut.value.retry
    assert weights.list_installed(root) == []
    hub.cut_after = []
    hub.asked.clear()
    assert fetch(root).published
    assert hub.asked_for("model.pth") == ["bytes=300000-"]
    assert hub.asked_for("vocab.json") == []


def test_a_part_of_another_version_is_not_glued_on(hub: Hub, root: Path) -> None:
    hub.contents["model.pth"] = b"?" * len(MODEL)
    hub.cut_after = [300_000] + [0] * 20
    with pytest.raises(ConnectionCut):
        fetch(root)
    hub.contents["model.pth"], hub.etag, hub.cut_after, hub.asked = MODEL, '"two"', [], []
    assert fetch(root).published
    assert hub.asked_for("model.pth") == ["bytes=300000-"], "answered whole, as the version is another"


def test_a_damaged_part_is_fetched_anew(hub: Hub, root: Path) -> None:
    hub.cut_after = [300_000] + [0] * 20
    with pytest.raises(ConnectionCut):
        fetch(root)
    hub.cut_after = []
    part = root / ".xtts-v2.part" / "model.pth.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    assert fetch(root).published
    assert hub.asked_for("model.pth")[-2:] == ["bytes=300000-", ""]


def test_a_hub_without_ranges_starts_over(hub: Hub, root: Path) -> None:
    hub.ranges = False
    hub.cut_after = [300_000]
    assert fetch(root).published
    assert hub.asked_for("model.pth") == ["", "bytes=300000-"]


@pytest.mark.parametrize("content", [b"?" * len(MODEL), MODEL + b"more"])
def test_a_wrong_file_is_thrown_away(hub: Hub, root: Path, content: bytes) -> None:
    hub.contents["model.pth"] = content
    with pytest.raises(WrongHash):
        fetch(root)
    assert weights.list_installed(root) == []
    assert not list(root.glob(".xtts-v2.part/model.pth*"))


def test_room_is_looked_for_before_the_first_byte(hub: Hub, root: Path) -> None:
    with pytest.raises(DiskFull) as full:
        fetch(root, free_bytes=lambda folder: RELEASE.bytes)
    assert "MOKSORI_WEIGHTS_DIR" in full.value.fix
    assert hub.asked == []


def test_a_disk_that_fills_on_the_way_is_told(hub: Hub, root: Path) -> None:
    part = root / ".xtts-v2.part"
    part.mkdir(parents=True)
    (part / "model.pth.part").symlink_to("/dev/full")
    with pytest.raises(DiskFull) as full:
        fetch(root)
    assert "goes on" in full.value.fix


def test_a_busy_hub_is_asked_again_and_a_refusal_is_not(hub: Hub, root: Path) -> None:
    hub.statuses = [503, 429, 200]
    assert fetch(root).published
    for status in (401, 403, 404):
        hub.statuses, hub.asked = [status], []
        with pytest.raises(HubRefused, match=str(status)):
            fetch(root / "other")
        assert len(hub.asked) == 1


def test_no_hub_at_all(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://user:secret@127.0.0.1:9")
    with pytest.raises(HubOffline) as offline:
        fetch(root)
    assert "moksori weights import" in offline.value.fix
    assert "secret" not in str(offline.value)


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://127.0.0.1", "http://h:port"])
def test_an_endpoint_that_is_no_address(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(HubRefused, match="leads nowhere") as refusal:
        fetch(root)
    assert "HF_ENDPOINT" in refusal.value.fix


def test_one_fetch_at_a_time(hub: Hub, root: Path, tmp_path: Path) -> None:
    root.mkdir()
    with (root / ".xtts-v2.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(weights.FetchUnderWay):
            fetch(root)
        with pytest.raises(weights.FetchUnderWay):
            import_(official_folder(tmp_path / "mine"), root)
    assert fetch(root).published


def test_files_of_the_hugging_face_cache_are_used(hub: Hub, root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "huggingface/hub" / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots"
    official_folder(cache / "damaged", **{"model.pth": b"?" * len(MODEL), "vocab.json": b"{}"})
    official_folder(cache / "right", **{"vocab.json": None})
    assert fetch(root).published
    assert {name for name, _ in hub.asked} == {"vocab.json"}


def test_offline_by_setting(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubOffline, match="HF_HUB_OFFLINE"):
        fetch(root)
    assert hub.asked == []


def test_one_damaged_file_is_replaced_alone(hub: Hub, root: Path) -> None:
    there = fetch(root)
    (there.folder / "vocab.json").write_bytes(b"{}")
    assert weights.list_installed(root) == []
    assert weights.look_all(root)[0].problems == ("vocab.json has changed its size",)
    hub.asked.clear()
    assert fetch(root).published
    assert {name for name, _ in hub.asked} == {"vocab.json"}
    assert contents_of(root / "xtts-v2") == CONTENTS


def test_a_file_that_is_gone_is_fetched_alone(hub: Hub, root: Path) -> None:
    hub.contents["speakers_xtts.pth"] = b"speakers"
    release = small_release(hub.contents)
    there = fetch(root, release)
    (there.folder / "speakers_xtts.pth").unlink()
    assert weights.look_all(root)[0].problems == ("speakers_xtts.pth is missing",)
    hub.asked.clear()
    assert fetch(root, release).published
    assert {name for name, _ in hub.asked} == {"speakers_xtts.pth"}
    assert contents_of(root / "xtts-v2") == hub.contents


def test_the_official_file_may_go_once_it_is_converted(hub: Hub, root: Path) -> None:
    there = fetch(root)
    (there.folder / "model.safetensors").write_bytes(CONVERTED)
    (there.folder / "model.pth").unlink()
    assert len(weights.list_installed(root)) == 1
    assert contents_of(fetch(root).folder) == CONTENTS


def test_half_a_file_that_came_from_elsewhere_is_not_published(hub: Hub, root: Path, tmp_path: Path) -> None:
    hub.cut_after = [300_000] + [0] * 20
    with pytest.raises(ConnectionCut):
        fetch(root)
    official_folder(tmp_path / f"huggingface/hub/models--{REPOSITORY.replace('/', '--')}/snapshots/1")
    (root / ".xtts-v2.part" / "model.safetensors").write_bytes(b"of an import that was ended")
    there = fetch(root)
    assert contents_of(there.folder) == CONTENTS
    assert there.record
    assert there.record.files.keys() == CONTENTS.keys()


def test_a_hub_that_cuts_anywhere_and_has_no_ranges_is_given_up(hub: Hub, root: Path) -> None:
    hub.ranges = False
    hub.cut_after = [5000, 10_000] * 20
    with pytest.raises(ConnectionCut):
        fetch(root)
    assert len(hub.asked_for("model.pth")) == 6  # the second came further than the first, none after it


def test_an_answer_that_is_not_encoded_as_it_says(hub: Hub, root: Path) -> None:
    hub.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(HubRefused, match="another encoding") as refusal:
        fetch(root)
    assert "proxy" in refusal.value.fix
    assert len(hub.asked) == 1


@pytest.mark.parametrize("etag", ['"\xe9"', '"\u20ac"', b"\xff\xfe"])
def test_an_etag_that_no_header_carries_back(hub: Hub, root: Path, etag: str | bytes) -> None:
    hub.cut_after = [300_000] + [0] * 20
    with pytest.raises(ConnectionCut):
        fetch(root)
    (root / ".xtts-v2.part" / "model.pth.etag").write_bytes(etag.encode() if isinstance(etag, str) else etag)
    hub.cut_after, hub.asked = [], []
    assert fetch(root).published
    assert hub.asked_for("model.pth") == ["bytes=300000-"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HTTP_PROXY", "socks5://127.0.0.1:9", "SOCKS"),
        ("HTTP_PROXY", "gopher://user:secret@127.0.0.1", "cannot be used"),
        ("SSL_CERT_FILE", "/nowhere/cert.pem", "cannot be used"),
    ],
)
def test_an_environment_that_no_client_can_follow(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(variable, value)
    with pytest.raises(HubOffline, match=said) as offline:
        fetch(root)
    assert variable in offline.value.fix
    assert "secret" not in str(offline.value)


DAMAGED_RECORDS = [
    "", "[]", "null", "3", "{}", '{"files": null}', '{"license": null}', '{"files": {"model.pth": {}}}',
    '{"published": true}', "[" * 100_000, b"\xff\xfe", '"\\ud800"',
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED_RECORDS)
def test_a_damaged_record_is_told_and_mended(hub: Hub, root: Path, content: str | bytes) -> None:
    record = fetch(root).folder / "moksori.json"
    for mend in (lambda: fetch(root), lambda: import_(root / "xtts-v2", root)):
        record.write_bytes(content if isinstance(content, bytes) else content.encode())
        [there] = weights.look_all(root)
        assert "moksori.json" in there.problems[0]
        assert f"moksori weights import {root / 'xtts-v2'}" in there.problems[0]
        assert (there.record, there.accepted_by, there.published) == (None, "", False)
        assert weights.list_installed(root) == []
        hub.asked.clear()
        assert mend().published
        assert hub.asked == []
        assert not weights.look_all(root)[0].problems


@pytest.mark.parametrize("field", ["files", "license", "published"])
def test_a_record_that_lacks_something_is_damaged(hub: Hub, root: Path, field: str) -> None:
    path = fetch(root).folder / "moksori.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(record | {field: None}), "utf-8")
    assert "damaged" in weights.look_all(root)[0].problems[0]


def test_a_fine_tuned_checkpoint_with_a_damaged_record_is_spared(
    hub: Hub, root: Path, tmp_path: Path
) -> None:
    there = import_(official_folder(tmp_path / "mine", **{"model.pth": TUNED}), root)
    (there.folder / "moksori.json").write_text("[]")
    with pytest.raises(weights.OtherWeights):
        fetch(root)
    assert (there.folder / "model.pth").read_bytes() == TUNED


def test_a_folder_that_cannot_be_read_is_a_problem(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read anything, so the disk's refusal is played."""
    fetch(root)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "moksori.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert weights.look_all(root)[0].problems == ("moksori.json cannot be read (Permission denied)",)


def test_a_link_is_replaced_and_what_it_leads_to_is_kept(hub: Hub, root: Path, tmp_path: Path) -> None:
    elsewhere = official_folder(tmp_path / "elsewhere")
    root.mkdir()
    (root / "xtts-v2").symlink_to(elsewhere)
    assert fetch(root).published
    tuned = official_folder(tmp_path / "tuned", **{"model.pth": TUNED})
    for _ in range(2):
        assert contents_of(import_(tuned, root).folder) == contents_of(tuned)
    assert left_behind(root) == {"xtts-v2"}
    assert not (root / "xtts-v2").is_symlink()
    assert contents_of(elsewhere) == CONTENTS


def test_a_link_left_by_an_earlier_version_is_no_obstacle(hub: Hub, root: Path, tmp_path: Path) -> None:
    elsewhere = official_folder(tmp_path / "elsewhere")
    fetch(root)
    (root / ".xtts-v2.old").symlink_to(elsewhere)
    assert import_(official_folder(tmp_path / "mine"), root).published
    assert left_behind(root) == {"xtts-v2"}
    assert contents_of(elsewhere) == CONTENTS


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_not_replaced(hub: Hub, root: Path, tmp_path: Path, kind: str) -> None:
    root.mkdir()
    if kind == "file":
        (root / "xtts-v2").write_text("mine")
    else:  # to a disk that is not mounted, perhaps
        (root / "xtts-v2").symlink_to(tmp_path / "nowhere")
    folder = official_folder(tmp_path / "mine")
    for bring in (lambda: fetch(root), lambda: import_(folder, root)):
        with pytest.raises(weights.UnusableFolder) as refusal:
            bring()
        assert "Move it away" in refusal.value.fix
    assert weights.look_all(root) == []
    assert hub.asked == []
    (root / "xtts-v2").unlink()
    assert fetch(root).published


def test_a_file_in_the_parts_place_is_no_obstacle(hub: Hub, root: Path) -> None:
    root.mkdir()
    (root / ".xtts-v2.part").write_text("a file")
    assert fetch(root).published


@pytest.mark.parametrize("place", [".xtts-v2.part", ".xtts-v2.old", "mine", "."])
def test_a_source_among_the_weights_is_refused_and_kept(hub: Hub, root: Path, place: str) -> None:
    root.mkdir()
    for name, content in CONTENTS.items():
        (root / place).mkdir(exist_ok=True)
        (root / place / name).write_bytes(content)
    with pytest.raises(weights.UnusableFolder, match="lies in the other"):
        import_(root / place, root)
    assert {name: (root / place / name).read_bytes() for name in CONTENTS} == CONTENTS


def test_weights_inside_the_source_and_links_into_the_part_are_refused(root: Path, tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "mine")
    with pytest.raises(weights.UnusableFolder, match="lies in the other"):
        import_(folder, folder / "weights")
    part = official_folder(root / ".xtts-v2.part")
    (folder / "model.pth").unlink()
    (folder / "model.pth").symlink_to(part / "model.pth")
    with pytest.raises(weights.UnusableFolder, match="lies in the other"):
        import_(folder, root)
    assert contents_of(part) == CONTENTS


def test_what_an_engine_refuses_is_not_taken_over(root: Path, tmp_path: Path) -> None:
    def examine(folder: Path) -> None:
        raise EngineUnavailable("It is of XTTS v1.")

    with pytest.raises(weights.UnusableFolder, match="XTTS v1") as refusal:
        import_(official_folder(tmp_path / "mine"), root, examine=examine)
    assert refusal.value.fix
    assert not root.exists()


def test_a_converted_folder_is_taken_over_and_converted_again(root: Path, tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "mine", **{"model.pth": None, "model.safetensors": CONVERTED})
    there = import_(folder, root)
    (there.folder / "model.safetensors").write_bytes(safetensors.numpy.save({"mel_stats": np.ones(8)}))
    assert weights.look_all(root)[0].problems == ()


def test_a_disk_that_fills_while_the_record_is_written(
    hub: Hub, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def fill(path: Path, *more: Any) -> int:
        if path.name.startswith("moksori.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, *more)

    folder = official_folder(tmp_path / "mine")
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", fill)
        for bring in (lambda: fetch(root), lambda: import_(folder, root)):
            with pytest.raises(DiskFull) as refusal:
                bring()
            assert "MOKSORI_WEIGHTS_DIR" in refusal.value.fix
    assert fetch(root).published


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_place_that_cannot_be_written_is_told(
    hub: Hub, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(error, os.strerror(error), str(path))

    folder = official_folder(tmp_path / "mine")
    monkeypatch.setattr(Path, "mkdir", refuse)
    for bring in (lambda: fetch(root), lambda: import_(folder, root)):
        with pytest.raises(weights.UnusableFolder, match=re.escape(str(root))) as refusal:
            bring()
        assert "MOKSORI_WEIGHTS_DIR" in refusal.value.fix


def test_a_user_without_a_home_has_no_cache(hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert fetch(root).published


def test_an_end_between_the_renames_loses_nothing(hub: Hub, root: Path) -> None:
    there = fetch(root)
    there.folder.rename(root / ".xtts-v2.old")
    hub.asked.clear()
    assert fetch(root).published
    assert hub.asked == []
    assert left_behind(root) == {"xtts-v2"}


def test_import_takes_over_a_folder(hub: Hub, root: Path, tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "mine")
    there = import_(folder, root, accepted=["CPML"])
    assert contents_of(there.folder) == CONTENTS == contents_of(folder)
    assert there.published
    assert there.accepted_by == "lee"
    assert hub.asked == []


def test_a_fine_tuned_checkpoint_is_welcome_and_spared(hub: Hub, root: Path, tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "mine", **{"model.pth": TUNED})
    there = import_(folder, root)
    assert not there.published
    assert weights.list_installed(root) == [there]
    with pytest.raises(weights.OtherWeights):
        fetch(root)
    assert (there.folder / "model.pth").read_bytes() == TUNED


def test_a_folder_in_its_place_is_only_recorded(hub: Hub, root: Path) -> None:
    folder = official_folder(root / "xtts-v2")
    assert weights.list_installed(root)[0].accepted_by == ""
    there = import_(folder, root)
    assert weights.list_installed(root)[0].accepted_by == "lee"
    assert contents_of(there.folder) == CONTENTS


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"config.json": None}, "config.json is missing"),
        ({"vocab.json": None, "model.pth": None}, "vocab.json is missing; model.pth is missing"),
        ({"model.pth": b""}, "model.pth is empty"),
        ({"model.pth": MODEL[:-1]}, "model.pth is damaged or cut short"),
        ({"model.pth": None, "model.safetensors": CONVERTED[:-1]}, "model.safetensors is damaged"),
        ({"config.json": b"[]"}, "not of xtts"),
        ({"config.json": b'{"model": "vits"}'}, "'vits'"),
        ({"vocab.json": b"\xff"}, "not JSON"),
        ({"vocab.json": b"[" * 100_000}, "not JSON"),
    ],
)
def test_a_folder_that_cannot_serve_is_refused(
    root: Path, tmp_path: Path, changes: dict[str, bytes | None], problem: str
) -> None:
    folder = official_folder(tmp_path / "mine", **changes)
    with pytest.raises(weights.UnusableFolder, match=problem):
        import_(folder, root)
    assert not root.exists()


def test_import_wants_the_licence_and_room(root: Path, tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "mine")
    with pytest.raises(weights.LicenseNotAccepted):
        import_(folder, root, accepted=[])
    with pytest.raises(DiskFull):
        import_(folder, root, free_bytes=lambda folder: 1000)
    with pytest.raises(weights.UnusableFolder, match="no such folder"):
        import_(tmp_path / "none", root)


def test_every_error_says_what_to_do() -> None:
    assert issubclass(weights.UnknownWeights, WeightsError)
    with pytest.raises(weights.UnknownWeights) as refusal:
        weights.release_of("xtts-v3")
    assert "xtts-v2" in refusal.value.fix
