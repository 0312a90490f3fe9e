"""XTTS v2, batched and streaming. `XttsEngine` and `has_gpu` are all that the outside needs."""

from app.speech.xtts.engine import XttsEngine, has_gpu

__all__ = ["XttsEngine", "has_gpu"]
