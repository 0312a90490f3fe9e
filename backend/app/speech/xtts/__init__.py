"""XTTS v2, batched and streaming. `XttsEngine` is all that the outside needs."""

from app.speech.xtts.engine import XttsEngine

__all__ = ["XttsEngine"]
