from __future__ import annotations

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Document, Id


class Sample(Base):
    """One recording of an actor: kept as uploaded and as a checked mono WAV."""

    __tablename__ = "samples"
    __table_args__ = (UniqueConstraint("voice_actor_id", "sha256"),)

    id: Mapped[Id]
    voice_actor_id: Mapped[str] = mapped_column(ForeignKey("voice_actors.id"), index=True)
    file_name: Mapped[str] = mapped_column(String(300))  # a label, never a path
    text_content: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int]
    format: Mapped[str] = mapped_column(String(20))
    seconds: Mapped[float]
    sample_rate: Mapped[int]
    channels: Mapped[int]
    original_key: Mapped[str] = mapped_column(String(300))
    wav_key: Mapped[str] = mapped_column(String(300))
    wav_sha256: Mapped[str] = mapped_column(String(64))
    wav_bytes: Mapped[int]
    report: Mapped[Document | None]  # the measurement, once a worker has made it
    verdict: Mapped[str | None] = mapped_column(String(20))
    created_at: Mapped[Created]
