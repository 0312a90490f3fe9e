"""Which voice model a sheet means by a name: an id, a model's name, or its actor's."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import VoiceActor, VoiceModel


class Voices:
    """Every name that a voice model goes by. Names are compared without case."""

    def __init__(self, session: Session, aliases: dict[str, str]) -> None:
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._names: dict[str, str] = {}
        rows = session.execute(
            select(VoiceModel.id, VoiceModel.model_name, VoiceActor.name).join(
                VoiceActor, VoiceModel.voice_actor_id == VoiceActor.id
            )
        ).all()
        by_actor: dict[str, set[str]] = defaultdict(set)
        for model_id, model_name, actor_name in rows:
            self._names[model_id] = model_name
            self._ids[model_id].add(model_id)
            self._ids[_folded(model_name)].add(model_id)
            by_actor[_folded(actor_name)].add(model_id)
        for name, ids in by_actor.items():  # a model of that name comes before an actor of that name
            self._ids.setdefault(name, ids)
        for alias, name in aliases.items():
            self._ids.setdefault(_folded(alias), self._ids.get(_folded(name), set()))

    def find(self, name: str) -> set[str]:
        """The ids of the models that a cell can mean: one, where it is clear."""
        return self._ids.get(_folded(name), set())

    def name_of(self, model_id: str | None) -> str | None:
        return self._names.get(model_id or "")


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
