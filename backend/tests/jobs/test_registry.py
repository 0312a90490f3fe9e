import pytest

from app.jobs import JobContext, Registry


def work(ctx: JobContext) -> None: ...


def other(ctx: JobContext) -> None: ...


def test_a_name_belongs_to_one_function() -> None:
    registry = Registry()
    registry.job("work")(work)
    registry.job("work")(work)  # imported twice
    with pytest.raises(ValueError, match="already a job named work"):
        registry.job("work")(other)


def test_one_attempt_would_blame_the_innocent() -> None:
    with pytest.raises(ValueError, match="at least two"):
        Registry().job("work", max_attempts=1)


def test_the_jobs_attempts_count_and_strangers_get_four() -> None:
    registry = Registry()
    registry.job("work", max_attempts=2)(work)
    assert registry.max_attempts("work") == 2
    assert registry.max_attempts("stranger") == 4
