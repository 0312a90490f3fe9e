"""The entrance: a written text in, its reading out."""

from __future__ import annotations

import re
from dataclasses import replace

from app.text.lexicon import Lexicon
from app.text.reading import Reading
from app.text.rules import RULES
from app.text.scan import INTERESTING, Cursor, Hit, read


def normalize(
    text: str, lexicon: Lexicon | None = None, *, best_effort: bool = False, language: str = "ko"
) -> Reading:
    """How a text is spoken. Never fails: what has no sure reading is guessed or left out, and named in
    `unclear` unless `best_effort` is asked for. A text in another language than Korean passes as it is."""
    if language != "ko":
        return Reading(text, text)
    if lexicon is None or not lexicon:
        reading = read(text, RULES, None, INTERESTING)
    else:

        def entry(cursor: Cursor) -> Hit | None:
            found = lexicon.longest(cursor.text, cursor.position)
            return Hit(cursor.position + len(found.written), found.spoken, "lexicon", "lexicon") if found else None

        starts = re.compile(f"{lexicon.first_letters}|{INTERESTING.pattern}")
        reading = read(text, RULES, entry, starts)
    return replace(reading, unclear=()) if best_effort else reading
