from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Document, Documents, Id, Moment


class SheetLine(Base):
    """One announcement of a sheet. Its script stays the same as long as its code does, takes and all.

    An approval is of one take: once another is current, or the line says something else, it no longer counts.
    """

    __tablename__ = "sheet_lines"
    __table_args__ = (
        UniqueConstraint("sheet_id", "code", "variant"),
        Index("ix_sheet_lines_sheet_id_position", "sheet_id", "position"),
    )

    id: Mapped[Id]
    sheet_id: Mapped[str] = mapped_column(ForeignKey("sheets.id", ondelete="CASCADE"))
    script_id: Mapped[str] = mapped_column(ForeignKey("tts_scripts.id", ondelete="CASCADE"), unique=True)
    position: Mapped[int]
    row: Mapped[int]  # in the file it came from
    code: Mapped[str] = mapped_column(String(200))
    variant: Mapped[str] = mapped_column(String(300), default="")
    values: Mapped[Document]  # of the variables in this combination
    pause: Mapped[float | None]  # seconds of silence after the announcement
    file_name: Mapped[str] = mapped_column(String(300))
    path: Mapped[str] = mapped_column(String(300))
    note: Mapped[str] = mapped_column(Text)
    cells: Mapped[Documents]  # the row as it came
    gone_at: Mapped[Moment | None]  # when the sheet came without it
    approved_take_id: Mapped[str | None] = mapped_column(String(36))
    approved_by: Mapped[str | None] = mapped_column(String(200))
    approved_at: Mapped[Moment | None]
    created_at: Mapped[Created]
