from __future__ import annotations

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Document, Id, Moment


class Take(Base):
    """The audio of one generation with its measurements; never altered, only marked missing."""

    __tablename__ = "takes"

    id: Mapped[Id]
    generation_id: Mapped[str] = mapped_column(
        ForeignKey("tts_generations.id", ondelete="CASCADE"), unique=True
    )
    script_id: Mapped[str] = mapped_column(ForeignKey("tts_scripts.id", ondelete="CASCADE"), index=True)
    voice_model_id: Mapped[str] = mapped_column(String(36))
    model_version: Mapped[int]
    engine: Mapped[str] = mapped_column(String(40))
    simulated: Mapped[bool]
    fingerprint: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)
    reading: Mapped[Document]  # spoken text and trace
    seed: Mapped[int]
    audio_key: Mapped[str] = mapped_column(String(300), unique=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int]
    seconds: Mapped[float]
    sample_rate: Mapped[int]
    quality_score: Mapped[float | None]
    report: Mapped[Document]
    approved_at: Mapped[Moment | None]
    missing_at: Mapped[Moment | None]  # its file went behind the service's back
    created_at: Mapped[Created]
