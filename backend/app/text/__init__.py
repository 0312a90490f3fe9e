"""Korean reading: a written announcement in, the spoken words and how they came about out."""

from app.text.lexicon import Lexicon
from app.text.normalize import normalize
from app.text.reading import Pace, Pause, Reading, Span, Unclear, UnclearText

__all__ = ["Lexicon", "Pace", "Pause", "Reading", "Span", "Unclear", "UnclearText", "normalize"]
