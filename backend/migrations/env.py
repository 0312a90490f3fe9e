"""Alembic's entry: migrates the database of the settings, or the one that `attributes["url"]` names."""

from __future__ import annotations

from alembic import context

import app.jobs.tables
import app.models  # noqa: F401
from app.config import load_settings
from app.kit.database import Base, UtcDateTime, make_engine

# The job engine's own tables are its own business; it migrates them itself.
OURS = set(Base.metadata.tables)


def _ours(thing: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
    return not (kind == "table" and reflected and name not in OURS)


def _plain(kind: str, thing: object, _context: object) -> str | bool:
    """A migration stays as it was, whatever becomes of our types: a moment is text of 32 characters."""
    return "sa.String(length=32)" if kind == "type" and isinstance(thing, UtcDateTime) else False


def run() -> None:
    url = context.config.attributes.get("url") or load_settings().database
    engine = make_engine(url)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_object=_ours,
            render_as_batch=connection.dialect.name == "sqlite",
            render_item=_plain,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
