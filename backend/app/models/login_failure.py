from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created, Id


class LoginFailure(Base):
    """A login that failed; counted for fifteen minutes, by name and by address."""

    __tablename__ = "login_failures"
    __table_args__ = (Index("ix_login_failures_subject_created_at", "subject", "created_at"),)

    id: Mapped[Id]
    subject: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[Created]
