"""Speech from espeak-ng, which runs in a process of its own (`espeak_child`)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from app.speech import pipe
from app.speech.interface import Audio, EngineUnavailable, SpeechError

_INSTALL = "Install the Python package espeakng-loader, or Debian's espeak-ng."
_SYSTEM = ("libespeak-ng.so.1", "")  # found by the dynamic loader, with its own data


class EngineCrashed(SpeechError):
    """A process of the engine died or hung at this utterance; it was started anew."""

    code = "engine_crashed"
    retry = True


def library() -> tuple[str, str]:
    """The paths of espeak-ng's library and data: the pip package's, else the system's."""
    if importlib.util.find_spec("espeakng_loader"):
        import espeakng_loader

        path = Path(espeakng_loader.get_library_path())
        if path.exists():
            return str(path), str(Path(espeakng_loader.get_data_path()))
    return _SYSTEM


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it was spoken: from which sample on, and the signs that follow it in the text."""

    text: str
    signs: str
    start: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """What espeak-ng said: samples within -1..1 at `sample_rate` Hz, and where each word begins."""

    audio: Audio
    sample_rate: int
    words: tuple[Word, ...]


class Espeak:
    """A running espeak-ng: started at the first text, and again after it died. Not thread-safe."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self.version = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def say(self, text: str, *, voice: str = "ko", rate: int = 145, pitch: int = 50) -> Spoken:
        """Speak `text`, at `rate` of espeak-ng's words a minute (80–450) and `pitch` 0–99.

        A voice is a language and perhaps a variant: `ko+f2`.

        Raises EngineUnavailable where there is no library, EngineCrashed when it died on this text,
        SpeechError for an unknown voice.
        """
        header = {"voice": voice, "rate": rate, "pitch": pitch}
        text = text.replace("\0", " ")
        answer, blobs = self._ask(header, text.encode("utf-8", "replace"))
        if "crashed" in answer:
            raise EngineCrashed("espeak-ng died on this text", "Try again, or change the text.")
        if "error" in answer:
            raise SpeechError(str(answer["error"]), "Choose a language that espeak-ng speaks.")
        audio = np.frombuffer(blobs[0], "<i2").astype(np.float32) / np.float32(32768)
        return Spoken(audio, int(answer["sample_rate"]), tuple(_words(text, answer["words"])))

    def start(self) -> None:
        """Start the process if none runs. Raises EngineUnavailable."""
        if self._child is not None and self._child.poll() is None:
            return
        self.close()
        script = Path(__file__).with_name("espeak_child.py")
        self._child = subprocess.Popen(
            [sys.executable, "-S", str(script), *library()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", "")},
        )
        try:
            hello, _ = pipe.receive(self._child.stdout)  # type: ignore[arg-type]
        except pipe.PipeClosed:
            hello = {"error": "espeak-ng did not start"}
        if "error" in hello:
            self.close()
            raise EngineUnavailable(f"espeak-ng cannot run: {hello['error']}", _INSTALL)
        self.version = str(hello["version"])

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _ask(self, header: dict[str, Any], text: bytes) -> tuple[dict[str, Any], list[bytes]]:
        self.start()
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:  # pragma: no cover - start() raised
            raise EngineUnavailable("espeak-ng cannot run", _INSTALL)
        try:
            pipe.send(child.stdin, header, text)
            return pipe.receive(child.stdout)
        except pipe.PipeClosed as error:
            self.close()
            raise EngineCrashed("espeak-ng died on this text", "Try again, or change the text.") from error


def _words(text: str, events: Sequence[tuple[int, int, int]]) -> Iterator[Word]:
    for position, length, sample in events:
        end = position + length
        signs = "".join(takewhile(lambda sign: not sign.isalnum() and not sign.isspace(), text[end:]))
        yield Word(text[position:end], signs, sample)
