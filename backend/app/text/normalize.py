"""The entrance: a written text in, its reading out."""

from __future__ import annotations

import re
from dataclasses import replace

from app.text.lexicon import Lexicon
from app.text.reading import Reading
from app.text.rules import RULES
from app.text.scan import INTERESTING, Cursor, Hit, Rule, read


def normalize(
    text: str, lexicon: Lexicon | None = None, *, best_effort: bool = False, language: str = "ko"
) -> Reading:
    """How a text is spoken. Never fails: what has no sure reading is guessed or left out, and named in
    `unclear` unless `best_effort` is asked for. A text in another language than Korean passes as it is."""
    if language.split("-")[0].lower() != "ko":
        return Reading(text, text)
    if lexicon:
        starts = re.compile(f"{lexicon.first_letters}|{INTERESTING.pattern}")
        reading = read(text, RULES, _entries(lexicon), starts)
    else:
        reading = read(text, RULES, None, INTERESTING)
    return replace(reading, unclear=()) if best_effort else reading


def _entries(lexicon: Lexicon) -> Rule:
    """The rule that knows the user's readings; these may be written with digits themselves."""
    spoken = {entry.written: read(entry.spoken, RULES, None, INTERESTING).text for entry in lexicon.entries}

    def entry(cursor: Cursor) -> Hit | None:
        found = lexicon.longest(cursor.text, cursor.position)
        if not found:
            return None
        return Hit(cursor.position + len(found.written), spoken[found.written], "lexicon", "lexicon", tight=True)

    return entry
