"""Users' own readings, and how a script is read with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kit.clock import now
from app.kit.database import in_lots
from app.kit.ids import is_id
from app.lexicons.errors import BadLexicon, LexiconNotFound
from app.lexicons.schemas import (
    MOST_ENTRIES,
    EntryBody,
    EntryOut,
    LexiconChange,
    LexiconIn,
    LexiconOut,
    LexiconSummary,
)
from app.models import Lexicon as LexiconRow
from app.models import LexiconVersion, Script
from app.scripts import service as scripts
from app.scripts.errors import BadMarkup
from app.text import Entry, Lexicon, LexiconError, Reading, Unclear

log = structlog.get_logger()


@dataclass
class Readings:
    """Reads texts with the lexicons of a moment: those for all scripts, and a script's own before them."""

    shared: Lexicon
    own: dict[str, Lexicon]
    best_effort: bool = False
    versions: tuple[tuple[str, int, str | None], ...] = ()  # id, version and script of each lexicon
    _merged: dict[str, Lexicon] = field(default_factory=dict)

    def read(
        self, text: str, *, language: str = "ko", script_id: str | None = None, listed: bool = False
    ) -> Reading:
        """How a text is spoken. Raises BadMarkup with the place; `listed` with others, which it must not keep from
        being read, such a text is unclear as a whole."""
        lexicon = self._for(script_id)
        try:
            return scripts.read(text, lexicon, language=language, best_effort=self.best_effort)
        except BadMarkup as error:
            if not listed:
                raise
            return Reading(text, "", unclear=(Unclear(0, len(text), text, error.detail),))

    def of(self, script: Script, *, listed: bool = False) -> Reading:
        return self.read(script.text, language=script.language, script_id=script.id, listed=listed)

    def in_force(self, script_id: str) -> list[dict[str, Any]]:
        """The lexicons that a script is read with, and their versions: what a take keeps of them."""
        return [
            {"id": id, "version": version} for id, version, own in self.versions if own in (None, script_id)
        ]

    def _for(self, script_id: str | None) -> Lexicon:
        if script_id is None or script_id not in self.own:
            return self.shared
        if script_id not in self._merged:
            self._merged[script_id] = self.shared.merged(self.own[script_id])
        return self._merged[script_id]


def readings(session: Session, *, best_effort: bool) -> Readings:
    """The lexicons in force; of two that disagree, the one made later wins."""
    shared, own, versions = Lexicon(), dict[str, Lexicon](), []
    for row in session.scalars(select(LexiconRow).order_by(LexiconRow.id)):
        lexicon = _lexicon(row.entries)
        versions.append((row.id, row.version, row.script_id))
        if row.script_id is None:
            shared = shared.merged(lexicon)
        else:
            own[row.script_id] = own.get(row.script_id, Lexicon()).merged(lexicon)
    return Readings(shared, own, best_effort, tuple(versions))


def _lexicon(entries: Sequence[Sequence[str]]) -> Lexicon:
    return Lexicon(tuple(Entry(written, spoken) for written, spoken in entries))


def _checked(entries: Sequence[EntryBody]) -> list[list[str]]:
    pairs = [[entry.written, entry.spoken] for entry in entries]
    try:
        _lexicon(pairs)
    except LexiconError as error:
        raise BadLexicon(str(error), field="entries") from None
    return pairs


def get(session: Session, lexicon_id: str) -> LexiconRow:
    row = session.get(LexiconRow, lexicon_id) if is_id(lexicon_id) else None
    if row is None:
        raise LexiconNotFound
    return row


def create(session: Session, body: LexiconIn) -> LexiconOut:
    if body.script_id is not None:
        scripts.get(session, body.script_id)
    row = LexiconRow(name=body.name, script_id=body.script_id, entries=_checked(body.entries))

    def add() -> None:
        session.add(row)
        session.flush()

    return out(row, _marked(session, row.entries, add))


def change(session: Session, lexicon_id: str, body: LexiconChange) -> LexiconOut:
    """Change a lexicon; what it said before is kept as a version."""
    row = get(session, lexicon_id)
    if body.name is not None:
        row.name = body.name
    entries = row.entries if body.entries is None else _checked(body.entries)
    if entries == row.entries:
        session.flush()
        return out(row, [])
    differing = set(map(tuple, entries)) ^ set(map(tuple, row.entries))

    def apply() -> None:
        session.add(LexiconVersion(lexicon_id=row.id, version=row.version, entries=row.entries))
        row.entries, row.version = entries, row.version + 1
        session.flush()

    return out(row, _marked(session, differing, apply))


def remove(session: Session, lexicon_id: str) -> None:
    row = get(session, lexicon_id)

    def delete() -> None:
        session.delete(row)
        session.flush()

    _marked(session, row.entries, delete)


def _marked(session: Session, entries: Collection[Sequence[str]], act: Callable[[], None]) -> list[str]:
    """Do `act`, and mark the scripts that are read differently after it; only these are looked at twice
    in which one of the entries' written forms stands."""
    forms = Lexicon.of(dict.fromkeys((written for written, _ in entries), "").items())
    touched = [
        script
        for script in session.scalars(select(Script))
        if any(forms.longest(script.text, place) for place in range(len(script.text)))
    ]
    before = readings(session, best_effort=False)
    old = {script.id: before.of(script, listed=True).text for script in touched}
    act()
    after = readings(session, best_effort=False)
    changed = [script.id for script in touched if after.of(script, listed=True).text != old[script.id]]
    for ids in in_lots(changed):
        session.execute(update(Script).where(Script.id.in_(ids)).values(stale_at=now()))
    log.info("tts.lexicon_changed", entries=len(forms), scripts=len(changed))
    return changed


def summary(row: LexiconRow) -> LexiconSummary:
    return LexiconSummary(
        id=row.id, name=row.name, script_id=row.script_id, version=row.version, size=len(row.entries),
        created_at=row.created_at, updated_at=row.updated_at,
    )  # fmt: skip


def entry_outs(entries: Sequence[Sequence[str]]) -> list[EntryOut]:
    return [EntryOut(written=written, spoken=spoken) for written, spoken in entries]


def out(row: LexiconRow, changed: list[str]) -> LexiconOut:
    return LexiconOut(**summary(row).model_dump(), entries=entry_outs(row.entries), changed_scripts=changed)


def exported(row: LexiconRow, format_name: str) -> tuple[str, str]:
    """The lexicon as a file's text, and its media type."""
    lexicon = _lexicon(row.entries)
    if format_name == "pls":
        return lexicon.to_pls(), "application/pls+xml"
    return lexicon.to_csv(), "text/csv; charset=utf-8"


def imported(data: bytes, format_name: str) -> list[EntryBody]:
    """The entries of an uploaded PLS or CSV. Raises BadLexicon with the line or element."""
    try:
        lexicon = (
            Lexicon.from_pls(data) if format_name == "pls" else Lexicon.from_csv(data.decode("utf-8-sig"))
        )
    except UnicodeDecodeError:
        raise BadLexicon("The file is not UTF-8 text.") from None
    except LexiconError as error:
        raise BadLexicon(str(error)) from None
    if len(lexicon.entries) > MOST_ENTRIES:
        raise BadLexicon(f"It has {len(lexicon.entries):,} entries; {MOST_ENTRIES:,} are the most.")
    try:
        return [EntryBody(written=entry.written, spoken=entry.spoken) for entry in lexicon.entries]
    except ValidationError as error:
        wrong = error.errors()[0]
        raise BadLexicon(f"An entry's {wrong['loc'][0]} form: {wrong['msg']}.") from None
