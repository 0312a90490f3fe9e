"""The tables of our own beside the engine's: who works, and which jobs are under suspicion."""

from __future__ import annotations

from sqlalchemy import Double, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.database import Base


class JobWorker(Base):
    """One worker process. Moments are seconds since 1970 on the database's own clock."""

    __tablename__ = "job_workers"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    process: Mapped[str] = mapped_column(String(255))
    queues: Mapped[str] = mapped_column(String(255))
    started_at: Mapped[float] = mapped_column(Double)
    beat_at: Mapped[float] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)
    # "stopped": it said goodbye; "crashed": its process is gone; "silent": it stopped beating.
    end: Mapped[str | None] = mapped_column(String(16))


class JobStrike(Base):
    """A job that was under way in a worker process that died, and how often that happened.

    `alone_in` names the worker in which the job runs with nothing beside it: should that worker die now,
    this job and no other is to blame.
    """

    __tablename__ = "job_strikes"

    job_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    strikes: Mapped[int] = mapped_column(Integer)
    alone_in: Mapped[str | None] = mapped_column(String(36))
