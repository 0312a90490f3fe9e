"""The durable jobs' contract, on both databases, with real worker processes that really die."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.jobs import BATCH, EXIT_GIVEN_UP, INTERACTIVE, Jobs, JobState, JobStatus
from app.kit.database import Database
from tests.jobs.processes import Child, results, until, workshop

Start = Callable[..., Child]


@pytest.fixture
def start(database_url: str) -> Iterator[Start]:
    with workshop(database_url) as start:
        yield start


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database, silent_seconds=2.0)


def enqueue(
    database: Database, jobs: Jobs, name: str, *ids: str, priority: int = BATCH, **args: object
) -> None:
    with database.session() as session:
        for job_id in ids:
            jobs.enqueue(session, name, args, job_id=job_id, priority=priority)


def ended(jobs: Jobs, *ids: str) -> dict[str, JobState]:
    def all_over() -> dict[str, JobState] | None:
        states = jobs.states(ids)
        return states if all(states[job_id].status.is_over for job_id in ids) else None

    states: dict[str, JobState] = until(all_over)
    return states


def published(database: Database) -> dict[str, tuple[int, int]]:
    with database.reading() as session:
        return results(session)


def test_work_is_done(database: Database, jobs: Jobs, start: Start) -> None:
    enqueue(database, jobs, "work", "a", "b")
    assert jobs.states(["a", "never"])["a"].status is JobStatus.QUEUED
    assert jobs.counts().queues == {"speech": (2, 0)}
    start()
    states = ended(jobs, "a", "b")
    assert {state.status for state in states.values()} == {JobStatus.DONE}
    assert states["a"].attempts == 1
    assert states["a"].started_at is not None
    assert states["a"].ended_at is not None
    assert states["a"].created_at <= states["a"].started_at <= states["a"].ended_at
    assert set(published(database)) == {"a", "b"}
    assert jobs.counts().alive_workers == 1


def test_an_enqueueing_that_fails_leaves_nothing(database: Database, jobs: Jobs) -> None:
    with pytest.raises(ZeroDivisionError), database.session() as session:
        jobs.enqueue(session, "work", {}, job_id="a")
        raise ZeroDivisionError
    assert jobs.states(["a"]) == {}
    assert jobs.counts().queued == 0


def test_the_same_id_is_the_same_job(database: Database, jobs: Jobs, start: Start) -> None:
    enqueue(database, jobs, "work", "a")
    enqueue(database, jobs, "work", "a")
    start()
    ended(jobs, "a")
    enqueue(database, jobs, "work", "a")
    assert jobs.states(["a"])["a"].status is JobStatus.DONE
    assert jobs.states(["a"])["a"].attempts == 1


def test_a_job_goes_on_after_its_worker_was_killed(
    database: Database, jobs: Jobs, start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    enqueue(database, jobs, "hold", "a", gate=str(gate))
    first = start()
    assert first.hear() == ("first", "a")
    assert first.hear() == ("second", "a")
    first.kill()
    gate.touch()
    second = start()
    # The first step's answer was recorded: it is not run again.
    assert second.hear() == ("second", "a")
    assert ended(jobs, "a")["a"].status is JobStatus.DONE
    assert published(database) == {"a": (second.pid, 2)}


def test_another_worker_takes_over(database: Database, jobs: Jobs, start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    enqueue(database, jobs, "hold", "a", gate=str(gate))
    one = start()
    assert one.hear() == ("first", "a")
    two = start()
    until(lambda: jobs.counts().alive_workers == 2)
    one.kill()
    gate.touch()
    assert (
        two.hear() == ("second", "a") if (word := two.hear()) == ("first", "a") else word == ("second", "a")
    )
    ended(jobs, "a")
    assert published(database)["a"][0] == two.pid
    assert {worker.end for worker in jobs.workers()} == {None, "crashed"}


def test_a_thawed_worker_publishes_nothing(
    database: Database, jobs: Jobs, start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    enqueue(database, jobs, "deaf", "a", gate=str(gate))
    frozen = start()
    assert frozen.hear() == ("deaf", "a")
    frozen.signal(signal.SIGSTOP)
    other = start()
    assert other.hear() == ("deaf", "a")
    frozen.signal(signal.SIGCONT)
    gate.touch()
    assert other.hear() == ("published", "a")
    words = [frozen.hear(), frozen.hear()]
    assert ("JobLost", "a") in words
    assert ("stopped", EXIT_GIVEN_UP) in words
    assert frozen.exit_code() == EXIT_GIVEN_UP
    assert ended(jobs, "a")["a"].status is JobStatus.DONE
    assert published(database)["a"][0] == other.pid


def test_a_job_that_kills_its_worker_fails_alone(
    database: Database, jobs: Jobs, start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    neighbours = [f"n{number}" for number in range(6)]
    enqueue(database, jobs, "hold", *neighbours, gate=str(gate))
    enqueue(database, jobs, "crash", "culprit")
    deaths = 0
    gate.touch()
    while True:
        worker = start()
        until(lambda worker=worker: not worker.process.is_alive() or jobs.counts().queues == {})
        if worker.process.is_alive():
            break
        deaths += 1
    states = ended(jobs, "culprit", *neighbours)
    culprit = states.pop("culprit")
    assert culprit.status is JobStatus.FAILED
    assert culprit.error_code == "worker_crashed"
    assert deaths <= 4
    assert {state.status for state in states.values()} == {JobStatus.DONE}
    assert set(published(database)) == set(neighbours)


def test_typed_errors_are_retried_and_others_are_not(database: Database, jobs: Jobs, start: Start) -> None:
    enqueue(database, jobs, "flaky", "recovers", failures=3)
    enqueue(database, jobs, "flaky", "gives_up", failures=4)
    enqueue(database, jobs, "refuse", "refused")
    start()
    states = ended(jobs, "recovers", "gives_up", "refused")
    assert states["recovers"].status is JobStatus.DONE
    assert states["gives_up"].status is JobStatus.FAILED
    assert states["gives_up"].error_code == "temporarily_unavailable"
    assert states["refused"].status is JobStatus.FAILED
    assert (states["refused"].error_code, states["refused"].error_message) == (
        "no_voice",
        "There is no such voice.",
    )


def test_a_job_that_no_worker_knows_is_not_stuck(database: Database, jobs: Jobs, start: Start) -> None:
    enqueue(database, jobs, "of_another_version", "a")
    start()
    state = ended(jobs, "a")["a"]
    assert (state.status, state.error_code) == (JobStatus.FAILED, "unknown_job")


def test_an_outage_of_the_database_is_not_the_jobs_failure(
    database: Database, jobs: Jobs, start: Start
) -> None:
    enqueue(database, jobs, "interrupted", "in_step", attempts=2, in_step=True)
    enqueue(database, jobs, "interrupted", "outside", attempts=2, in_step=False)
    enqueue(database, jobs, "interrupted", "for_ever", attempts=1000, in_step=False)
    start()
    states = ended(jobs, "in_step", "outside", "for_ever")
    assert (states["in_step"].status, states["in_step"].attempts) == (JobStatus.DONE, 3)
    assert (states["outside"].status, states["outside"].attempts) == (JobStatus.DONE, 3)
    assert (states["for_ever"].status, states["for_ever"].attempts) == (JobStatus.FAILED, 10)


def test_cancelled_while_queued_and_while_running(
    database: Database, jobs: Jobs, start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    enqueue(database, jobs, "hold", "queued", gate=str(gate))
    with database.session() as session:
        assert jobs.cancel(["queued"], session) == 1
    enqueue(database, jobs, "hold", "running", gate=str(gate))
    worker = start()
    assert [worker.hear(), worker.hear()] == [("first", "running"), ("second", "running")]
    with database.session() as session:
        assert jobs.cancel(["running", "queued", "never"], session) == 1
    gate.touch()
    enqueue(database, jobs, "work", "next")
    assert ended(jobs, "next")["next"].status is JobStatus.DONE
    states = jobs.states(["queued", "running"])
    assert {state.status for state in states.values()} == {JobStatus.CANCELLED}
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert set(published(database)) == {"next"}


def test_a_worker_told_to_stop_finishes_what_it_has(
    database: Database, jobs: Jobs, start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    enqueue(database, jobs, "hold", "a", gate=str(gate))
    worker = start()
    assert [worker.hear(), worker.hear()] == [("first", "a"), ("second", "a")]
    # As by Ctrl-C: from the terminal, and from the supervisor.
    worker.signal(signal.SIGINT)
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGTERM)
    enqueue(database, jobs, "work", "late")
    gate.touch()
    assert worker.exit_code() == 0
    assert jobs.states(["a"])["a"].status is JobStatus.DONE
    assert [worker.end for worker in jobs.workers()] == ["stopped"]


def test_a_worker_interrupted_twice_waits_for_nothing(
    database: Database, jobs: Jobs, start: Start, tmp_path: Path
) -> None:
    enqueue(database, jobs, "hold", "a", gate=str(tmp_path / "gate"))
    worker = start()
    assert [worker.hear(), worker.hear()] == [("first", "a"), ("second", "a")]
    worker.signal(signal.SIGINT)
    worker.signal(signal.SIGINT)
    assert worker.exit_code() == 0
    assert jobs.states(["a"])["a"].status is JobStatus.QUEUED


def test_what_cannot_be_finished_in_time_is_handed_back(
    database: Database, jobs: Jobs, start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    enqueue(database, jobs, "hold", "a", gate=str(gate))
    worker = start(drain_seconds=0.1)
    assert [worker.hear(), worker.hear()] == [("first", "a"), ("second", "a")]
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert jobs.states(["a"])["a"].status is JobStatus.QUEUED
    gate.touch()
    start()
    assert ended(jobs, "a")["a"].status is JobStatus.DONE


def test_an_interactive_job_overtakes(database: Database, jobs: Jobs, start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    enqueue(database, jobs, "hold", *(f"b{number}" for number in range(50)), gate=str(gate))
    worker = start(queues={"speech": 2})
    assert {worker.hear()[0] for _ in range(4)} == {"first", "second"}
    # All slots are taken, and the line is long.
    enqueue(database, jobs, "work", "now", priority=INTERACTIVE)
    state = ended(jobs, "now")["now"]
    assert state.started_at is not None
    assert (state.started_at - state.created_at).total_seconds() < 2
    assert jobs.counts().queues["speech"] == (48, 2)
    gate.touch()


def test_many_jobs(database: Database, jobs: Jobs, start: Start) -> None:
    ids = [f"j{number}" for number in range(100)]
    enqueue(database, jobs, "work", *ids)
    start()
    start()
    assert {state.status for state in ended(jobs, *ids).values()} == {JobStatus.DONE}
    assert {attempt for _, attempt in published(database).values()} == {1}


def test_what_has_been_over_for_long_is_forgotten(database: Database, jobs: Jobs, start: Start) -> None:
    enqueue(database, jobs, "work", "old")
    start()
    ended(jobs, "old")
    with database.session() as session:
        jobs.enqueue(session, "work", {}, job_id="open", queue="nobody_listens")
    assert jobs.sweep(3600) == 0
    assert jobs.sweep(-3600) == 1
    assert jobs.states(["old"]) == {}
    assert jobs.states(["open"])["open"].status is JobStatus.QUEUED
