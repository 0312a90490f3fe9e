"""A user's own readings, written → spoken, and their exchange as CSV and W3C PLS 1.0."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from xml.etree.ElementTree import Element, ParseError, SubElement, indent, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

PLS = "http://www.w3.org/2005/01/pronunciation-lexicon"
LONGEST = 200  # characters of one form
_WORD = re.compile(r"[A-Za-z]")
_DIGIT = re.compile(r"[0-9]")


class LexiconError(ValueError):
    """A lexicon that cannot be read; the message says which line or element and what is wrong."""


@dataclass(frozen=True, slots=True)
class Entry:
    written: str
    spoken: str


@dataclass(frozen=True)
class Lexicon:
    """Entries that go before every rule; the longest one that fits is taken. Immutable.

    A form that begins or ends with a Latin letter or a digit is only taken where no other letter or digit
    touches it, so that AI is not seen in AIR. What is spoken is read by the rules once more, which lets an
    entry say "3번 창구"; spoken Korean stays as it is.
    """

    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        seen = set()
        for number, entry in enumerate(self.entries, 1):
            if not entry.written.strip() or len(entry.written) > LONGEST or len(entry.spoken) > LONGEST:
                raise LexiconError(f"entry {number}: forms have 1 to {LONGEST} characters")
            if "\n" in entry.written or entry.written != entry.written.strip():
                raise LexiconError(f"entry {number}: {entry.written!r} has space around it or a line break")
            if entry.written in seen:
                raise LexiconError(f"entry {number}: {entry.written!r} is there twice")
            seen.add(entry.written)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @classmethod
    def of(cls, readings: Iterable[tuple[str, str]]) -> Lexicon:
        """From (written, spoken) pairs; `dict.items()` will do."""
        return cls(tuple(Entry(written, spoken) for written, spoken in readings))

    def merged(self, other: Lexicon) -> Lexicon:
        """Both together; where they disagree, `other` wins."""
        together = {entry.written: entry for entry in (*self.entries, *other.entries)}
        return Lexicon(tuple(together.values()))

    @cached_property
    def _by_first(self) -> dict[str, dict[str, Entry]]:
        table: dict[str, dict[str, Entry]] = {}
        for entry in self.entries:
            table.setdefault(entry.written[0], {})[entry.written] = entry
        return table

    @cached_property
    def _lengths(self) -> dict[str, list[int]]:
        return {
            first: sorted({len(form) for form in forms}, reverse=True)
            for first, forms in self._by_first.items()
        }

    @cached_property
    def first_letters(self) -> str:
        """A pattern for the characters that entries begin with."""
        return "[" + "".join(map(re.escape, sorted(self._by_first))) + "]"

    def longest(self, text: str, position: int) -> Entry | None:
        """The longest entry that the text goes on with at `position`."""
        first = text[position]
        for length in self._lengths.get(first, ()):
            entry = self._by_first[first].get(text[position : position + length])
            if entry and not _torn(text, position, position + length):
                return entry
        return None

    def to_csv(self) -> str:
        """`written,spoken` with a heading line, CRLF line ends (RFC 4180)."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(("written", "spoken"))
        writer.writerows((entry.written, entry.spoken) for entry in self.entries)
        return out.getvalue()

    @classmethod
    def from_csv(cls, text: str) -> Lexicon:
        """Two columns, with or without the heading; a byte order mark is passed over."""
        entries: list[Entry] = []
        reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
        try:
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) < 2:
                    raise LexiconError(f"line {reader.line_num}: two columns are needed, written and spoken")
                written, spoken = row[0].strip(), row[1].strip()
                if not entries and (written.lower(), spoken.lower()) == ("written", "spoken"):
                    continue
                entries.append(Entry(written, spoken))
        except csv.Error as error:
            raise LexiconError(f"line {reader.line_num}: {error}") from error
        return cls(tuple(entries))

    def to_pls(self, language: str = "ko") -> str:
        """W3C Pronunciation Lexicon Specification 1.0, readings as aliases."""
        root = Element(
            "lexicon",
            {
                "version": "1.0",
                "xmlns": PLS,
                "alphabet": "ipa",
                "xml:lang": "ko-KR" if language == "ko" else language,
            },
        )
        for entry in self.entries:
            lexeme = SubElement(root, "lexeme")
            SubElement(lexeme, "grapheme").text = entry.written
            SubElement(lexeme, "alias").text = entry.spoken
        indent(root)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"

    @classmethod
    def from_pls(cls, text: str | bytes) -> Lexicon:
        """Graphemes and aliases of a PLS 1.0 document. Phonemes are refused: no engine here takes them.
        Document types, entities and references to elsewhere are refused."""
        try:
            root = fromstring(text, forbid_dtd=True, forbid_entities=True, forbid_external=True)
        except DefusedXmlException as error:
            raise LexiconError("document types and entities are not allowed") from error
        except (ParseError, ValueError, LookupError) as error:
            raise LexiconError(f"no well-formed XML: {error}") from error
        if root.tag != f"{{{PLS}}}lexicon":
            raise LexiconError("the root must be <lexicon> of PLS 1.0")
        entries: list[Entry] = []
        for number, lexeme in enumerate(root.findall(f"{{{PLS}}}lexeme"), 1):
            alias = lexeme.find(f"{{{PLS}}}alias")
            graphemes = [(item.text or "").strip() for item in lexeme.findall(f"{{{PLS}}}grapheme")]
            if alias is None or not (alias.text or "").strip() or not graphemes:
                raise LexiconError(f"lexeme {number}: a grapheme and an alias are needed")
            entries += [Entry(grapheme, (alias.text or "").strip()) for grapheme in graphemes]
        return cls(tuple(entries))


def _torn(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is a part of a longer word or number."""
    for kind in (_WORD, _DIGIT):
        if start and kind.match(text[start]) and kind.match(text[start - 1]):
            return True
        if end < len(text) and kind.match(text[end - 1]) and kind.match(text[end]):
            return True
    return False
