from __future__ import annotations

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Documents, Id


class LexiconVersion(Base):
    """What a lexicon said before it was changed."""

    __tablename__ = "lexicon_versions"
    __table_args__ = (UniqueConstraint("lexicon_id", "version"),)

    id: Mapped[Id]
    lexicon_id: Mapped[str] = mapped_column(ForeignKey("lexicons.id", ondelete="CASCADE"), index=True)
    version: Mapped[int]
    entries: Mapped[Documents]
    created_at: Mapped[Created]
