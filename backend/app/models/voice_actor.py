from __future__ import annotations

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Id, Updated


class VoiceActor(Base):
    """The person whose voice it is (성우)."""

    __tablename__ = "voice_actors"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(200))
    gender: Mapped[str] = mapped_column(String(20))
    age_range: Mapped[str] = mapped_column(String(20))
    description: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
