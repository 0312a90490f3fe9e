"""What Prometheus reads beside the requests: the line of jobs, and who works on it."""

from prometheus_client import Gauge

from app.deps import Container

JOBS = Gauge("moksori_jobs", "Jobs", ["queue", "state"])
WORKERS = Gauge("moksori_workers", "Workers", ["state"])


def observe(container: Container) -> None:
    counts = container.jobs.counts()
    JOBS.clear()
    for queue, (queued, running) in counts.queues.items():
        JOBS.labels(queue, "queued").set(queued)
        JOBS.labels(queue, "running").set(running)
    WORKERS.labels("alive").set(counts.alive_workers)
    WORKERS.labels("dead").set(counts.dead_workers)
