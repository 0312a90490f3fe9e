from __future__ import annotations

from sqlalchemy.orm import Mapped

from app.kit.database import Base
from app.models.columns import Created, Documents, Id, Moment


class Batch(Base):
    """Many scripts generated together."""

    __tablename__ = "batches"

    id: Mapped[Id]
    force_regenerate: Mapped[bool]
    items: Mapped[Documents]  # [script id, accepted | unchanged | unknown]
    cancelled_at: Mapped[Moment | None]
    created_at: Mapped[Created]
