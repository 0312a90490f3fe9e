from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Documents, Id, Moment


class TrainingRun(Base):
    """One attempt to train a model, step by step; its id is its job's id."""

    __tablename__ = "training_runs"

    id: Mapped[Id]
    voice_model_id: Mapped[str] = mapped_column(ForeignKey("voice_models.id", ondelete="CASCADE"), index=True)
    steps: Mapped[Documents]
    outcome: Mapped[str | None] = mapped_column(String(20))  # ready | failed | stopped
    created_at: Mapped[Created]
    ended_at: Mapped[Moment | None]
