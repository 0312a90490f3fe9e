"""The walk over a text: plain Korean is passed by, everything else is offered to the rules in order."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from app.text import particles
from app.text.fold import fold
from app.text.reading import Reading, Span, Unclear

LOOK_BACK = 24  # characters before a number that may say what it is

WEEKDAY_RANGE = r"(?<![가-힣])[월화수목금토일]\s?[~\-]\s?[월화수목금토일](?![가-힣])"
# 토 9시~13시
WEEKDAY_TIME = r"(?<![가-힣0-9])(?<![0-9] )[월화수목금토일] ?(?=[0-9]{1,2}(?::[0-9]{2}|시(?!간)))"
FILE_END = r"\.(?=[A-Za-z]{3,4}(?![A-Za-z0-9]))"
INTERESTING = re.compile(
    rf"[^가-힣 .,?!\n]|{WEEKDAY_RANGE}|{WEEKDAY_TIME}|{particles.BOTH.pattern}| {{2,}}|{FILE_END}"
)
_NO_SPACE = (("", " "), ())  # after these a space is one too many, but not where the text begins
DIGIT, LATIN, OTHER = "digit", "latin", "other"


class Hit(NamedTuple):
    """What a rule read: up to where, how it is spoken, and why."""

    end: int
    spoken: str
    kind: str
    rule: str
    alternatives: tuple[str, ...] = ()
    confidence: float = 1.0
    unclear: str = ""  # why the reading is only a guess
    tight: bool = False  # spoken together with the Hangul before it
    joins: bool = False  # swallows a space before it


@dataclass(slots=True)
class Cursor:
    """A place in the folded text, with what has been spoken so far."""

    text: str
    position: int = 0
    spoken: list[str] = field(default_factory=list)
    length: int = 0
    _last: str = ""
    _last_sound: str = ""
    pending: str = ""  # a written space that is spoken unless a pause swallows it

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        return pattern.match(self.text, self.position)

    def before(self, length: int = LOOK_BACK) -> str:
        return self.text[max(0, self.position - length) : self.position]

    def previous(self) -> str:
        """The character written before, or a line break at the start."""
        return self.text[self.position - 1] if self.position else "\n"

    def last(self) -> str:
        """The last character spoken, or nothing at the start."""
        return self.pending or self._last

    def last_spoken(self) -> str:
        """The last character spoken that is no space."""
        return self._last_sound

    def say(self, piece: str) -> None:
        self.spoken.append(piece)
        self.length += len(piece)
        self._last = piece[-1:] or self._last
        self._last_sound = piece.rstrip(" ")[-1:] or self._last_sound


Rule = Callable[[Cursor], Hit | None]


def kind_of(char: str) -> str:
    if "0" <= char <= "9":
        return DIGIT
    return LATIN if char.isascii() and char.isalpha() else OTHER


def hangul(char: str) -> bool:
    return "가" <= char <= "힣"


def read(
    text: str,
    rules: dict[str, tuple[Rule, ...]],
    first: Rule | None = None,
    starts: re.Pattern[str] = INTERESTING,
) -> Reading:
    """Read a Korean text. `first` goes before all rules (the user's lexicon); `starts` finds where to ask."""
    folded, places = fold(text)
    cursor = Cursor(folded)
    trace: list[Span] = []
    unclear: list[Unclear] = []

    def place(position: int) -> int:
        return places[position] if places else position

    def emit(start: int, hit: Hit, spoken: str) -> None:
        written = text[place(start) : place(hit.end)]
        if written != spoken:
            at = cursor.length
            trace.append(
                Span(
                    place(start), place(hit.end), written, spoken, at, at + len(spoken), hit.kind, hit.rule,
                    hit.alternatives, hit.confidence,
                )
            )  # fmt: skip
        if hit.unclear:
            own = text[place(cursor.position) : place(hit.end)]
            unclear.append(Unclear(place(cursor.position), place(hit.end), own, hit.unclear, spoken.strip()))
        cursor.say(spoken)

    def copy(start: int, end: int) -> None:
        """Plain text, which only differs from the written one where it was folded."""
        if places is None:
            cursor.say(folded[start:end])
            return
        while start < end:
            stop = start + 1
            same = text[places[start]] == folded[start] and places[stop] == places[start] + 1
            while stop < end and same == (
                text[places[stop]] == folded[stop] and places[stop + 1] == places[stop] + 1
            ):
                stop += 1
            while not same and stop < end and places[stop] == places[stop - 1]:
                stop += 1
            emit(start, Hit(stop, "", "form", "fold"), folded[start:stop])
            start = stop

    if place(0):  # invisible characters at the start
        trace.append(Span(0, place(0), text[: place(0)], "", 0, 0, "form", "fold"))
    replaced: Hit | None = None  # what was read right before, brackets and quotes apart
    while cursor.position < len(folded):
        found = starts.search(folded, cursor.position)
        start = found.start() if found else len(folded)
        if (
            start > cursor.position
            and folded[cursor.position] == " "
            and cursor.last() in _NO_SPACE[not cursor.position]
        ):
            emit(cursor.position, Hit(cursor.position + 1, "", "pause", "spaces"), "")
            cursor.position += 1
        if start > cursor.position:
            cursor.pending = " " if found and folded[start - 1] == " " else ""
            copy(cursor.position, start - len(cursor.pending))
            cursor.position = start
            replaced = None
        if not found:
            break
        hit = first(cursor) if first else None
        if hit is None:
            for rule in rules[kind_of(folded[start])]:
                hit = rule(cursor)
                if hit:
                    break
        if hit is None:  # only a lexicon's first letter, or a plain character
            stop = start + 1
            copy(start - len(cursor.pending), stop)
            cursor.pending = ""
            cursor.position = stop
            continue
        spoken = spaced(cursor, hit)
        nothing = not spoken and folded[hit.end : hit.end + 1] in ("", " ", "\n", ".", ",", "?", "!")
        if cursor.pending and (hit.joins or nothing or spoken.startswith((",", " "))):
            start -= 1
        elif cursor.pending:
            copy(start - 1, start)
        cursor.pending = ""
        emit(start, hit, spoken)
        cursor.position = hit.end
        if hit.spoken or hit.rule not in ("bracket", "quotes"):
            replaced = hit if hit.spoken and hit.kind != "pause" else None
        if replaced:
            fitting = particles.agree(folded, hit.end, cursor.last())
            if fitting and not _kept(fitting, replaced, folded):
                written, spoken = fitting
                emit(hit.end, Hit(hit.end + len(written), "", "particle", "agreement"), spoken)
                cursor.position = hit.end + len(written)
    return Reading(text, "".join(cursor.spoken), tuple(trace), tuple(unclear))


def _kept(fitting: tuple[str, str], hit: Hit, text: str) -> bool:
    """Whether what looks like a particle belongs to a name: 을지로3가, 민원2과."""
    return (
        hit.rule == "number"
        and fitting[0] in ("가", "과", "와", "나", "아", "야")
        and fitting != ("와", "과")
    )


def spaced(cursor: Cursor, hit: Hit) -> str:
    """The spoken words with the spaces that keep them apart from their neighbours."""
    spoken = hit.spoken
    if not spoken:
        return spoken
    before, after = cursor.last(), cursor.text[hit.end : hit.end + 1]
    if hangul(spoken[0]) and before and not hit.tight and (before in ".,?!" or hangul(before)):
        spoken = " " + spoken
    if spoken[0] in " ," and before in ("", " ", "\n"):
        spoken = spoken.lstrip(" ") if before != "" else spoken.lstrip(" ,")
    if spoken.endswith(" ") and after in ("", " ", "\n", ".", ",", "?", "!"):
        spoken = spoken.rstrip(" ")
    return spoken
