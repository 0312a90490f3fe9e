"""Voice actors: the people whose voices they are."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from app.kit.ids import is_id
from app.models import Sample, VoiceActor, VoiceModel
from app.voice_actors.errors import VoiceActorInUse, VoiceActorNotFound
from app.voice_actors.schemas import VoiceActorChange, VoiceActorIn

log = structlog.get_logger()


def get(session: Session, actor_id: str) -> VoiceActor:
    actor = session.get(VoiceActor, actor_id) if is_id(actor_id) else None
    if actor is None:
        raise VoiceActorNotFound
    return actor


def found(search: str) -> Select[Any]:
    """Actors whose name or description contains `search`."""
    query = select(VoiceActor)
    if search:
        query = query.where(
            or_(
                VoiceActor.name.icontains(search, autoescape=True),
                VoiceActor.description.icontains(search, autoescape=True),
            )
        )
    return query


def create(session: Session, body: VoiceActorIn) -> VoiceActor:
    actor = VoiceActor(**body.model_dump())
    session.add(actor)
    session.flush()
    log.info("voice_actor.created", voice_actor=actor.id)
    return actor


def change(session: Session, actor_id: str, body: VoiceActorChange) -> VoiceActor:
    actor = get(session, actor_id)
    for field, value in body.model_dump(exclude_none=True).items():
        setattr(actor, field, value)
    session.flush()
    return actor


def remove(session: Session, actor_id: str) -> list[str]:
    """Delete an actor and their samples; the store's keys that may go once this is committed."""
    actor = get(session, actor_id)
    if session.scalar(select(VoiceModel.id).where(VoiceModel.voice_actor_id == actor_id).limit(1)):
        raise VoiceActorInUse
    samples = list(session.scalars(select(Sample).where(Sample.voice_actor_id == actor_id)))
    session.execute(delete(Sample).where(Sample.voice_actor_id == actor_id))
    session.delete(actor)
    log.info("voice_actor.deleted", voice_actor=actor_id, samples=len(samples))
    return [key for sample in samples for key in (sample.original_key, sample.wav_key)]
