"""The C code, compiled when it is first needed (some seconds) and kept in the user's cache folder.

PyTorch is not imported here, so that the code can be compiled while that is going on.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PANEL, LANES = 32, 16  # as in vectors.h
_FOLDER = Path(__file__).parent
_SOURCES = ("team.c", "weights.c", "layers.c", "choice.c", "tiles.c", "convolutions.c", "pictures.c")
_HEADERS = ("choice.h", "team.h", "vectors.h", "tiles.h", "weights.h")
_PARTS = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "avx512_vnni")
_PROCESSOR = Path("/proc/cpuinfo")
# Products and sums are not joined unless the code says so: else results hang on which loop GCC joins them in.
_FLAGS = (
    *("-O2", "-ffp-contract=off", "-fPIC", "-pthread", "-mfma"),
    *(f"-m{part.replace('_', '')}" for part in _PARTS),
)
_PATIENCE = 300  # seconds for the compiler
_compiling = threading.Lock()
_log = logging.getLogger(__name__)


def prepare() -> None:
    """Begin to compile, where that is of use, while other things are loaded."""
    if _is_capable():
        threading.Thread(target=library, name="compiling", daemon=True).start()


def capable(device: torch.device) -> bool:
    """Whether the processor has what the C code needs: AVX-512 with bf16 and VNNI.

    Not where there is AMX, which only PyTorch's products use.
    """
    return device.type == "cpu" and _is_capable()


def _is_capable() -> bool:
    has = _said("flags")
    return has.issuperset(_PARTS) and "amx_bf16" not in has


def _said(name: str) -> set[str]:
    """The words that Linux says of the processor under this name."""
    with suppress(OSError):  # no Linux
        lines = _PROCESSOR.read_text().splitlines()
        return set(next((line for line in lines if line.startswith(name)), "").split())
    return set()


def _flags() -> tuple[str, ...]:
    return (*_FLAGS, "-DAMD") if "AuthenticAMD" in _said("vendor_id") else _FLAGS


def supported(device: torch.device) -> bool:
    """Whether the C code runs here: on a capable processor, compiled."""
    return capable(device) and library() is not None


def library() -> Any:
    """The compiled code; None where it cannot be compiled or loaded."""
    with _compiling:  # threads that ask at once compile it once
        return _library()


@cache
def _library() -> Any:
    text = b"".join((_FOLDER / name).read_bytes() for name in (*_SOURCES, *_HEADERS))
    name = hashlib.sha256(text + " ".join(_flags()).encode()).hexdigest()[:16]
    try:
        folder = cache_folder()
        path = folder / f"xtts-{name}.so"
        if not path.is_file():  # what was compiled once needs no compiler any more
            compiler = shutil.which(os.environ.get("CC", "cc"))
            if compiler is None:
                _log.warning("tts.xtts.no_compiler")
                return None
            _compile(compiler, path)
        found = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("tts.xtts.not_compiled", extra={"error": type(error).__name__})
        return None
    found.team_new.argtypes, found.team_new.restype = [ctypes.c_int32], ctypes.c_void_p
    found.team_free.argtypes, found.team_free.restype = [ctypes.c_void_p], None
    for name in ("pack", "run_chain"):
        found[name].restype = ctypes.c_bool
    found.run_layers.restype = ctypes.c_int32
    for name in ("measure", "choose", "convolve_picture", "gate_picture"):
        found[name].restype = None
    found.picture_room.restype = ctypes.c_int64
    return found


def _compile(compiler: str, path: Path) -> None:
    """All sources at once, each by a process of its own; then as one file."""
    fresh = path.parent / f"{path.name}.{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        objects = [f"{folder}/{source}.o" for source in _SOURCES]
        commands = [
            [compiler, *_flags(), "-c", str(_FOLDER / source), "-o", out]
            for source, out in zip(_SOURCES, objects, strict=True)
        ]
        running = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for command in commands
        ]
        try:
            failed = [process for process in running if process.wait(_PATIENCE) != 0]
        finally:
            for process in running:
                process.kill()  # which does nothing to those that have ended
                process.wait()
        if failed:
            raise subprocess.CalledProcessError(failed[0].returncode, compiler)
        command = [compiler, *_FLAGS, "-shared", *objects, "-o", str(fresh), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)
    fresh.replace(path)


def cache_folder() -> Path:
    """Where only this user writes: what lies there is run."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "moksori"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        pass
    folder = Path(tempfile.mkdtemp(prefix="moksori-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Team:
    """So many threads that wait for work, one of them the caller."""

    def __init__(self, threads: int) -> None:
        handle = library().team_new(threads - 1)
        if not handle:
            raise MemoryError
        self.handle = ctypes.c_void_p(handle)
        # Not at exit: another thread may still be at work, and the threads end anyway.
        weakref.finalize(self, library().team_free, self.handle).atexit = False
