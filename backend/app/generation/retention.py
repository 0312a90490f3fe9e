"""Retention: takes past their days go in order, row and file; current and approved ones are spared."""

from __future__ import annotations

from datetime import timedelta

import structlog
from sqlalchemy import delete, select, update

from app.deps import Container, forget_files
from app.kit.clock import now
from app.models import Generation, Script, Take

log = structlog.get_logger()
AT_ONCE = 500


def drop_old_takes(container: Container) -> int:
    """Delete what is older than MOKSORI_RETENTION_DAYS; 0 keeps everything. How many takes went."""
    days = container.settings.retention_days
    if not days:
        return 0
    dropped = 0
    while True:
        with container.database.session() as session:
            current = select(Script.current_take_id).where(Script.current_take_id.is_not(None))
            rows = session.execute(
                select(Take.id, Take.generation_id, Take.audio_key)
                .where(
                    Take.created_at < now() - timedelta(days=days),
                    Take.approved_at.is_(None),
                    Take.id.not_in(current),
                )
                .limit(AT_ONCE)
            ).all()
            ids = [row.id for row in rows]
            made_them = Generation.id.in_([row.generation_id for row in rows])
            session.execute(update(Generation).where(made_them).values(take_id=None))
            session.execute(delete(Take).where(Take.id.in_(ids)))
        forget_files(container.store, "takes", [row.audio_key for row in rows])
        dropped += len(ids)
        if len(ids) < AT_ONCE:
            break
    if dropped:
        log.info("tts.takes_dropped", count=dropped, days=days)
    return dropped
