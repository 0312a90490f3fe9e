"""A sheet's lines with all that is known of each: script, current take, last generation, approval."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.deps import Container
from app.generation import service as generation
from app.generation.fingerprint import settings_of
from app.generation.schemas import FailureOut
from app.kit.ids import is_id
from app.kit.paging import BadCursor
from app.lexicons.service import readings
from app.models import Generation, Script, SheetLine, Take
from app.sheets.schemas import LineOut, LineState, LineTake

Place = tuple[int, str]  # position and id: lines that are gone may share a position


@dataclass(frozen=True, slots=True)
class TakeFacts:
    id: str
    generation_id: str
    engine: str
    seconds: float
    quality_score: float | None
    audio_key: str
    bytes: int
    created_at: datetime
    is_missing: bool
    says_it: bool  # text, voice and settings are still those of the script


@dataclass(frozen=True, slots=True)
class LineFacts:
    line: SheetLine
    script: Script
    take: TakeFacts | None
    state: LineState
    failure: FailureOut | None

    @property
    def is_approved(self) -> bool:
        """An approval counts for the take that was approved, while it says what the line says."""
        return (
            self.take is not None
            and self.take.says_it
            and not self.take.is_missing
            and self.line.approved_take_id == self.take.id
        )


def load(
    container: Container,
    session: Session,
    sheet_id: str,
    *,
    after: Place | None = None,
    limit: int | None = None,
    with_gone: bool = False,
    line_id: str | None = None,
) -> list[LineFacts]:
    """Lines in the sheet's order, however many in three queries."""
    newest = (
        select(func.max(Generation.id).label("id"))
        .join(SheetLine, SheetLine.script_id == Generation.script_id)
        .where(SheetLine.sheet_id == sheet_id)
        .group_by(Generation.script_id)
        .subquery()
    )
    last, made = aliased(Generation), aliased(Generation)
    query = (
        select(
            SheetLine, Script,
            Take.id, Take.generation_id, Take.engine, Take.seconds, Take.quality_score, Take.audio_key,
            Take.bytes, Take.created_at, Take.missing_at, Take.text, Take.voice_model_id, made.settings,
        )
        .join(Script, SheetLine.script_id == Script.id)
        .outerjoin(Take, Script.current_take_id == Take.id)
        .outerjoin(made, Take.generation_id == made.id)
        .where(SheetLine.sheet_id == sheet_id)
        .order_by(SheetLine.position, SheetLine.id)
    )  # fmt: skip
    if not with_gone:
        query = query.where(SheetLine.gone_at.is_(None))
    if after is not None:
        query = query.where(tuple_(SheetLine.position, SheetLine.id) > tuple_(*after))
    if line_id is not None:
        query = query.where(SheetLine.id == line_id)
    rows = session.execute(query.limit(limit)).all()
    ended = select(last).join(newest, last.id == newest.c.id)
    if len(rows) == 1:
        ended = ended.where(last.script_id == rows[0][1].id)
    lasts = {row.script_id: row for row in session.scalars(ended)} if rows else {}
    jobs = container.jobs.states([row.id for row in lasts.values() if row.outcome is None], session)
    facts = []
    for line, script, *columns in rows:
        take = _take(script, columns)
        newest_one = lasts.get(script.id)
        job = jobs.get(newest_one.id) if newest_one else None
        state, failure = _state(line, script, take, newest_one, job)
        facts.append(LineFacts(line, script, take, state, failure))
    return facts


def _take(script: Script, columns: Sequence[Any]) -> TakeFacts | None:
    take_id, generation_id, engine, seconds, score, key, size, created, missing, text, model, settings = (
        columns
    )
    if take_id is None:
        return None
    says_it = (text, model, settings) == (script.text, script.voice_model_id, settings_of(script))
    return TakeFacts(
        take_id, generation_id, engine, seconds, score, key, size, created, missing is not None, says_it
    )


def _state(
    line: SheetLine, script: Script, take: TakeFacts | None, last: Generation | None, job: Any
) -> tuple[LineState, FailureOut | None]:
    if line.gone_at is not None:
        return "gone", None
    tried = last is not None and _asked_for_this(last, script)
    status, failure = generation.status_of(last, job) if last else (None, None)
    if tried and (status == "queued" or status == "running"):
        return status, None
    if take and take.says_it and not take.is_missing:
        return "done", None
    if tried and status == "failed":
        return "failed", failure
    if take and take.says_it:
        return "missing", None
    return ("out_of_date" if take else "not_generated"), None


def _asked_for_this(last: Generation, script: Script) -> bool:
    return (last.text, last.voice_model_id, last.settings) == (
        script.text, script.voice_model_id, settings_of(script)
    )  # fmt: skip


def outs(container: Container, session: Session, facts: Sequence[LineFacts]) -> list[LineOut]:
    read = readings(session, best_effort=container.settings.best_effort)
    return [
        LineOut(
            id=each.line.id, script_id=each.script.id, row=each.line.row, code=each.line.code,
            variant=each.line.variant, text=each.script.text, voice_model_id=each.script.voice_model_id,
            speed=each.script.speed, pause=each.line.pause, file_name=each.line.file_name,
            path=each.line.path,             note=each.line.note, state=each.state,
            unclear=generation.unclear_outs(read.of(each.script, listed=True)),
            failure=each.failure,
            take=LineTake.model_validate(each.take) if each.take else None,
            approved=each.is_approved,
            approved_by=each.line.approved_by if each.is_approved else None,
            approved_at=each.line.approved_at if each.is_approved else None,
        )
        for each in facts
    ]  # fmt: skip


def place_of(cursor: str | None) -> Place | None:
    """Lists of lines page in the sheet's order: a cursor is the place of the last line that was seen."""
    if cursor is None:
        return None
    try:
        position, _, line_id = base64.urlsafe_b64decode(cursor.encode("ascii")).decode("ascii").partition(" ")
    except (binascii.Error, UnicodeError):
        raise BadCursor from None
    if not (position.isdecimal() and len(position) < 10 and is_id(line_id)):
        raise BadCursor
    return int(position), line_id


def cursor_of(line: SheetLine) -> str:
    return base64.urlsafe_b64encode(f"{line.position} {line.id}".encode()).decode()
