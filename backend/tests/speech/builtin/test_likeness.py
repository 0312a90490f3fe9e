"""Voices sound like their actor, by a judge of others' making. The bench does this at full length."""

from __future__ import annotations

import numpy as np
import pytest

from app.speech.builtin import voice
from app.speech.builtin.espeak import Espeak
from app.speech.builtin.speaking import speak
from tests.speech.builtin import likeness
from tests.speech.builtin.actors import SENTENCES, prompts

pytestmark = pytest.mark.needs("asterisk-prompts")

ACTORS = ("Allison", "June")  # their prompts are installed wherever these tests run


def test_a_voice_is_nearest_to_its_actor_and_stays_clear():
    with Espeak() as espeak:
        source = voice.say(espeak, SENTENCES[1])
        plain = likeness.embedding(source.audio, source.sample_rate)
        recordings = {actor: prompts(actor, 40, 16) for actor in ACTORS}
        references = {actor: likeness.reference(held_out) for actor, (_, held_out) in recordings.items()}
        for actor, (given, _) in recordings.items():
            target = voice.target(voice.build(given, espeak))
            said = np.concatenate([audio for audio, _ in speak(SENTENCES[1], target, espeak)])
            known = references[actor]
            embedded = likeness.embedding(said, source.sample_rate)
            similarity = float(embedded @ known)
            assert likeness.nearest(embedded, references) == actor
            assert similarity > 0.75
            assert similarity > float(plain @ known) + 0.1
            first = np.flatnonzero(np.abs(source.audio) > 1e-3)[0] - round(0.06 * source.sample_rate)
            assert likeness.kept(said, source.audio[max(first, 0) :]) > 0.6
