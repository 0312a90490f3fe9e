"""The word lists in `data/`, loaded once. Each is a TSV that explains itself in its first lines."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data"


def rows(name: str) -> Iterator[list[str]]:
    with (DATA / name).open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("# ") and line != "#\n":
                yield line.rstrip("\n").split("\t")


class Prefixes:
    """Finds the longest listed form that a text goes on with."""

    def __init__(self, forms: dict[str, str]) -> None:
        self.forms = forms
        self._lengths: dict[str, list[int]] = {}
        for form in forms:
            self._lengths.setdefault(form[0], [])
            if len(form) not in self._lengths[form[0]]:
                self._lengths[form[0]].append(len(form))
        for lengths in self._lengths.values():
            lengths.sort(reverse=True)

    def lengths(self, first: str) -> list[int]:
        """Lengths of the forms that begin with a character, the longest first."""
        return self._lengths.get(first, [])

    def longest(self, text: str, position: int) -> str | None:
        for length in self._lengths.get(text[position : position + 1], ()):
            form = text[position : position + length]
            if form in self.forms:
                return form
        return None


class Counter(NamedTuple):
    form: str
    limit: int  # the largest number counted natively; 0 for Sino-Korean
    use: str  # amount, label or word


@dataclass(frozen=True, slots=True)
class Context:
    largest: int
    counter: Counter
    before: re.Pattern[str] | None
    after: re.Pattern[str] | None

    def fits(self, value: int, before: str, text: str, end: int) -> bool:
        return (
            value <= self.largest
            and (self.before is None or self.before.search(before) is not None)
            and (self.after is None or self.after.match(text, end) is not None)
        )


def _limit(numerals: str) -> int:
    system, _, limit = numerals.partition(":")
    return int(limit or 99) if system == "native" else 0


def _words_before(words: str) -> re.Pattern[str] | None:
    """Words to search for; `_` in front asks for the start of a word, at the end for the number's side."""
    if words == "-":
        return None
    forms = []
    for word in words.split():
        form = re.escape(word.strip("_")).replace("_", r"\s")
        forms.append(f"{'(?<![가-힣])' if word[0] == '_' else ''}{form}{' ?$' if word[-1] == '_' else ''}")
    return re.compile("|".join(forms))


_WILD = str.maketrans({"_": r"\s?", "*": "[가-힣]{1,4}?", "#": "[0-9]", ".": "(?![가-힣])", "\\": None})


def _words_after(words: str) -> re.Pattern[str] | None:
    """Words to go on with; `_` stands for a space that may be missing, `$` for the end of a phrase, `*` for
    the rest of a word of up to four syllables, `#` for a digit, `.` for the end of the word."""
    if words == "-":
        return None
    forms = [r"\s*$" if word == "$" else re.escape(word).translate(_WILD) for word in words.split()]
    return re.compile(rf"\s?(?:{'|'.join(forms)})")


@cache
def counters() -> tuple[Prefixes, dict[str, Counter]]:
    table = {form: Counter(form, _limit(numerals), use) for form, numerals, use in rows("counters.tsv")}
    return Prefixes(dict.fromkeys(table, "")), table


@cache
def contexts() -> dict[str, list[Context]]:
    table: dict[str, list[Context]] = {}
    for form, numerals, use, before, after in rows("contexts.tsv"):
        largest, _, name = form.rpartition(":")
        context = Context(
            int(largest or 10**9),
            Counter(name, _limit(numerals), use),
            _words_before(before),
            _words_after(after),
        )
        table.setdefault(name, []).append(context)
    return table


@cache
def units() -> tuple[Prefixes, dict[str, str]]:
    table = {row[0]: row[1] for row in rows("units.tsv")}
    for sign in map(chr, range(0x3380, 0x3400)):  # ㎀, ㎟ and other signs for what is listed in letters
        plain = unicodedata.normalize("NFKC", sign)
        if plain in table:
            table.setdefault(sign, table[plain])
    return Prefixes(table), table


class Currency(NamedTuple):
    name: str
    hundredth: str


@cache
def currencies() -> tuple[Prefixes, dict[str, Currency]]:
    table = {row[0]: Currency(row[1], row[2] if len(row) > 2 else "") for row in rows("currencies.tsv")}
    table |= {sign.lower(): currency for sign, currency in table.items() if sign.isalpha()}
    return Prefixes(dict.fromkeys(table, "")), table


@cache
def pairs(name: str) -> Prefixes:
    """A list of written TAB spoken."""
    return Prefixes({row[0]: row[1] for row in rows(name)})


@cache
def cues(name: str) -> frozenset[str]:
    """One list of cues.toml."""
    with (DATA / "cues.toml").open("rb") as file:
        return frozenset(tomllib.load(file)[name])


@cache
def cue(name: str, before: str = "", after: str = "") -> re.Pattern[str]:
    """A pattern for any word of a list, the longest first, between two more patterns."""
    listed = "|".join(map(re.escape, sorted(cues(name), key=len, reverse=True)))
    return re.compile(f"{before}(?:{listed}){after}")


@cache
def words() -> tuple[dict[str, str], Prefixes]:
    """English words: as they are written, and by their lower-case form."""
    exact = {row[0]: row[1] for row in rows("words.tsv")}
    lower: dict[str, str] = {}
    for written, spoken in exact.items():
        lower.setdefault(written.lower(), spoken)
    return exact, Prefixes(lower)


def listed_word(written: str) -> str | None:
    """The listed reading of a word whatever its case; two capitals are an acronym of their own (IT, not it)."""
    exact, lower = words()
    if written in exact:
        return exact[written]
    unit = written in units()[1] and not set(written) & set("aeiou")  # kg is a unit, KG a brand
    if len(written) <= 2 and (written.isupper() or unit or written[1:] in units()[1]):  # 5g is no 5G
        return None
    return lower.forms.get(written.lower())


def load() -> None:
    """Load every list now rather than with the first text."""
    for table in (counters, contexts, units, currencies, words):
        table()
    for name in ("per.tsv", "letters.tsv", "symbols.tsv", "phrases.tsv"):
        pairs(name)
