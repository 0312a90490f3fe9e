"""Sweeping: who is dead, whose fault it was, and who gets the jobs. Rows are made up, no process runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.jobs import Jobs, JobStatus, liveness, rows
from app.jobs.tables import JobStrike, JobWorker
from app.kit.database import Database

SILENT = 30.0


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


def add_worker(session: Session, name: str, *, silent_for: float = 0.0, process: str = "||") -> None:
    liveness.enter(session, name, ["speech"])
    session.flush()
    session.execute(
        sa.update(JobWorker)
        .where(JobWorker.id == name)
        .values(beat_at=rows.clock(session) - silent_for, process=process)
    )


def add_job(jobs: Jobs, session: Session, name: str, *, worker: str | None = None) -> None:
    jobs.enqueue(session, "work", {}, job_id=name)
    if worker is not None:
        take(session, name, worker)


def take(session: Session, name: str, worker: str) -> None:
    table, _, _ = rows._of(session)
    session.execute(
        sa.update(table)
        .where(table.c.workflow_uuid == name, table.c.status == "ENQUEUED")
        .values(status="PENDING", executor_id=worker, owner_xid=f"{worker}-{name}")
    )


def sweep(database: Database, *, judge_silence: bool = True) -> None:
    with database.session() as session:
        liveness.sweep(session, silent_seconds=SILENT, judge_silence=judge_silence, max_attempts=lambda _: 4)


def queue_of(database: Database, name: str) -> str:
    with database.reading() as session:
        claim = rows.claim(session, name)
        assert claim is not None
        return claim.queue


def test_the_beating_keep_their_jobs(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        add_worker(session, "well", silent_for=SILENT - 5)
        add_job(jobs, session, "a", worker="well")
    sweep(database)
    assert jobs.states(["a"])["a"].status is JobStatus.RUNNING
    assert jobs.counts().dead_workers == 0


def test_the_jobs_of_a_silent_worker_go_back_in_line_alone(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        add_worker(session, "silent", silent_for=SILENT + 5)
        add_job(jobs, session, "a", worker="silent")
        add_job(jobs, session, "b", worker="silent")
    assert jobs.counts().dead_workers == 1
    sweep(database)
    states = jobs.states(["a", "b"])
    assert {state.status for state in states.values()} == {JobStatus.QUEUED}
    assert queue_of(database, "a") == "speech.alone"
    [worker] = jobs.workers()
    assert (worker.end, worker.alive) == ("silent", False)
    assert jobs.counts().dead_workers == 0


def test_silence_is_not_judged_by_who_has_not_watched(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        add_worker(session, "silent", silent_for=1000)
        add_job(jobs, session, "a", worker="silent")
    sweep(database, judge_silence=False)
    assert jobs.states(["a"])["a"].status is JobStatus.RUNNING


def test_a_process_that_is_gone_is_not_waited_for(database: Database, jobs: Jobs) -> None:
    neighbourhood, pid, started = liveness.own_process().split("|")
    with database.session() as session:
        add_worker(session, "gone", process=f"{neighbourhood}|{pid}|{int(started) - 1}")
        add_worker(session, "here", process=f"{neighbourhood}|{pid}|{started}")
        add_worker(session, "elsewhere", process=f"other|{pid}|1")
        add_job(jobs, session, "a", worker="gone")
        add_job(jobs, session, "b", worker="here")
        add_job(jobs, session, "c", worker="elsewhere")
    sweep(database, judge_silence=False)
    assert {name: state.status for name, state in jobs.states(["a", "b", "c"]).items()} == {
        "a": JobStatus.QUEUED,
        "b": JobStatus.RUNNING,
        "c": JobStatus.RUNNING,
    }


def test_own_process_is_there() -> None:
    assert not liveness.is_gone(liveness.own_process())
    assert str(os.getpid()) in liveness.own_process()


def test_a_process_may_have_any_name() -> None:
    """The kernel cuts it at fifteen bytes, within a character too."""
    name = Path("/proc/self/comm")
    before, known = name.read_bytes().rstrip(b"\n"), liveness.own_process()
    try:
        name.write_bytes("a가나다라마바".encode())
        assert liveness.own_process() == known
    finally:
        name.write_bytes(before)


def test_who_ran_alone_elsewhere_leaves_the_present_one_alone(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        session.add(JobStrike(job_id="a", strikes=1))
        session.flush()
        liveness.run_alone(session, "a", "present")
        liveness.ran_alone(session, "a", "thawed")
        assert session.scalar(sa.select(JobStrike.alone_in)) == "present"
        liveness.ran_alone(session, "a", "present")
        assert session.scalar(sa.select(JobStrike.alone_in)) is None


def test_a_culprit_fails_after_four_deaths_and_its_neighbours_never(database: Database, jobs: Jobs) -> None:
    neighbours = [f"n{number}" for number in range(5)]
    with database.session() as session:
        for name in ("culprit", *neighbours):
            add_job(jobs, session, name)
    for death in range(4):
        worker = f"w{death}"
        with database.session() as session:
            add_worker(session, worker, silent_for=SILENT + 5)
            for name in ("culprit", *neighbours):
                take(session, name, worker)
            if death:  # the first time, all ran side by side
                liveness.run_alone(session, "culprit", worker)
        assert jobs.states(["culprit"])["culprit"].status is JobStatus.RUNNING
        sweep(database)
    states = jobs.states(["culprit", *neighbours])
    culprit = states.pop("culprit")
    assert (culprit.status, culprit.error_code) == (JobStatus.FAILED, "worker_crashed")
    assert culprit.error_message is not None
    assert "4 times" in culprit.error_message
    assert {state.status for state in states.values()} == {JobStatus.QUEUED}
    with database.reading() as session:
        assert {strike.job_id: strike.strikes for strike in session.scalars(sa.select(JobStrike))} == {
            "culprit": 4,
            **dict.fromkeys(neighbours, 1),
        }


def test_nobody_fails_for_a_crash_in_company(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        add_worker(session, "silent", silent_for=SILENT + 5)
        for name in ("a", "b"):
            add_job(jobs, session, name, worker="silent")
    with database.session() as session:
        liveness.sweep(session, silent_seconds=SILENT, judge_silence=True, max_attempts=lambda _: 1)
    assert {state.status for state in jobs.states(["a", "b"]).values()} == {JobStatus.QUEUED}


def test_a_crowd_may_fall_any_number_of_times(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        add_job(jobs, session, "waiting")
    for death in range(10):
        with database.session() as session:
            add_worker(session, f"w{death}", silent_for=SILENT + 5)
            take(session, "waiting", f"w{death}")  # in line to run alone, not begun
        sweep(database)
    assert jobs.states(["waiting"])["waiting"].status is JobStatus.QUEUED


def test_what_a_given_up_worker_took_afterwards_is_handed_back(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        add_worker(session, "thawed", silent_for=SILENT + 5)
    sweep(database)
    with database.session() as session:
        assert not liveness.beat(session, "thawed")
        add_job(jobs, session, "a", worker="thawed")
    sweep(database)
    assert jobs.states(["a"])["a"].status is JobStatus.QUEUED
    assert queue_of(database, "a") == "speech"


def test_a_worker_that_leaves_hands_back_without_suspicion(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        add_worker(session, "leaving")
        add_job(jobs, session, "a", worker="leaving")
    with database.session() as session:
        assert liveness.leave(session, "leaving") == 1
    assert jobs.states(["a"])["a"].status is JobStatus.QUEUED
    assert queue_of(database, "a") == "speech"
    with database.reading() as session:
        assert session.scalars(sa.select(JobStrike)).all() == []
    [worker] = jobs.workers()
    assert worker.end == "stopped"


def test_what_is_over_stays_over(database: Database, jobs: Jobs) -> None:
    with database.session() as session:
        add_worker(session, "silent", silent_for=SILENT + 5)
        add_job(jobs, session, "a", worker="silent")
        jobs.cancel(["a"], session)
    sweep(database)
    assert jobs.states(["a"])["a"].status is JobStatus.CANCELLED
