"""A voice as files: `voice.safetensors` with its arrays and `voice.json` with everything else.

Such a folder can be copied to another machine and loaded there. It may also come from a stranger: nothing
in it is ever executed (no pickle), and every size and name is checked before it is believed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from app.speech.interface import BadVoice, VoiceState

ARRAYS_FILE, MANIFEST_FILE = "voice.safetensors", "voice.json"
FORMAT = 1
_MAX_MANIFEST = 4 * 2**20
_MAX_ARRAYS = 1 << 30
_FIX = "Train the model again, or copy its whole folder again from where it works."


def pack_voice(voice: VoiceState) -> dict[str, bytes]:
    """The voice's files by name, the manifest last; the same voice gives the same bytes.

    Raises BadVoice for what the files cannot hold: metadata that is not JSON, arrays of objects, values that
    are not numbers.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name in sorted(voice.arrays):
        array = np.asarray(voice.arrays[name])
        # A copy in C order: safetensors writes memory as it lies.
        arrays[name] = np.array(array.astype(array.dtype.newbyteorder("<")), order="C", copy=True)
    _check_arrays(arrays)
    packed = save(arrays)
    manifest = {
        "format": FORMAT,
        "engine": voice.engine,
        "metadata": dict(voice.metadata),
        "arrays": {
            name: {"dtype": str(each.dtype), "shape": list(each.shape)} for name, each in arrays.items()
        },
        "bytes": len(packed),
        "sha256": hashlib.sha256(packed).hexdigest(),
    }
    try:
        text = json.dumps(manifest, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadVoice("its metadata is not plain JSON", "This is an engine's mistake: report it.") from error
    return {ARRAYS_FILE: packed, MANIFEST_FILE: text.encode() + b"\n"}


def unpack_voice(files: Mapping[str, bytes]) -> VoiceState:
    """The voice that `pack_voice` packed. Raises BadVoice for anything else."""
    try:
        manifest = json.loads(files[MANIFEST_FILE], parse_constant=_refuse_constant)
        packed = files[ARRAYS_FILE]
    except KeyError as error:
        raise BadVoice(f"{error.args[0]} is missing", _FIX) from None
    except (ValueError, RecursionError) as error:
        raise BadVoice(f"{MANIFEST_FILE} cannot be read", _FIX) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadVoice(f"{MANIFEST_FILE} is not of format {FORMAT}", _FIX)
    engine, metadata, told = (manifest.get(name) for name in ("engine", "metadata", "arrays"))
    if not isinstance(engine, str) or not isinstance(metadata, dict) or not isinstance(told, dict):
        raise BadVoice(f"{MANIFEST_FILE} lacks what a voice has", _FIX)
    if manifest.get("bytes") != len(packed) or manifest.get("sha256") != hashlib.sha256(packed).hexdigest():
        raise BadVoice(f"{ARRAYS_FILE} is not what was written", _FIX)
    try:
        arrays: dict[str, NDArray[Any]] = load(packed)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadVoice(f"{ARRAYS_FILE} cannot be read", _FIX) from error
    found = {name: {"dtype": str(each.dtype), "shape": list(each.shape)} for name, each in arrays.items()}
    if found != told:
        raise BadVoice(f"{ARRAYS_FILE} holds other arrays than {MANIFEST_FILE} says", _FIX)
    _check_arrays(arrays)
    return VoiceState(engine, arrays, metadata)


def write_voice(folder: Path, voice: VoiceState) -> None:
    """Publish the voice as `folder`, whole and durable, or not at all; a repetition changes nothing.

    Raises BadVoice, FileExistsError where the folder holds something else, OSError (disk full, read-only).
    """
    files = pack_voice(voice)
    parent = folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    part = parent / f"{folder.name}.{secrets.token_hex(4)}.part"
    try:
        part.mkdir()
        for name, data in files.items():
            with (part / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync_folder(part)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            if not _holds(folder, files):
                raise FileExistsError(f"{folder} holds another voice") from None
            shutil.rmtree(part)
        _sync_folder(parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def read_voice(folder: Path) -> VoiceState:
    """The voice in a folder. Raises BadVoice, with what to do, for one that is not whole and sound."""
    return unpack_voice(
        {
            MANIFEST_FILE: _read(folder / MANIFEST_FILE, _MAX_MANIFEST),
            ARRAYS_FILE: _read(folder / ARRAYS_FILE, _MAX_ARRAYS),
        }
    )


def _check_arrays(arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise BadVoice(f"array {name!r} is of {array.dtype}", _FIX)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadVoice(f"array {name!r} has values that are not numbers", _FIX)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _read(path: Path, most: int) -> bytes:
    """A regular file's bytes: no link that leads elsewhere, no pipe that never ends, no more than `most`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadVoice(f"{path.name} cannot be opened: {error.strerror}", _FIX) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > most:
        os.close(descriptor)
        raise BadVoice(f"{path.name} is no file of at most {most} bytes", _FIX)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    with suppress(BadVoice):
        return all(_read(folder / name, len(data)) == data for name, data in files.items())
    return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
