from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Document, Id, Moment, Updated


class VoiceModel(Base):
    """A voice made of an actor's samples.

    There is no stored "training": while `training_run_id` is set, the state is read from that run's job.
    `state_key` is the last good state in the store; it stays in service while another is trained.
    """

    __tablename__ = "voice_models"

    id: Mapped[Id]
    voice_actor_id: Mapped[str] = mapped_column(ForeignKey("voice_actors.id"), index=True)
    model_name: Mapped[str] = mapped_column(String(200))
    training_run_id: Mapped[str | None] = mapped_column(String(36))
    failure: Mapped[Document | None]  # code, message, fix of the last training, when it failed
    version: Mapped[int] = mapped_column(default=0)
    state_key: Mapped[str | None] = mapped_column(String(300))
    engine: Mapped[str | None] = mapped_column(String(40))
    quality_score: Mapped[float | None]
    report: Mapped[Document | None]
    trained_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
