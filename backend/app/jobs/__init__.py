"""Durable jobs: enqueued in the caller's transaction, ended whatever dies on the way.

jobs = Jobs(database)
with database.session() as session:                      # in the service
    jobs.enqueue(session, "measure_sample", {"sample_id": id}, job_id=new_id())

@job("measure_sample")                                   # in the worker
def measure_sample(ctx: JobContext, sample_id: str) -> None:
    report = ctx.step("measure", lambda: measure(sample_id))
    with ctx.publishing() as session:                    # refused once the job is somebody else's
        ...
Worker(database, container=container).run()
"""

from app.jobs.gate import Gate
from app.jobs.interface import (
    BATCH,
    INTERACTIVE,
    NORMAL,
    JobCounts,
    JobFailed,
    JobLost,
    JobState,
    JobStatus,
    Priority,
    RetryableError,
    WorkerInfo,
)
from app.jobs.jobs import Jobs
from app.jobs.registry import NO_RETRY, JobContext, Registry, Retry, job, registry
from app.jobs.worker import EXIT_GIVEN_UP, Worker, watch_for_hang

__all__ = [
    "BATCH",
    "EXIT_GIVEN_UP",
    "INTERACTIVE",
    "NORMAL",
    "NO_RETRY",
    "Gate",
    "JobContext",
    "JobCounts",
    "JobFailed",
    "JobLost",
    "JobState",
    "JobStatus",
    "Jobs",
    "Priority",
    "Registry",
    "Retry",
    "RetryableError",
    "Worker",
    "WorkerInfo",
    "job",
    "registry",
    "watch_for_hang",
]
