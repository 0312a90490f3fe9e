"""Which voice model a sheet or the shell means by a name: its id, an alias of the house, its name or its actor's.

The first of these that there is counts: for other programs' names too, which know no actors.
"""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import VoiceActor, VoiceModel


class Voices:
    """Every name that a voice model goes by. Names are compared without case."""

    def __init__(self, session: Session, aliases: dict[str, str]) -> None:
        self._names: dict[str, str] = {}
        by_name: dict[str, set[str]] = defaultdict(set)
        by_actor: dict[str, set[str]] = defaultdict(set)
        rows = session.execute(
            select(VoiceModel.id, VoiceModel.model_name, VoiceActor.name).join(
                VoiceActor, VoiceModel.voice_actor_id == VoiceActor.id
            )
        )
        for model_id, model_name, actor_name in rows:
            self._names[model_id] = model_name
            by_name[_folded(model_name)].add(model_id)
            by_actor[_folded(actor_name)].add(model_id)
        by_id = {model_id: {model_id} for model_id in self._names}
        models = by_name | by_id
        by_alias = {_folded(alias): models.get(_folded(name), set()) for alias, name in aliases.items()}
        self._ids = by_actor | by_name | by_alias | by_id  # the last one counts

    def find(self, name: str) -> set[str]:
        """The ids of the models that a name can mean: one, where it is clear."""
        return self._ids.get(_folded(name), set())

    def name_of(self, model_id: str | None) -> str | None:
        return self._names.get(model_id or "")


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
