"""What a take depends on: while none of it changes, the take is up to date."""

from __future__ import annotations

import hashlib
import json

from app.config import Settings
from app.models import Script, VoiceModel
from app.text import Reading


def fingerprint(script: Script, model: VoiceModel, reading: Reading, settings: Settings) -> str:
    """A digest of the text, its reading, the voice and its version, the settings and the engine."""
    facts = {
        "text": script.text,
        "reading": reading.text,
        "language": script.language,
        "speed": script.speed,
        "seed": script.seed,
        "voice_model": model.id,
        "version": model.version,
        "engine": model.engine,
        "loudness": [settings.take_loudness, settings.take_true_peak],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
