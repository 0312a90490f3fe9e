"""Times are UTC with an offset; one place to ask."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)
