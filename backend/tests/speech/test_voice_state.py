from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from app.speech import voice_state
from app.speech.interface import BadVoice, VoiceState
from app.speech.voice_state import pack_voice, read_voice, unpack_voice, write_voice


def a_voice(**changes) -> VoiceState:
    values = {
        "engine": "builtin",
        "arrays": {
            "envelope": np.arange(12, dtype=np.float32).reshape(3, 4),
            "counts": np.array([1, 2, 3], dtype=np.int64),
            "scalar": np.array(2.5),
            "empty": np.zeros((0, 4), dtype=np.float16),
        },
        "metadata": {"actor": "김민준", "pitch": {"median": 123.5}, "list": [1, None, True]},
    }
    return VoiceState(**{**values, **changes})


def assert_same(one: VoiceState, other: VoiceState) -> None:
    assert one.engine == other.engine and one.metadata == other.metadata
    assert set(one.arrays) == set(other.arrays)
    for name, array in one.arrays.items():
        assert array.dtype == other.arrays[name].dtype
        np.testing.assert_array_equal(array, other.arrays[name])


def test_a_voice_comes_back_from_its_folder(tmp_path):
    write_voice(tmp_path / "models" / "one", a_voice())
    assert_same(read_voice(tmp_path / "models" / "one"), a_voice())
    names = {path.relative_to(tmp_path / "models").as_posix() for path in (tmp_path / "models").rglob("*")}
    assert names == {"one", "one/voice.json", "one/voice.safetensors"}


def test_a_copied_folder_is_the_same_voice(tmp_path):
    write_voice(tmp_path / "one", a_voice())
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    assert_same(read_voice(tmp_path / "elsewhere"), a_voice())


_DTYPES = ["bool", "uint8", "int16", "int32", "int64", "float16", "float32", "float64"]


@settings(deadline=None, max_examples=40)
@given(
    arrays=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8),
        st.sampled_from(_DTYPES).flatmap(
            lambda dtype: arrays_of.arrays(
                dtype,
                arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
                elements=arrays_of.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False),
            )
        ),
        max_size=4,
    ).filter(lambda each: "__metadata__" not in each),
    metadata=st.dictionaries(
        st.text(max_size=8), st.integers(-(2**60), 2**60) | st.text(max_size=8), max_size=4
    ),
)
def test_packing_loses_nothing_and_is_repeatable(arrays, metadata):
    voice = VoiceState("mock", arrays, metadata)
    files = pack_voice(voice)
    assert_same(unpack_voice(files), voice)
    assert pack_voice(unpack_voice(files)) == files


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4).T,
        np.arange(20)[::3],
        np.arange(5, dtype=">i4"),
        np.asfortranarray(np.eye(3, 2)),
    ],
)
def test_arrays_in_any_memory_order_keep_their_values(array):
    back = unpack_voice(pack_voice(a_voice(arrays={"a": array}))).arrays["a"]
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"a": float("nan")}},
        {"metadata": {"a": np.float32(1)}},
        {"metadata": {"a": object()}},
        {"arrays": {"a": np.array([object()])}},
        {"arrays": {"a": np.array(["text"])}},
        {"arrays": {"a": np.array([1.0, np.nan])}},
        {"arrays": {"a": np.array([np.inf], dtype=np.float32)}},
    ],
)
def test_what_files_cannot_hold_is_refused_and_leaves_nothing(tmp_path, changes):
    with pytest.raises(BadVoice):
        write_voice(tmp_path / "one", a_voice(**changes))
    assert list(tmp_path.iterdir()) == []


def test_writing_the_same_voice_again_changes_nothing(tmp_path):
    write_voice(tmp_path / "one", a_voice())
    before = (tmp_path / "one" / "voice.json").stat().st_ino
    write_voice(tmp_path / "one", a_voice())
    assert (tmp_path / "one" / "voice.json").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_another_voice_never_takes_a_folder_over(tmp_path):
    write_voice(tmp_path / "one", a_voice())
    with pytest.raises(FileExistsError):
        write_voice(tmp_path / "one", a_voice(engine="xtts"))
    assert_same(read_voice(tmp_path / "one"), a_voice())
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_full_disk_leaves_no_folder(tmp_path, monkeypatch, step):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "fsync":
        monkeypatch.setattr(voice_state.os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError) as caught:
        write_voice(tmp_path / "one", a_voice())
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def resign(folder: Path, packed: bytes, **changes) -> None:
    """Hostile arrays with a manifest that fits them."""
    manifest = json.loads((folder / "voice.json").read_bytes())
    manifest |= {"bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest(), **changes}
    (folder / "voice.safetensors").write_bytes(packed)
    (folder / "voice.json").write_text(json.dumps(manifest))


def _flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "voice.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "voice.safetensors").write_bytes(data)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("/nonexistent/owned",))


def _pickle(folder: Path) -> None:
    resign(folder, pickle.dumps(Bomb()))


def _long_header(folder: Path) -> None:
    resign(folder, (2**63).to_bytes(8, "little") + b"{}")


def _offsets_outside(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}).encode()
    resign(
        folder,
        len(header).to_bytes(8, "little") + header,
        arrays={"a": {"dtype": "float32", "shape": [1 << 30]}},
    )


def _bfloat(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    resign(folder, len(header).to_bytes(8, "little") + header + b"\0\0")


def _not_numbers(folder: Path) -> None:
    array = np.array([np.nan], dtype=np.float32)
    resign(folder, voice_state.save({"a": array}), arrays={"a": {"dtype": "float32", "shape": [1]}})


def _other_arrays(folder: Path) -> None:
    resign(folder, voice_state.save({"other": np.zeros(3, dtype=np.float32)}))


def _manifest(text: str):
    return lambda folder: (folder / "voice.json").write_text(text)


def _link(name: str):
    def change(folder: Path) -> None:
        outside = folder.parent / name
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return change


def _pipe(folder: Path) -> None:
    (folder / "voice.json").unlink()
    os.mkfifo(folder / "voice.json")


def _folder(folder: Path) -> None:
    (folder / "voice.safetensors").unlink()
    (folder / "voice.safetensors").mkdir()


def _huge(folder: Path) -> None:
    os.truncate(folder / "voice.safetensors", 5 << 30)


HOSTILE = {
    "a byte flipped": _flip_a_byte,
    "cut short": lambda folder: os.truncate(folder / "voice.safetensors", 20),
    "no arrays": lambda folder: (folder / "voice.safetensors").unlink(),
    "no manifest": lambda folder: (folder / "voice.json").unlink(),
    "a pickle": _pickle,
    "a header of 8 EiB": _long_header,
    "offsets outside": _offsets_outside,
    "a type numpy lacks": _bfloat,
    "not a number": _not_numbers,
    "other arrays": _other_arrays,
    "manifest empty": _manifest(""),
    "manifest not JSON": _manifest("{'engine'}"),
    "manifest a list": _manifest("[]"),
    "manifest of another format": _manifest('{"format": 2}'),
    "manifest without an engine": _manifest('{"format": 1, "metadata": {}, "arrays": {}}'),
    "manifest nested deep": _manifest("[" * 200_000),
    "manifest not a number": _manifest('{"format": NaN}'),
    "manifest in another encoding": lambda folder: (folder / "voice.json").write_bytes(b"\xff\xfe\x00"),
    "arrays a link": _link("voice.safetensors"),
    "manifest a link": _link("voice.json"),
    "a pipe": _pipe,
    "a folder": _folder,
    "far too large": _huge,
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_damaged_folder_is_refused(tmp_path, change):
    write_voice(tmp_path / "one", a_voice())
    change(tmp_path / "one")
    with pytest.raises(BadVoice) as caught:
        read_voice(tmp_path / "one")
    assert caught.value.code == "voice_unusable" and caught.value.fix


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadVoice):
        read_voice(tmp_path / "nothing")
