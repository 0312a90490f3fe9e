"""The entrance: a written text in, its reading out."""

from __future__ import annotations

import re
from dataclasses import replace

from app.text.lexicon import Lexicon
from app.text.markup import is_markup, read_markup
from app.text.reading import Reading
from app.text.rules import RULES
from app.text.scan import INTERESTING, Cursor, Hit, Rule, read


def normalize(
    text: str, lexicon: Lexicon | None = None, *, best_effort: bool = False, language: str = "ko"
) -> Reading:
    """How a text is spoken. What has no sure reading is guessed or left out, and named in `unclear` unless
    `best_effort` is asked for. A text in another language than Korean passes as it is. A text that begins
    with `<speak>` is markup, and raises `MarkupError` where that is broken; nothing else fails."""
    if language.split("-", maxsplit=1)[0].lower() != "ko":
        return Reading(text, text)
    entry = _entries(lexicon) if lexicon else None
    if is_markup(text):
        reading = read_markup(text, entry, lexicon.first_letters if lexicon else "")
    elif lexicon:
        starts = re.compile(f"{lexicon.first_letters}|{INTERESTING.pattern}")
        reading = read(text, RULES, entry, starts)
    else:
        reading = read(text, RULES)
    return replace(reading, unclear=()) if best_effort else reading


def _entries(lexicon: Lexicon) -> Rule:
    """The rule that knows the user's readings; these may be written with digits themselves."""
    spoken: dict[str, str] = {}

    def entry(cursor: Cursor) -> Hit | None:
        found = lexicon.longest(cursor.text, cursor.position)
        if not found:
            return None
        if found.written not in spoken:
            spoken[found.written] = read(found.spoken, RULES).text
        return Hit(
            cursor.position + len(found.written), spoken[found.written], "lexicon", "lexicon", tight=True
        )

    return entry
