from __future__ import annotations

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Documents, Id


class SheetVersion(Base):
    """One import of a sheet: of which file, by whom, and what each changed line said before."""

    __tablename__ = "sheet_versions"
    __table_args__ = (UniqueConstraint("sheet_id", "number"),)

    id: Mapped[Id]
    sheet_id: Mapped[str] = mapped_column(ForeignKey("sheets.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    file_name: Mapped[str] = mapped_column(String(300))  # a label, never a path
    sha256: Mapped[str] = mapped_column(String(64))
    imported_by: Mapped[str] = mapped_column(String(200))
    new: Mapped[int]
    changed: Mapped[int]
    gone: Mapped[int]
    same: Mapped[int]
    changes: Mapped[Documents]  # code, variant, kind and, of what changed, field, before and after
    created_at: Mapped[Created]
