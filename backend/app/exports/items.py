"""What goes into a package: each line or script with its current take, or why it has to stay out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app.exports.schemas import Reason
from app.generation.fingerprint import settings_of
from app.kit.database import in_lots
from app.kit.ids import is_id
from app.models import Generation, Script, SheetLine, Take, VoiceModel

# A script, and its line, its current take, that one's voice model and generation, where it has them.
Facts = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class TakeInfo:
    id: str
    audio_key: str
    bytes: int
    seconds: float
    engine: str
    text: str
    reading: str
    voice: str
    made_at: datetime
    is_missing: bool
    says_it: bool  # what the script says now
    is_approved: bool


@dataclass(frozen=True, slots=True)
class Item:
    script_id: str
    number: int
    code: str
    variant: str
    file_name: str
    path: str
    pause: float
    take: TakeInfo | None

    def lacks(self, *, approval: bool) -> tuple[Reason, str] | None:
        """Why it cannot be exported, for programs and for people."""
        take = self.take
        if take is None:
            return "no_take", "It was never generated, or failed; generate it."
        if not take.says_it:
            return "out_of_date", "It says something else since its take was made; generate it again."
        if take.is_missing:
            return "file_missing", "The file of its take is gone; generate it again."
        if approval and not take.is_approved:
            return "not_approved", "Nobody has approved its take."
        return None


def of_sheet(session: Session, sheet_id: str) -> list[Item]:
    """The lines of a sheet in its order."""
    query = _query().where(SheetLine.sheet_id == sheet_id, SheetLine.gone_at.is_(None))
    return _items(session.execute(query.order_by(SheetLine.position)))


def of_scripts(session: Session, script_ids: list[str]) -> tuple[list[Item], list[str]]:
    """Scripts in the order they were named, and the ids that there are none of."""
    wanted = list(dict.fromkeys(script_ids))
    known = [each for each in wanted if is_id(each)]
    found: dict[str, Facts] = {}
    for lot in in_lots(known):
        query = _query().where(Script.id.in_(lot))
        found |= {facts[0].id: facts for facts in session.execute(query)}
    items = _items(found[each] for each in wanted if each in found)
    return items, [each for each in wanted if each not in found]


def _query() -> Select[*tuple[Any, ...]]:
    return (
        select(Script, SheetLine, Take, VoiceModel, Generation)
        .outerjoin(SheetLine, SheetLine.script_id == Script.id)
        .outerjoin(Take, Script.current_take_id == Take.id)
        .outerjoin(VoiceModel, Take.voice_model_id == VoiceModel.id)
        .outerjoin(Generation, Take.generation_id == Generation.id)
    )


def _items(rows: Iterable[Facts]) -> list[Item]:
    return [_item(number, *facts) for number, facts in enumerate(rows, 1)]


def _item(
    number: int, script: Script, line: SheetLine | None, take: Take | None, voice: VoiceModel | None,
    made: Generation | None,
) -> Item:  # fmt: skip
    info = _info(script, line, take, voice, made) if take else None
    if line is None:
        return Item(script.id, number, script.title or script.id, "", "", "", 0.0, info)
    return Item(
        script.id, number, line.code, line.variant, line.file_name, line.path, line.pause or 0.0, info
    )


def _info(
    script: Script, line: SheetLine | None, take: Take, voice: VoiceModel | None, made: Generation | None
) -> TakeInfo:
    wanted = script.text, script.voice_model_id, settings_of(script)
    says_it = made is not None and (take.text, take.voice_model_id, made.settings) == wanted
    return TakeInfo(
        take.id, take.audio_key, take.bytes, take.seconds, take.engine, take.text, take.reading["text"],
        voice.model_name if voice else take.voice_model_id, take.created_at, take.missing_at is not None, says_it,
        line.approved_take_id == take.id if line else take.approved_at is not None,
    )  # fmt: skip
