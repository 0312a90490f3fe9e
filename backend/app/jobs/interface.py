"""What services see of a job: its state, its errors, its place in the line."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum


class Priority(IntEnum):
    """A smaller number goes first. INTERACTIVE has slots of its own, so it never waits for a batch's job."""

    INTERACTIVE = 1
    NORMAL = 50
    BATCH = 100


INTERACTIVE, NORMAL, BATCH = Priority.INTERACTIVE, Priority.NORMAL, Priority.BATCH


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class JobState:
    """`attempts` counts how often a worker took the job up; `error_*` are set when it failed."""

    id: str
    name: str
    status: JobStatus
    attempts: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker process as the database knows it. `end` is None, "stopped", "crashed" or "silent"."""

    id: str
    host: str
    queues: tuple[str, ...]
    alive: bool
    started_at: datetime
    beat_at: datetime
    ended_at: datetime | None
    end: str | None


@dataclass(frozen=True, slots=True)
class JobCounts:
    """`queues` has (queued, running) a queue; `dead_workers` fell silent and were not yet relieved."""

    queued: int
    running: int
    alive_workers: int
    dead_workers: int
    queues: dict[str, tuple[int, int]] = field(default_factory=dict)


class JobFailed(Exception):
    """The end of a job that cannot succeed: a stable code and a sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RetryableError(Exception):
    """Worth another try soon: a busy device, a connection that broke. Steps retry it with backoff."""

    code = "temporarily_unavailable"


class JobLost(BaseException):
    """This execution may no longer publish: the job was cancelled, taken over or handed back.

    Like asyncio's CancelledError it passes by `except Exception`. Let it through: whoever has the job now
    will end it.
    """
