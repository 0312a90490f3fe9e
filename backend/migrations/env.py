"""Alembic's entry: migrates the database of the settings, or the one that `attributes["url"]` names."""

from __future__ import annotations

from alembic import context

import app.jobs.tables  # noqa: F401  known to the metadata
import app.models  # noqa: F401
from app.config import load_settings
from app.kit.database import Base, make_engine

# The job engine's own tables are its own business; it migrates them itself.
OURS = set(Base.metadata.tables)


def _ours(thing: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
    return not (kind == "table" and reflected and name not in OURS)


def run() -> None:
    url = context.config.attributes.get("url") or load_settings().database
    engine = make_engine(url)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_object=_ours,
            render_as_batch=connection.dialect.name == "sqlite",
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
