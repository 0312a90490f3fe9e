from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Documents, Id, Updated


class Lexicon(Base):
    """A user's own readings, written → spoken; of one script, or of all when it names none."""

    __tablename__ = "lexicons"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(200))
    script_id: Mapped[str | None] = mapped_column(
        ForeignKey("tts_scripts.id", ondelete="CASCADE"), index=True
    )
    version: Mapped[int] = mapped_column(default=1)
    entries: Mapped[Documents]  # [written, spoken]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
