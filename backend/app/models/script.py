from __future__ import annotations

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Id, Moment, Updated


class Script(Base):
    """One announcement (멘트): written text, voice, settings."""

    __tablename__ = "tts_scripts"

    id: Mapped[Id]
    voice_model_id: Mapped[str] = mapped_column(ForeignKey("voice_models.id"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(String(10), default="ko")
    speed: Mapped[float] = mapped_column(default=1.0)
    seed: Mapped[int] = mapped_column(default=0)
    # Since when the current take no longer says what it should: the script or its reading has changed.
    stale_at: Mapped[Moment | None]
    current_take_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
