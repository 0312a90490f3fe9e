from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Documents, Id, Updated


class Sheet(Base):
    """A spreadsheet of announcements (멘트 시트): a set of scripts, imported again and again."""

    __tablename__ = "sheets"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(200))
    voice_model_id: Mapped[str | None] = mapped_column(ForeignKey("voice_models.id", ondelete="SET NULL"))
    requires_approval: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
    columns: Mapped[Documents]  # [heading, field, variable], in the sheet's order
    above: Mapped[Documents]  # rows of cells before the headings
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
