"""A user's own readings: written → spoken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import re


@dataclass(frozen=True)
class Entry:
    written: str
    spoken: str


@dataclass(frozen=True)
class Lexicon:
    entries: tuple[Entry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries)

    @cached_property
    def _by_first(self) -> dict[str, list[Entry]]:
        table: dict[str, list[Entry]] = {}
        for entry in sorted(self.entries, key=lambda entry: -len(entry.written)):
            table.setdefault(entry.written[0], []).append(entry)
        return table

    @cached_property
    def first_letters(self) -> str:
        return "[" + "".join(map(re.escape, sorted(self._by_first))) + "]"

    def longest(self, text: str, position: int) -> Entry | None:
        for entry in self._by_first.get(text[position], ()):
            if text.startswith(entry.written, position):
                return entry
        return None
