from __future__ import annotations

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Document, Id, Moment


class Generation(Base):
    """One attempt to speak a script, with what it was asked; its id is its job's id.

    `outcome` stays empty until the end: meanwhile its state is read from the job.
    """

    __tablename__ = "tts_generations"

    id: Mapped[Id]
    script_id: Mapped[str] = mapped_column(ForeignKey("tts_scripts.id", ondelete="CASCADE"), index=True)
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id", ondelete="SET NULL"), index=True)
    voice_model_id: Mapped[str] = mapped_column(String(36), index=True)
    text: Mapped[str] = mapped_column(Text)
    settings: Mapped[Document]  # language, speed, seed
    fingerprint: Mapped[str] = mapped_column(String(64))
    interactive: Mapped[bool] = mapped_column(default=False)
    outcome: Mapped[str | None] = mapped_column(String(20), index=True)  # done | failed | cancelled
    failure: Mapped[Document | None]  # code, message, fix
    take_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[Created]
    ended_at: Mapped[Moment | None]
