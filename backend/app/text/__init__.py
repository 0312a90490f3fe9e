"""Korean reading: a written announcement in, the spoken words and how they came about out.

reading = normalize("3,000원은 1588-1234로")
reading.text      # 삼천 원은 일오팔팔 일이삼사로
split(reading)    # the parts an engine speaks one by one
"""

from app.text.lexicon import Entry, Lexicon, LexiconError
from app.text.markup import MarkupError, is_markup, parse_markup
from app.text.normalize import normalize
from app.text.reading import Pace, Pause, Reading, Span, Unclear, UnclearText
from app.text.split import Part, split

__all__ = [
    "Entry",
    "Lexicon",
    "LexiconError",
    "MarkupError",
    "Pace",
    "Part",
    "Pause",
    "Reading",
    "Span",
    "Unclear",
    "UnclearText",
    "is_markup",
    "normalize",
    "parse_markup",
    "split",
]
