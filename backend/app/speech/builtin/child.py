"""The process that does the work: python -m app.speech.builtin.child, requests in, audio out.

WORLD holds the interpreter's lock while it computes, so each core gets a process. One request at a time:

- `speak`: text and voice; answers the first phrase, or that the voice has to be sent along. `more`
  answers the next; any other request drops the rest.
- `condition`: recordings; answers a voice.

A process whose parent is gone reads the end of its pipe and ends.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app.speech import pipe
from app.speech.builtin import analysis, voice
from app.speech.builtin.espeak import Espeak
from app.speech.builtin.speaking import speak
from app.speech.interface import Audio, Recording, SpeechError
from app.speech.packing import pack_error, pack_voice, unpack_voice

VOICES_KEPT = 4
_SECONDS = {"speak": 30, "more": 30, "condition": 600}  # far beyond need; then the process is stuck


class Worker:
    """What a request needs from the ones before it."""

    def __init__(self) -> None:
        self._espeak = Espeak()
        self._targets: OrderedDict[str, voice.Target] = OrderedDict()
        self._phrases: Iterator[tuple[Audio, bool]] = iter(())

    def answer(self, request: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Answer one request. Raises SpeechError."""
        match request["do"]:
            case "speak":
                target = self._target(request["voice"], request.get("state"), blobs)
                if target is None:
                    return {"missing": "voice"}, []
                self._phrases = speak(
                    request["text"],
                    target,
                    self._espeak,
                    language=request["language"],
                    speed=request["speed"],
                    seed=request["seed"],
                )
                return self._phrase()
            case "more":
                return self._phrase()
            case "condition":
                recordings = [
                    Recording(np.frombuffer(blob, np.float32), rate)
                    for rate, blob in zip(request["rates"], blobs, strict=True)
                ]
                header, arrays = pack_voice(voice.build(recordings, self._espeak))
                return {"state": header}, arrays
        raise SpeechError("Unknown request.")

    def _phrase(self) -> tuple[dict[str, Any], list[bytes]]:
        audio, final = next(self._phrases)
        return {"final": final}, [audio.tobytes()]

    def _target(self, key: str, state: dict[str, Any] | None, blobs: list[bytes]) -> voice.Target | None:
        if state is not None:
            self._targets[key] = voice.target(unpack_voice(state, blobs))
        while len(self._targets) > VOICES_KEPT:
            self._targets.popitem(last=False)
        if key in self._targets:
            self._targets.move_to_end(key)
        return self._targets.get(key)


def _fault(error: Exception) -> SpeechError:
    """A mistake of ours, named by its kind and place: its message might hold text that nobody may log."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
    return SpeechError(f"The builtin engine failed: {where}.", "Change the text, and report this.")


def main() -> None:
    """Answer requests until the other side closes the pipe."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = Worker()
    pipe.send(answers, {"sample_rate": analysis.RATE})
    while True:
        request, blobs = pipe.receive(requests)
        signal.alarm(_SECONDS.get(request["do"], 30))  # its default action ends the process
        try:
            header, arrays = worker.answer(request, blobs)
        except SpeechError as error:
            header, arrays = pack_error(error), []
        except Exception as error:
            header, arrays = pack_error(_fault(error)), []
        signal.alarm(0)
        pipe.send(answers, header, *arrays)


if __name__ == "__main__":
    try:
        main()
    except pipe.PipeClosed:
        sys.exit(0)
