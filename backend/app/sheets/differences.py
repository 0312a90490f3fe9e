"""What an import would change, before it does: pure functions on lines, old and new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Key = tuple[str, str]
Kind = Literal["new", "changed", "gone"]
# What is heard: a change in any other field leaves a take as good, and as approved, as it was.
HEARD = ("text", "voice", "speed", "pause")


@dataclass(frozen=True, slots=True)
class Said:
    """All that a line says, field by field; `others` are the columns that are only kept."""

    text: str
    voice: str
    speed: float
    pause: float | None
    file_name: str
    path: str
    note: str
    others: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One line that is not as it was. `fields` has (field, before, after) of a changed one."""

    kind: Kind
    code: str
    variant: str
    row: int | None
    fields: tuple[tuple[str, str | float | None, str | float | None], ...] = ()

    @property
    def is_heard(self) -> bool:
        return self.kind == "new" or any(field in HEARD for field, _, _ in self.fields)


@dataclass(frozen=True, slots=True)
class Difference:
    changes: tuple[Change, ...]
    same: int
    digest: str

    def of(self, kind: Kind) -> list[Change]:
        return [change for change in self.changes if change.kind == kind]


def compare(
    base: str, before: Mapping[Key, Said], after: Mapping[Key, Said], rows: Mapping[Key, int]
) -> Difference:
    """The difference, in the new sheet's order, what is gone last. `base` names the state compared with."""
    changes: list[Change] = []
    same = 0
    for key, said in after.items():
        old = before.get(key)
        if old is None:
            changes.append(Change("new", *key, rows.get(key), (("text", None, said.text),)))
        elif fields := _fields(old, said):
            changes.append(Change("changed", *key, rows.get(key), fields))
        else:
            same += 1
    changes += [
        Change("gone", *key, None, (("text", said.text, None),))
        for key, said in before.items()
        if key not in after
    ]
    return Difference(tuple(changes), same, _digest(base, changes))


def _fields(old: Said, new: Said) -> tuple[tuple[str, str | float | None, str | float | None], ...]:
    names = ("text", "voice", "speed", "pause", "file_name", "path", "note")
    changed = [
        (name, getattr(old, name), getattr(new, name))
        for name in names
        if getattr(old, name) != getattr(new, name)
    ]
    for heading in dict.fromkeys((*old.others, *new.others)):
        pair = old.others.get(heading, ""), new.others.get(heading, "")
        if pair[0] != pair[1]:
            changed.append((heading, *pair))
    return tuple(changed)


def _digest(base: str, changes: Sequence[Change]) -> str:
    facts = [base, *([change.kind, change.code, change.variant, change.fields] for change in changes)]
    return hashlib.sha256(json.dumps(facts, ensure_ascii=False).encode()).hexdigest()


def others(columns: Sequence[tuple[str, str | None]], cells: Sequence[str]) -> dict[str, str]:
    """The cells under headings that are kept and not understood; those of no heading by their place."""
    return {
        heading or f"#{place + 1}": cell
        for place, ((heading, field), cell) in enumerate(zip(columns, cells, strict=False))
        if field is None and cell
    }
