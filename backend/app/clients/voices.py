"""Which voice a client means: a model's id, its name, or an alias of the house. Never a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.config import Settings
from app.kit.errors import NotFound
from app.kit.ids import is_id
from app.models import VoiceModel

# Some clients offer nothing else. Without an alias of their own they are all the house's voice.
OPENAI_NAMES = frozenset(
    (
        "alloy",
        "ash",
        "ballad",
        "cedar",
        "coral",
        "echo",
        "fable",
        "marin",
        "nova",
        "onyx",
        "sage",
        "shimmer",
        "verse",
    )
)
HOUSE = "default"  # the alias that names the house's voice
LONGEST_NAME = 200


class VoiceNotFound(NotFound):
    code, title = "voice_not_found", "There is no trained voice of this name"


@dataclass(frozen=True, slots=True)
class Listed:
    """A voice as clients see it: what to ask for, and what to show."""

    id: str
    name: str


def ready() -> Select[Any]:
    """The models that can speak, newest first."""
    return select(VoiceModel).where(VoiceModel.state_key.is_not(None)).order_by(VoiceModel.id.desc())


def resolve(session: Session, settings: Settings, asked: str) -> VoiceModel:
    """The model a name stands for: its id, an alias, its name, in this order. Raises VoiceNotFound."""
    aliases = settings.voice_aliases
    model = _by_id(session, asked) or _of(session, aliases.get(asked, asked))
    if model is None and asked in OPENAI_NAMES and asked not in aliases:
        model = _house(session, aliases)
    if model is None:
        raise VoiceNotFound(
            "No trained voice model has this id or name, and no alias stands for it. GET /v1/audio/voices lists "
            "them; MOKSORI_VOICE_ALIASES gives them other names."
        )
    return model


def _of(session: Session, name: str) -> VoiceModel | None:
    if not name or len(name) > LONGEST_NAME or "\0" in name:
        return None
    return _by_id(session, name) or _first(session, ready().where(VoiceModel.model_name == name))


def _by_id(session: Session, name: str) -> VoiceModel | None:
    return _first(session, ready().where(VoiceModel.id == name)) if is_id(name) else None


def _house(session: Session, aliases: dict[str, str]) -> VoiceModel | None:
    """The house's voice: the alias `default`, else the first that was trained and is still there."""
    if HOUSE in aliases:
        return _of(session, aliases[HOUSE])
    return _first(session, ready().order_by(None).order_by(VoiceModel.id))


def _first(session: Session, query: Select[Any]) -> VoiceModel | None:
    model: VoiceModel | None = session.scalar(query.limit(1))
    return model


def listed(session: Session, settings: Settings) -> list[Listed]:
    """Every voice by its id, then every alias that stands for one."""
    models = list(session.scalars(ready()))
    found = [Listed(model.id, model.model_name) for model in models]
    for alias, name in sorted(settings.voice_aliases.items()):
        model = _of(session, name)
        if model is not None:
            found.append(Listed(alias, f"{alias} ({model.model_name})"))
    return found
