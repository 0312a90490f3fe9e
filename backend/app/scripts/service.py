"""Scripts (멘트): what is to be announced, in which voice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from app.deps import Container
from app.kit.clock import now
from app.kit.errors import Invalid
from app.kit.ids import is_id
from app.models import Generation, Script, Take, VoiceModel
from app.scripts.errors import BadMarkup, ScriptNotFound
from app.scripts.schemas import ScriptChange, ScriptIn, ScriptOut, TakeOut
from app.text import Lexicon, MarkupError, Reading, is_markup, normalize

log = structlog.get_logger()


class UnknownVoiceModel(Invalid):
    code, title = "unknown_voice_model", "There is no voice model with this id"


def get(session: Session, script_id: str) -> Script:
    script = session.get(Script, script_id) if is_id(script_id) else None
    if script is None:
        raise ScriptNotFound
    return script


def found(search: str, voice_model_id: str) -> Select[Any]:
    query = select(Script)
    if voice_model_id:
        query = query.where(Script.voice_model_id == voice_model_id)
    if search:
        query = query.where(
            or_(
                Script.title.icontains(search, autoescape=True),
                Script.text.icontains(search, autoescape=True),
            )
        )
    return query


def _check_voice(session: Session, voice_model_id: str) -> None:
    if not is_id(voice_model_id) or session.get(VoiceModel, voice_model_id) is None:
        raise UnknownVoiceModel(field="voice_model_id")


def read(
    text: str, lexicon: Lexicon | None = None, *, language: str = "ko", best_effort: bool = False
) -> Reading:
    """How a text is spoken. Raises BadMarkup with the place."""
    try:
        return normalize(text, lexicon, language=language, best_effort=best_effort)
    except MarkupError as error:
        raise BadMarkup(
            f"{error}. Correct it there; a text without <speak> is read as it is written.", field="text"
        ) from None


def check_markup(text: str, language: str = "ko") -> None:
    """Raises BadMarkup with the place."""
    if is_markup(text):
        read(text, language=language)


def create(session: Session, body: ScriptIn) -> Script:
    _check_voice(session, body.voice_model_id)
    check_markup(body.text, body.language)
    script = Script(**body.model_dump())
    session.add(script)
    session.flush()
    log.info("tts.script_created", script=script.id)
    return script


def change(session: Session, script_id: str, body: ScriptChange) -> Script:
    script = get(session, script_id)
    if body.voice_model_id is not None:
        _check_voice(session, body.voice_model_id)
    if body.text is not None or body.language is not None:
        check_markup(body.text or script.text, body.language or script.language)
    for field, value in body.model_dump(exclude_none=True).items():
        if field != "title" and value != getattr(script, field):
            script.stale_at = now()
        setattr(script, field, value)
    session.flush()
    return script


def remove(container: Container, session: Session, script_id: str) -> list[str]:
    """Delete a script with its generations and takes; the store's keys that may go after the commit."""
    script = get(session, script_id)
    open_ids = select(Generation.id).where(Generation.script_id == script_id, Generation.outcome.is_(None))
    container.jobs.cancel(list(session.scalars(open_ids)), session)
    keys = list(session.scalars(select(Take.audio_key).where(Take.script_id == script_id)))
    session.delete(script)
    log.info("tts.script_deleted", script=script_id, takes=len(keys))
    return keys


def take_out(take: Take) -> TakeOut:
    fields: dict[str, Any] = {
        name: getattr(take, name) for name in TakeOut.model_fields if name != "spoken_text"
    }
    return TakeOut(**fields, spoken_text=take.reading["text"])


def script_outs(session: Session, scripts: Sequence[Script]) -> list[ScriptOut]:
    """Scripts with their current takes, in two queries however many there are."""
    ids = [script.current_take_id for script in scripts if script.current_take_id]
    takes = {take.id: take for take in session.scalars(select(Take).where(Take.id.in_(ids)))} if ids else {}
    return [
        ScriptOut(
            **{name: getattr(script, name) for name in ScriptOut.model_fields if name != "current_take"},
            current_take=take_out(takes[script.current_take_id]) if script.current_take_id in takes else None,
        )
        for script in scripts
    ]
