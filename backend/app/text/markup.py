"""The part of SSML that announcements need: speak, break, sub, say-as and prosody rate."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from xml.parsers import expat

from app.text import numbers
from app.text.reading import Pace, Pause, Reading, Span
from app.text.rules import RULES
from app.text.rules.amounts import amount
from app.text.rules.calendar import full_date, month_and_day
from app.text.rules.clock import time
from app.text.rules.codes import spell_code
from app.text.rules.money import coded_amount
from app.text.rules.phones import telephone
from app.text.scan import Cursor, Hit, Rule, read

# Places of tags in the text that the rules walk over: private characters, which no written text keeps.
TAG, OPEN, CLOSE = "\ue000", "\ue001", "\ue002"
RATES = {"x-slow": 0.5, "slow": 0.8, "medium": 1.0, "fast": 1.2, "x-fast": 1.5, "default": 1.0}
STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.7, "x-strong": 1.0}
ATTRIBUTES = {
    "speak": {"version", "xml:lang", "xmlns"},
    "break": {"time", "strength"},
    "sub": {"alias"},
    "say-as": {"interpret-as", "format", "detail"},
    "prosody": {"rate"},
}
LONGEST_BREAK = 10.0  # seconds
DEEPEST = 16
_TIME = re.compile(r"\+?([0-9]{1,5}(?:\.[0-9]{1,3})?)(ms|s)")
_RATE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)(%?)")


class MarkupError(ValueError):
    """Broken or unknown markup; `line` and `column` count from 1."""

    def __init__(self, why: str, line: int, column: int) -> None:
        self.why, self.line, self.column = why, line, column
        super().__init__(f"line {line}, column {column}: {why}")


@dataclass(slots=True)
class _Mark:
    """What a tag does when the walk comes to it."""

    action: str  # nothing, break, rate, reset, say
    amount: float = 0.0
    spoken: Callable[[str, str], str] | None = None  # content, what follows it
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Markup:
    """A parsed document: the text with marks where tags stood, and each character's place in the source."""

    source: str
    text: str
    places: tuple[int, ...]  # one for each character of `text`, and the end
    marks: tuple[_Mark, ...]


def is_markup(text: str) -> bool:
    return text.lstrip()[:9].lower().startswith(("<speak", "<?xml", "<!doctype"))


class _Builder:
    def __init__(self, source: str) -> None:
        self.source = source
        self.bytes = [0]
        self.text: list[str] = []
        self.places: list[int] = []
        self.marks: list[_Mark] = []
        self.open: list[str] = []
        self.rates = [1.0]
        self.parser = parser = expat.ParserCreate("UTF-8")
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.characters
        parser.StartDoctypeDeclHandler = lambda *_: self.fail("document types and entities are not allowed")
        parser.ProcessingInstructionHandler = lambda *_: self.fail("processing instructions are not allowed")
        parser.CommentHandler = lambda _: self.mark(_Mark("nothing"))
        parser.buffer_text = False

    def fail(self, why: str) -> None:
        raise MarkupError(why, self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1)

    def place(self) -> int:
        """Where the parser is, in characters of the source."""
        index = self.parser.CurrentByteIndex
        return self.offsets[index] if index < len(self.offsets) else len(self.source)

    def parse(self) -> Markup:
        data = self.source.encode("utf-8", "replace")
        self.offsets = [
            index
            for index, char in enumerate(self.source)
            for _ in range(len(char.encode("utf-8", "replace")))
        ]
        try:
            self.parser.Parse(data, True)
        except expat.ExpatError as error:
            raise MarkupError(expat.errors.messages[error.code], error.lineno, error.offset + 1) from error
        return Markup(self.source, "".join(self.text), (*self.places, len(self.source)), tuple(self.marks))

    def put(self, text: str) -> None:
        place = self.place()
        plain = self.source.startswith(text, place)
        self.text.append(text)
        self.places += [place + index if plain else place for index in range(len(text))]

    def mark(self, mark: _Mark, char: str = TAG) -> None:
        mark.line, mark.column = self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1
        self.put(char)
        self.marks.append(mark)

    def characters(self, text: str) -> None:
        self.put(re.sub("[\ue000-\ue002]", " ", text))

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name not in ATTRIBUTES:
            self.fail(f"<{name}> is no element that is known here: {', '.join(ATTRIBUTES)} are")
        if (name == "speak") != (not self.open):
            self.fail("<speak> encloses everything else, once")
        if self.open and self.open[-1] in ("sub", "say-as", "break"):
            self.fail(f"<{self.open[-1]}> holds no other element")
        if len(self.open) >= DEEPEST:
            self.fail("elements are nested too deep")
        for attribute in attributes:
            if attribute not in ATTRIBUTES[name] and not attribute.startswith(("xmlns:", "xsi:")):
                self.fail(f"<{name}> has no attribute {attribute}")
        self.open.append(name)
        if name == "break":
            self.mark(_Mark("break", self._pause(attributes)))
        elif name == "prosody":
            self.rates.append(self._rate(attributes))
            self.mark(_Mark("rate", self.rates[-1]))
        elif name == "sub":
            if not attributes.get("alias", "").strip():
                self.fail("<sub> needs an alias")
            spoken = read(attributes["alias"], RULES).text
            self.mark(_Mark("say", spoken=lambda _content, _after: spoken), OPEN)
        elif name == "say-as":
            reader = SAY_AS.get(attributes.get("interpret-as", ""))
            if reader is None:
                self.fail(f"<say-as> needs an interpret-as, one of {', '.join(SAY_AS)}")
            self.mark(_Mark("say", spoken=reader), OPEN)
        else:
            self.mark(_Mark("nothing"))

    def end(self, name: str) -> None:
        self.open.pop()
        if name == "prosody":
            self.rates.pop()
            self.mark(_Mark("rate", self.rates[-1]))
        elif name in ("sub", "say-as"):
            self.put(CLOSE)
        else:
            self.mark(_Mark("nothing"))

    def _pause(self, attributes: dict[str, str]) -> float:
        written = attributes.get("time")
        if written is None:
            strength = attributes.get("strength", "medium")
            if strength not in STRENGTHS:
                self.fail(f"strength is one of {', '.join(STRENGTHS)}")
            return STRENGTHS[strength]
        match = _TIME.fullmatch(written.strip())
        if not match:
            self.fail("time is written like 500ms or 1.5s")
            return 0.0
        seconds = float(match[1]) / (1000 if match[2] == "ms" else 1)
        if seconds > LONGEST_BREAK:
            self.fail(f"a break lasts {LONGEST_BREAK:g} s at most")
        return seconds

    def _rate(self, attributes: dict[str, str]) -> float:
        written = attributes.get("rate", "").strip()
        match = _RATE.fullmatch(written)
        rate = RATES.get(written, 0.0)
        if match:
            rate = float(match[1]) / (100 if match[2] else 1)
        if not 0.5 <= rate <= 2.0:
            self.fail("rate is slow, medium, fast or 50% to 200%")
        return rate


def parse_markup(text: str) -> Markup:
    """Check a document. Raises `MarkupError` with the place of what is broken or unknown."""
    return _Builder(text).parse()


def read_markup(text: str, entry: Rule | None = None, lexicon_letters: str = "") -> Reading:
    """The reading of a document; pauses and paces come from its elements."""
    markup = parse_markup(text)
    marks = iter(markup.marks)
    pauses: list[Pause] = []
    paces: list[Pace] = []
    rate, since = 1.0, 0

    def mark_or_entry(cursor: Cursor) -> Hit | None:
        nonlocal rate, since
        char, start = cursor.text[cursor.position], cursor.position
        if char not in (TAG, OPEN):
            return entry(cursor) if entry else None
        mark = next(marks)
        at = cursor.length + len(cursor.pending)
        if mark.action == "break":
            pauses.append(Pause(at, mark.amount))
        elif mark.action == "rate":
            if rate != 1.0 and at > since:
                paces.append(Pace(since, at, rate))
            rate, since = mark.amount, at
        if mark.spoken is None:
            return Hit(start + 1, "", "markup", mark.action)
        close = cursor.text.index(CLOSE, start)
        content = cursor.text[start + 1 : close]
        try:
            spoken = mark.spoken(content.strip(), cursor.text[close + 1 : close + 3])
        except ValueError as error:
            raise MarkupError(f"{content.strip()!r}: {error}", mark.line, mark.column) from error
        return Hit(close + 1, spoken, "markup", "say")

    starts = re.compile(f"[{TAG}{OPEN}]|{lexicon_letters + '|' if lexicon_letters else ''}{_interesting()}")
    reading = read(markup.text, RULES, mark_or_entry, starts)
    if rate != 1.0 and len(reading.text) > since:
        paces.append(Pace(since, len(reading.text), rate))
    return _in_source(replace(reading, pauses=tuple(pauses), paces=tuple(paces)), markup)


def _interesting() -> str:
    from app.text.scan import INTERESTING

    return INTERESTING.pattern


def _in_source(reading: Reading, markup: Markup) -> Reading:
    """The reading with its spans placed in the document; what was written as an entity gets spans too."""
    places, source = markup.places, markup.source
    trace: list[Span] = []

    def gap(start: int, end: int, spoken_start: int, spoken_end: int) -> None:
        written, spoken = source[start:end], reading.text[spoken_start:spoken_end]
        if written != spoken:
            trace.append(Span(start, end, written, spoken, spoken_start, spoken_end, "markup", "text"))

    position = spoken = 0
    for span in reading.trace:
        start, end = places[span.start], places[span.end]
        gap(position, start, spoken, span.spoken_start)
        trace.append(replace(span, start=start, end=end, written=source[start:end]))
        position, spoken = end, span.spoken_end
    gap(position, len(source), spoken, len(reading.text))
    unclear = tuple(
        replace(
            item,
            start=places[item.start],
            end=places[item.end],
            written=source[places[item.start] : places[item.end]],
        )
        for item in reading.unclear
    )
    return replace(reading, written=source, trace=tuple(trace), unclear=unclear)


def _number(content: str) -> str:
    negative = content.startswith("-")
    found = amount(content.lstrip("-+"), 0)
    if not found or found.end != len(content.lstrip("-+")):
        raise ValueError("not a number")
    return ("마이너스 " if negative else "") + found.spoken


def _whole(content: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}(?:,?[0-9]{3}){0,4}", content):
        raise ValueError("not a whole number")
    return int(content.replace(",", ""))


def _native(content: str, after: str) -> str:
    value = _whole(content)
    before_counter = bool(re.match(r" ?[가-힣]", after))
    return numbers.native(value) if before_counter else numbers.native_alone(value)


def _ordinal(content: str, _after: str) -> str:
    value = _whole(content.removesuffix("번째"))
    number = "첫" if value == 1 else numbers.native(value) if value <= 99 else numbers.sino(value)
    return f"{number} 번째"


def _by_rule(*rules: Rule, why: str, prefixes: tuple[str, ...] = ("",)) -> Callable[[str, str], str]:
    def spoken(content: str, _after: str) -> str:
        for prefix in prefixes:
            for rule in rules:
                cursor = Cursor(prefix + content, len(prefix) if prefix != "₩" else 0)
                hit = rule(cursor)
                if hit and hit.end == len(cursor.text):
                    return hit.spoken.strip()
        raise ValueError(why)

    return spoken


def _phone(content: str, _after: str) -> str:
    hit = telephone(Cursor(content)) if content else None
    if hit and hit.end == len(content):
        return hit.spoken
    groups = re.findall(r"[0-9]+", content)
    if not groups or re.search(r"[^0-9+() .-]", content):
        raise ValueError("not a telephone number")
    return " ".join(map(numbers.grouped, groups))


def _digits(content: str, _after: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z .\-]+", content):
        raise ValueError("digits, letters and hyphens are read one by one, nothing else")
    return spell_code(content)


def _characters(content: str, _after: str) -> str:
    parts = [
        spell_code(char) if char.isascii() and char.isalnum() else read(char, RULES).text for char in content
    ]
    return " ".join(part for part in parts if part.strip())


SAY_AS: dict[str, Callable[[str, str], str]] = {
    "telephone": _phone,
    "digits": _digits,
    "cardinal": lambda content, _after: _number(content),
    "ordinal": _ordinal,
    "date": _by_rule(full_date, month_and_day, why="not a date", prefixes=("", "일시 ")),
    "time": _by_rule(time, why="not a time of day"),
    "currency": _by_rule(coded_amount, why="not an amount of money", prefixes=("", "₩")),
    "characters": _characters,
    "native": _native,
    "sino": lambda content, _after: _number(content),
}
