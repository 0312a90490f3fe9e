"""Moksori's own runtime for XTTS v2: a SpeechEngine around a batch that a thread of its own steps.

PyTorch is imported when the engine is loaded, and not before: the service works without it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import runpy
import sys
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.speech import packages
from app.speech.interface import (
    Audio,
    Clip,
    EngineStatus,
    EngineUnavailable,
    Failure,
    Recording,
    SpeechError,
    Utterance,
    VoiceState,
)
from app.speech.posting import Post, posted
from app.speech.xtts.compiled import library
from app.speech.xtts.threads import wait_briefly

if TYPE_CHECKING:
    from app.speech.xtts.batch import Batch
    from app.speech.xtts.model import Model

NAME = "xtts"
SAMPLE_RATE = 24000
_INSTALL = "Install PyTorch beside the service: pip install 'moksori[xtts]'."
_FETCH = "Fetch or import the weights: moksori weights fetch xtts-v2."
_CHECK = (
    "The log says more. If it is the GPU, see whether `nvidia-smi` finds it well, and its driver new enough for this "
    "PyTorch, and start the worker again; with CUDA_VISIBLE_DEVICES= the processor speaks."
)
# NVIDIA's driver is there: on Linux, and in Windows' Linux.
_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
_log = logging.getLogger(__name__)


def has_gpu() -> bool:
    """Whether it is a GPU that would speak here. Imports PyTorch only where there seems to be one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or not any(map(os.path.exists, _DEVICES)):
        return False
    try:
        found = bool(_pytorch().cuda.is_available())
    except EngineUnavailable as error:
        _log.warning("tts.xtts.gpu_unusable", extra={"error": str(error), "fix": error.fix})
        return False
    if not found:
        _log.warning("tts.xtts.gpu_unusable", extra={"error": "PyTorch finds none.", "fix": _CHECK})
    return found


def _pytorch() -> Any:
    """Raises EngineUnavailable, also where PyTorch is installed and breaks: it may lack a library of CUDA's."""
    if importlib.util.find_spec("torch") is None:
        raise EngineUnavailable("The xtts engine needs PyTorch, which is not installed.", fix=_INSTALL)
    wait_briefly()
    try:
        import torch
    except Exception as error:
        raise EngineUnavailable(
            f"PyTorch is installed, but cannot be imported ({_said(error)}).",
            fix="Install it again: uv pip install --reinstall torch.",
        ) from error
    return torch


def _cuda() -> str | None:
    """The CUDA that PyTorch was built for, by the file that it has it from: importing it takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    with suppress(OSError):
        cuda: str | None = runpy.run_path(str(Path(spec.origin).with_name("version.py"))).get("cuda")
        return cuda
    return None


def _said(error: Exception) -> str:
    """The first line: CUDA's errors go on with hints for those who write kernels."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}"


class XttsEngine:
    """Speaks with the checkpoint in `folder`, official or converted.

    `precision` "auto" is bf16 where the processor or GPU has it, else fp32; one that it has not is refused
    when the engine is loaded. `slots` is how many utterances
    are decoded together (by default 32 on a CPU, 64 on a GPU). `CUDA_VISIBLE_DEVICES=""` forces the CPU.
    """

    name = NAME
    simulated = False
    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        folder: Path | None,
        precision: Literal["auto", "fp32", "bf16", "int8"] = "auto",
        slots: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._folder = folder
        self._precision = precision
        self._slots = slots
        self._threads = threads
        self._loading = threading.Lock()
        self._model: Model | None = None
        self._worker: _Worker | None = None

    @property
    def measures_elsewhere(self) -> bool:
        model = self._model
        return model is not None and model.device.type == "cuda"

    def load(self) -> None:
        with self._loading:
            if self._worker is not None and self._worker.alive:
                return
            if self._folder is None:
                raise EngineUnavailable("There are no XTTS v2 weights here.", fix=_FETCH)
            library.prepare()
            _pytorch()
            self._model = self._worker = None  # of one that broke: there may be no room for two
            self._model, batch = self._loaded_from(self._folder)
            self._worker = _Worker(batch)

    def _loaded_from(self, folder: Path) -> tuple[Model, Batch]:
        """Raises EngineUnavailable, and TooLittleMemory, which may be over at the next try."""
        from app.speech.xtts.batch import enough_memory
        from app.speech.xtts.model import Model

        try:
            with enough_memory():
                model = Model(folder, self._precision, self._threads)
                batch = model.batch(self._slots)
                batch.prepare()
        except SpeechError:
            raise
        except Exception as error:  # of CUDA or Triton, say
            _log.exception("tts.xtts.not_loaded")
            raise EngineUnavailable(f"XTTS v2 cannot be loaded ({_said(error)}).", fix=_CHECK) from error
        return model, batch

    def close(self) -> None:
        with self._loading:
            worker, self._worker, self._model = self._worker, None, None
        if worker is not None:
            worker.close()

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        return self._loaded()[0].condition(recordings)

    def similarity(self, audio: Audio, sample_rate: int, voice: VoiceState) -> float | None:
        return self._loaded()[0].similarity(audio, sample_rate, voice)

    async def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        await asyncio.to_thread(self.load)
        worker = self._loaded()[1]
        # All there are, however few fit: the batch knows whom an interactive one overtakes.
        async with aclosing(posted(utterances, worker.add, worker.cancel)) as events:
            async for event in events:
                yield event

    def cancel(self, utterance_id: str) -> None:
        worker = self._worker
        if worker is not None:
            worker.cancel(utterance_id)

    def ping(self) -> EngineStatus:
        versions = packages.versions("torch", "tokenizers", "safetensors")
        if cuda := _cuda():
            versions["cuda"] = cuda

        def status(available: bool, detail: str, fix: str = "") -> EngineStatus:
            return EngineStatus(NAME, available, detail, fix, self._device(), versions)

        if importlib.util.find_spec("torch") is None or "tokenizers" not in versions:
            return status(False, "PyTorch or tokenizers is not installed.", _INSTALL)
        if self._folder is None:
            return status(False, "There are no XTTS v2 weights here.", _FETCH)
        names = ("config.json", "vocab.json")
        missing = [name for name in names if not (self._folder / name).is_file()]
        if not any((self._folder / name).is_file() for name in ("model.safetensors", "model.pth")):
            missing.append("model.pth")
        if missing:
            return status(False, f"{self._folder} lacks {', '.join(missing)}.", _FETCH)
        ready = f"XTTS v2 weights are there; precision: {self._precision}."
        return status(True, self._model.description if self._model else ready)

    def _device(self) -> str:
        """Asks PyTorch only if it is loaded anyway."""
        if self._model is not None:
            return str(self._model.device)
        torch: Any = sys.modules.get("torch")
        return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"

    def _loaded(self) -> tuple[Model, _Worker]:
        self.load()
        model, worker = self._model, self._worker
        if model is None or worker is None:
            raise EngineUnavailable("The engine was closed.")
        return model, worker


class _Worker:
    """The thread that steps the batch. Everything it shares is behind one condition."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._wake = threading.Condition()
        self._inbox: deque[tuple[Utterance | str, Post | None]] = deque()
        self._closing = False
        self._ended = False
        self._posts: dict[str, Post] = {}
        self._thread = threading.Thread(target=self._run, name="xtts", daemon=True)
        self._thread.start()

    @property
    def batch(self) -> Batch:
        return self._batch

    @property
    def alive(self) -> bool:
        return not self._ended

    def add(self, utterance: Utterance, post: Post) -> None:
        """Speak it; `post` is called with each of its clips, or its Failure, whatever becomes of this.

        Raises SpeechError once this has ended: `load` makes another.
        """
        if not self._put(utterance, post):
            raise _closed()

    def cancel(self, utterance_id: str) -> None:
        self._put(utterance_id, None)

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _put(self, item: Utterance | str, post: Post | None) -> bool:
        with self._wake:
            if not self._ended:
                self._inbox.append((item, post))
                self._wake.notify()
            return not self._ended

    def _run(self) -> None:
        try:
            while self._receive():
                for event in self._step():
                    ended = isinstance(event, Failure) or event.final
                    name = event.utterance_id
                    if post := self._posts.pop(name, None) if ended else self._posts.get(name):
                        post(event)
        except Exception:  # what broke cannot be mended here; `load` makes everything anew
            _log.exception("tts.xtts.broken")
        with self._wake:
            self._ended = True
            left = [(item.id, post) for item, post in self._inbox if isinstance(item, Utterance) and post]
        for utterance_id, post in (*self._posts.items(), *left):
            post(Failure(utterance_id, _closed()))

    def _step(self) -> Sequence[Clip | Failure]:
        try:
            return self._batch.step()
        except Exception as error:
            _log.exception("tts.xtts.step_failed")
            return self._batch.recover(error)

    def _receive(self) -> bool:
        """Take what has come in, waiting for it if there is nothing else to do; False: close."""
        with self._wake:
            while not (self._inbox or self._batch.busy or self._closing):
                self._wake.wait()
            items = list(self._inbox)
            self._inbox.clear()
            closing = self._closing
        for item, post in items:
            if isinstance(item, str):
                self._batch.cancel(item)
                if (cancelled := self._posts.pop(item, None)) is not None:
                    cancelled(None)
            elif post is not None:
                self._add(item, post)
        return not closing

    def _add(self, utterance: Utterance, post: Post) -> None:
        try:
            self._batch.add(utterance)
        except SpeechError as error:
            post(Failure(utterance.id, error))
        except Exception as error:
            _log.exception("tts.xtts.add_failed")
            post(
                Failure(utterance.id, SpeechError(f"The utterance cannot be spoken: {type(error).__name__}."))
            )
        else:
            self._posts[utterance.id] = post


def _closed() -> SpeechError:
    error = SpeechError("The engine was closed.")
    error.retry = True
    return error
