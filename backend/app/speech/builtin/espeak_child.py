"""A process that holds espeak-ng and nothing else: text in, 16-bit samples out, over its pipes.

espeak-ng is under the GPL, keeps global state and now and then crashes on odd text: here it can do
neither licence nor service any harm. Runs as a file, without the packages around it: it imports the
standard library and `pipe`, one folder up, alone.

Request: `{"voice": "ko", "rate": 175, "pitch": 50}` and the text as UTF-8.
Answer: `{"sample_rate": 22050, "words": [[character, characters, sample], ...]}` and the samples;
`{"error": "..."}`; or `{"crashed": status}`.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

sys.path[0] = str(Path(__file__).parents[1])  # in the place of this file's own folder
import pipe  # type: ignore[import-not-found]  # noqa: E402

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback before espeak_Synth returns
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_UTF8_END_PAUSE = 1 | 0x1000  # espeakCHARS_UTF8 | espeakENDPAUSE
_SECONDS = 20  # no announcement needs a hundredth of this
_END_OF_LIST, _WORD = 0, 1  # espeak_EVENT_TYPE


class _Event(ctypes.Structure):
    """espeak_EVENT, as speak_lib.h lays it out."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Espeak:
    """The library, set up to hand its samples over instead of playing them."""

    def __init__(self, library: str, data: str) -> None:
        self._library = ctypes.CDLL(library)
        self._heard = bytearray()
        self.words: list[tuple[int, int, int]] = []
        self.sample_rate: int = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, data.encode() or None, 0x8000
        )
        if self.sample_rate <= 0:
            raise OSError("espeak_Initialize failed")
        self._library.espeak_Info.restype = ctypes.c_char_p
        self.version: str = self._library.espeak_Info(None).decode().split()[0]
        self._callback = _CALLBACK(self._hear)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def _hear(self, samples: Any, count: int, events: Any) -> int:
        for event in itertools.takewhile(lambda event: event.type != _END_OF_LIST, events):
            if event.type == _WORD:
                self.words.append((event.position - 1, event.length, event.sample))
        if samples and count > 0:
            self._heard += ctypes.string_at(samples, 2 * count)
        return 0

    def say(self, text: bytes, voice: str, rate: int, pitch: int) -> bytes:
        """Speak, as 16-bit mono at `sample_rate`; ValueError for a voice that is not there."""
        self._heard, self.words = bytearray(), []
        library = self._library
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        library.espeak_SetParameter(_RATE, rate, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        # Its flutter is drawn at random, from a seed that is else the process's own.
        if hasattr(library, "espeak_ng_SetRandSeed"):
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        else:
            ctypes.CDLL(None).srand(1)
        code = library.espeak_Synth(
            text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _UTF8_END_PAUSE, None, None
        )
        if code != 0:
            raise ValueError(f"espeak-ng answered {code}")
        return bytes(self._heard)


def main() -> None:
    """Answer requests until the other side closes the pipe."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints must not end up between two answers
    try:
        espeak = Espeak(sys.argv[1], sys.argv[2])
    except (OSError, AttributeError) as error:
        pipe.send(answers, {"error": str(error)})
        return
    pipe.send(answers, {"sample_rate": espeak.sample_rate, "version": espeak.version})
    while True:
        try:
            request, (text,) = pipe.receive(requests)
        except pipe.PipeClosed:
            return
        # espeak-ng carries state from one text to the next; a fork a text starts each from the same one,
        # so the same text sounds the same, and one that crashes it takes nothing along.
        speaker = os.fork()
        if speaker == 0:
            signal.alarm(_SECONDS)  # its default action ends the process, even inside the library
            _answer(espeak, request, text, answers)
            os._exit(0)
        _, status = os.waitpid(speaker, 0)
        if status != 0:
            pipe.send(answers, {"crashed": status})


def _answer(espeak: Espeak, request: dict[str, Any], text: bytes, answers: BinaryIO) -> None:
    try:
        samples = espeak.say(text, **request)
    except ValueError as error:
        pipe.send(answers, {"error": str(error)})
    else:
        pipe.send(answers, {"sample_rate": espeak.sample_rate, "words": espeak.words}, samples)


if __name__ == "__main__":
    main()
