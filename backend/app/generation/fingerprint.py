"""What a take depends on: while none of it changes, the take is up to date."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from app.config import Settings
from app.models import Script, VoiceModel
from app.text import Reading


def settings_of(script: Script) -> dict[str, Any]:
    """A script's settings, as its generations keep them."""
    return {"language": script.language, "speed": script.speed, "seed": script.seed}


def fingerprint(
    text: str,
    script_settings: Mapping[str, Any],
    model: VoiceModel,
    reading: Reading,
    engine: str,
    settings: Settings,
) -> str:
    """A digest of the text, its reading, the voice and its version, the settings and the engine."""
    facts = {
        "text": text,
        "reading": [reading.text, *map(astuple, reading.pauses), *map(astuple, reading.paces)],
        **script_settings,
        "voice_model": model.id,
        "version": model.version,
        "engine": engine,
        "loudness": [settings.take_loudness, settings.take_true_peak],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
