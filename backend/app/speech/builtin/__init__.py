"""espeak-ng speech reshaped toward an actor's recordings with the WORLD vocoder."""

from app.speech.builtin.engine import BuiltinEngine
from app.speech.builtin.espeak import EngineCrashed

__all__ = ["BuiltinEngine", "EngineCrashed"]
