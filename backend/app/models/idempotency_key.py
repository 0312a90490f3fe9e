from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base
from app.models.columns import Created


class IdempotencyKey(Base):
    """What a request with this Idempotency-Key was answered; repeated, it is answered the same."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    answer: Mapped[Any] = mapped_column(JSON)
    created_at: Mapped[Created] = mapped_column(index=True)
