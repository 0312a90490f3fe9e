from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from app.speech.builtin import espeak as module
from app.speech.builtin.espeak import Espeak
from app.speech.interface import EngineUnavailable, SpeechError

TEXT = "안녕하세요? 고객님의 잔액은, 삼만 원입니다."


@pytest.fixture
def espeak() -> Iterator[Espeak]:
    with Espeak() as espeak:
        yield espeak


def test_speaks_korean_in_words(espeak: Espeak):
    spoken = espeak.say(TEXT)
    assert spoken.audio.dtype == np.float32
    assert 0.1 < np.abs(spoken.audio).max() <= 1
    assert [word.text for word in spoken.words] == ["안녕하세요", "고객님의", "잔액은", "삼만", "원입니다"]
    assert [word.signs for word in spoken.words] == ["?", "", ",", "", "."]
    starts = [word.start for word in spoken.words]
    assert starts == sorted(starts)
    assert 0 <= starts[0] < starts[-1] < len(spoken.audio)


def test_a_text_sounds_the_same_whatever_was_said_before(espeak: Espeak):
    first = espeak.say(TEXT)
    espeak.say("전혀 다른 말입니다.", rate=300)
    np.testing.assert_array_equal(espeak.say(TEXT).audio, first.audio)


def test_every_process_says_a_text_alike(espeak: Espeak):
    here = espeak.say(TEXT, voice="ko+f2")
    with Espeak() as another:
        np.testing.assert_array_equal(another.say(TEXT, voice="ko+f2").audio, here.audio)


def test_a_nul_does_not_cut_the_text(espeak: Espeak):
    assert len(espeak.say("하나\0둘").audio) > 1.3 * len(espeak.say("하나").audio)


def test_an_unknown_voice_says_so(espeak: Espeak):
    with pytest.raises(SpeechError, match="voice") as caught:
        espeak.say(TEXT, voice="xx-nowhere")
    assert caught.value.fix
    assert espeak.say(TEXT).audio.any()


def test_starts_again_after_it_died(espeak: Espeak):
    before = espeak.say(TEXT)
    (child,) = [p for p in psutil.Process().children() if "espeak_child.py" in " ".join(p.cmdline())]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    np.testing.assert_array_equal(espeak.say(TEXT).audio, before.audio)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, espeak: Espeak):
    monkeypatch.setattr(module, "library", lambda: ("/nowhere/libespeak-ng.so", "/nowhere"))
    with pytest.raises(EngineUnavailable) as caught:
        espeak.say(TEXT)
    assert "espeakng-loader" in caught.value.fix
