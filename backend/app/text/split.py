"""Long readings in parts that an engine can speak in one breath, with the pauses between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from app.text.reading import Reading

LONGEST = 90  # spoken characters of one part
CHUNK = 2_000  # characters looked through for sentences at once

# Seconds of silence after what a part ends with, as a calm announcer leaves them.
SENTENCE, COMMA, CONNECTIVE, LINE, PARAGRAPH = 0.45, 0.2, 0.12, 0.6, 0.9

_SENTENCE_END = re.compile(r"(?<![.?!])[.?!]+(?=\s|$)")  # one try a run of marks, however long
_COMMA_END = re.compile(r",(?=\s|$)")
_CONNECTIVE_END = re.compile(
    r"(?:하고|이고|되고|있고|없고|이며|하며|되며|으며|지만|는데|은데|니다만|으나|거나|면서|으면|하면|되면|려면|시면|어서|아서|여서|해서|므로|니까|도록|때문에|경우|후에?)(?=\s)"
)
_SPACE = re.compile(r"(?=\s)")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch to be spoken at once: `text` is reading.text[start:end], then `pause` seconds of silence,
    at `rate` times the voice's own speed."""

    text: str
    start: int
    end: int
    pause: float
    rate: float = 1.0


def split(reading: Reading, longest: int = LONGEST) -> tuple[Part, ...]:
    """Parts of at most `longest` characters, in order; joined by what lies between they are the text.

    Line breaks and pauses from markup always part. A line that is too long is parted at sentence ends, else
    at commas and connective endings, else at spaces outside of numbers and names; whole sentences are
    packed together again as far as they fit. A pause before the first word is left out. So are parts in which there
    is nothing to say but signs, unless there is nothing else: no engine can speak them.
    """
    text = reading.text
    asked = {pause.at: pause.seconds for pause in reading.pauses}
    paces = [(pace.start, pace.end, pace.rate) for pace in reading.paces]
    edges = sorted({0, len(text), *asked, *(edge for start, end, _ in paces for edge in (start, end))})
    kept = [(span.spoken_start, span.spoken_end) for span in reading.trace if " " in span.spoken]
    parts: list[Part] = []
    for start, end in pairwise(edges):
        rate = next((rate for first, last, rate in paces if first <= start < last), 1.0)
        if parts and start in asked:
            parts[-1] = _with_pause(parts[-1], asked[start])
        for first, last, pause in _lines(text, start, end, longest, kept):
            parts.append(Part(text[first:last], first, last, pause, rate))
    if any(map(_is_said, parts)):
        parts = _without_signs(parts)
    if not parts:
        return ()
    if len(text) in asked:
        parts[-1] = _with_pause(parts[-1], asked[len(text)])
    elif not any(map(str.isalnum, text[parts[-1].end :])):
        parts[-1] = _with_pause(parts[-1], 0.0)
    return tuple(parts)


def _is_said(part: Part) -> bool:
    return any(map(str.isalnum, part.text))


def _without_signs(parts: list[Part]) -> list[Part]:
    """The longer pause of two that a part of signs was between is kept."""
    kept: list[Part] = []
    for part in parts:
        if _is_said(part):
            kept.append(part)
        elif kept:
            kept[-1] = _with_pause(kept[-1], max(kept[-1].pause, part.pause))
    return kept


def _with_pause(part: Part, pause: float) -> Part:
    return Part(part.text, part.start, part.end, pause, part.rate)


def _lines(
    text: str, start: int, end: int, longest: int, kept: list[tuple[int, int]]
) -> Iterator[tuple[int, int, float]]:
    """(start, end, pause) of the parts of each line, without the space around them."""
    position = start
    while position < end:
        stop = text.find("\n", position, end)
        line_end = end if stop < 0 else stop
        found = list(_parts(text, position, line_end, longest, kept))
        following = line_end
        while following < end and text[following] in "\n ":
            following += 1
        breaks = text.count("\n", line_end, following)
        for index, (first, last, pause) in enumerate(found):
            final = index == len(found) - 1 and breaks
            yield first, last, (PARAGRAPH if breaks > 1 else LINE) if final else pause
        position = max(following, line_end + 1)


def _parts(
    text: str, start: int, end: int, longest: int, kept: list[tuple[int, int]]
) -> Iterator[tuple[int, int, float]]:
    first, last = _trim(text, start, end)
    if first == last:
        return
    if last - first <= longest:
        yield first, last, _pause(text, last)
        return
    pieces = [
        piece
        for sentence in _sentences(text, first, last, longest)
        for piece in _pieces(text, *sentence, longest, kept)
    ]
    packed = pieces[0]
    for piece in pieces[1:]:
        if piece[1] - packed[0] <= longest:
            packed = (packed[0], piece[1])
        else:
            yield *packed, _pause(text, packed[1])
            packed = piece
    yield *packed, _pause(text, packed[1])


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _pause(text: str, end: int) -> float:
    last = text[end - 1]
    if last in ".?!":
        return SENTENCE
    if last == ",":
        return COMMA
    before = text[max(0, end - 8) : end] + " "
    return (
        CONNECTIVE
        if any(match.end() == len(before) - 1 for match in _CONNECTIVE_END.finditer(before))
        else 0.0
    )


def _sentences(text: str, start: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    """Sentences by their marks; what is still too long is given to kiwipiepy, which needs none."""
    position = start
    for match in (*_SENTENCE_END.finditer(text, start, end), None):
        stop = match.end() if match else end
        first, last = _trim(text, position, stop)
        position = stop
        if first == last:
            continue
        if last - first <= longest:
            yield first, last
        else:
            yield from _unmarked(text, first, last)


def _unmarked(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = min(end, start + CHUNK)
        if stop < end:
            stop = max(text.rfind(" ", start, stop), start) or stop
            stop = stop if stop > start else min(end, start + CHUNK)
        if max(map(len, text[start:stop].split())) > LONGEST:  # no language at all
            yield _trim(text, start, stop)
            start = stop
            continue
        for sentence in _kiwi().split_into_sents(text[start:stop]):
            first, last = _trim(text, start + sentence.start, start + sentence.end)
            if first < last:
                yield first, last
        start = stop


@cache
def _kiwi() -> Any:
    from kiwipiepy import Kiwi  # takes about a second; most texts never need it

    return Kiwi(num_workers=1)


def _pieces(
    text: str, start: int, end: int, longest: int, kept: list[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """One sentence in pieces that are short enough, cut at the best place before each limit."""
    while end - start > longest:
        cut = _best_cut(text, start, start + longest, kept)
        first, last = _trim(text, start, cut)
        if first < last:
            yield first, last
        start, end = _trim(text, cut, end)
    if start < end:
        yield start, end


def _best_cut(text: str, start: int, limit: int, kept: list[tuple[int, int]]) -> int:
    """The last comma, else connective ending, else space up to `limit`; an even half of it at the least."""
    low = start + (limit - start) // 3
    for pattern in (_COMMA_END, _CONNECTIVE_END, _SPACE):
        places = [match.end() for match in pattern.finditer(text, low, min(len(text), limit + 1))]
        for place in reversed(places):
            if start < place <= limit and not _inside(place, kept):
                return place
    spaces = [match.end() for match in _SPACE.finditer(text, start + 1, min(len(text), limit + 1))]
    return max((place for place in spaces if place <= limit), default=limit)


def _inside(place: int, kept: list[tuple[int, int]]) -> bool:
    """Whether a place lies within a number or name that was spelled out; `kept` is in order."""
    low, high = 0, len(kept)
    while low < high:
        middle = (low + high) // 2
        if kept[middle][1] <= place:
            low = middle + 1
        else:
            high = middle
    return low < len(kept) and kept[low][0] < place < kept[low][1]
