from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from app.kit.database import Database, UtcDateTime, journal_mode, make_engine, wal_is_safe
from app.models import Sample, Script, VoiceActor


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((3, 51, 2), False),
        ((3, 50, 7), True),
        ((3, 50, 6), False),
        ((3, 44, 6), True),
        ((3, 44, 5), False),
        ((3, 45, 9), False),
        ((3, 40, 1), False),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_used_only_where_its_reset_is_mended(version: tuple[int, int, int], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_sqlite_is_set_up_to_survive_a_power_cut(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.reading() as session:
        found = {name: session.scalar(sa.text(f"PRAGMA {name}")) for name in ("synchronous", "foreign_keys")}
        mode = session.scalar(sa.text("PRAGMA journal_mode"))
    database.close()
    assert found == {"synchronous": 2, "foreign_keys": 1}
    assert mode in (journal_mode().lower(), "persist")


def test_a_session_commits_at_its_end_or_not_at_all(database: Database) -> None:
    with database.session() as session:
        session.add(actor("kept"))
    with pytest.raises(RuntimeError), database.session() as session:
        session.add(actor("dropped"))
        session.flush()
        raise RuntimeError
    with database.reading() as session:
        assert list(session.scalars(sa.select(VoiceActor.name))) == ["kept"]


def test_threads_write_to_sqlite_in_turn(sqlite_url: str) -> None:
    """Each adds to what it finds, so that none is lost where one waits for the other; nobody has a connection while
    another one writes."""
    database = Database(sqlite_url)

    def add(number: int) -> int:
        with database.session() as session:
            session.add(actor(f"{session.scalar(sa.select(sa.func.count(VoiceActor.id)))}"))
            return database._writing.pool.checkedout()

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(add, range(100))) == {1}
    with database.reading() as session:
        assert sorted(map(int, session.scalars(sa.select(VoiceActor.name)))) == list(range(100))
    assert database._writing.pool.checkedin() == 1
    database.close()


def test_to_wait_too_long_for_ones_turn_is_an_outage(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of it stays: the next one finds the connection free."""
    monkeypatch.setattr("app.kit.database.WRITING_SECONDS", 0.01)
    database = Database(sqlite_url)
    with database.session() as session:
        session.add(actor("first"))
        session.flush()
        with pytest.raises(OperationalError), database.session() as other:
            other.add(actor("second"))
        with database.reading() as reader:  # which waits for nobody
            assert list(reader.scalars(sa.select(VoiceActor.name))) == []
    with database.session() as session:
        assert list(session.scalars(sa.select(VoiceActor.name))) == ["first"]
    database.close()


def test_to_wait_too_long_for_a_connection_is_an_outage(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    database._readers.configure(
        bind=make_engine(sqlite_url, pool_size=1, max_overflow=0, pool_timeout=0.01).execution_options(
            readonly=True
        )
    )
    with database.reading() as first:
        assert first.scalar(sa.select(sa.func.count(VoiceActor.id))) == 0
        with pytest.raises(OperationalError), database.reading() as second:
            second.scalar(sa.select(sa.func.count(VoiceActor.id)))
    with database.reading() as third:
        assert third.scalar(sa.select(sa.func.count(VoiceActor.id))) == 0
    database.close()


def actor(name: str) -> VoiceActor:
    return VoiceActor(name=name, gender="female", age_range="", description="")


def test_a_row_that_refers_to_nothing_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(
            Sample(
                voice_actor_id="nobody", file_name="",
                text_content="", sha256="", bytes=0, format="", seconds=0,
                sample_rate=0, channels=1, original_key="", wav_key="", wav_sha256="", wav_bytes=0,
            )
        )  # fmt: skip


def test_an_error_says_nothing_of_what_was_to_be_written(database: Database) -> None:
    """It is logged with its trace, and a transcript is no business of the log's."""
    with pytest.raises(IntegrityError) as refused, database.session() as session:
        session.add(Script(voice_model_id="nobody", title="", text="비밀 안내입니다."))
    with pytest.raises(DBAPIError) as wrong, database.reading() as session:
        session.execute(sa.text("SELECT :value FROM nowhere"), {"value": "비밀 안내입니다."})
    for error in (refused.value, wrong.value):
        assert "비밀" not in str(error)


def test_moments_are_utc_and_sort_alike_everywhere(database: Database) -> None:
    start = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    seoul = timezone(timedelta(hours=9))
    moments = [start, (start + timedelta(microseconds=1)).astimezone(seoul), start + timedelta(days=1)]
    with database.session() as session:
        for number, moment in enumerate(moments):
            session.add(
                VoiceActor(name=str(number), gender="", age_range="", description="", created_at=moment)
            )
    with database.reading() as session:
        rows = session.execute(
            sa.select(VoiceActor.name, VoiceActor.created_at).order_by(VoiceActor.created_at)
        ).all()
    assert [row.name for row in rows] == ["0", "1", "2"]
    assert [row.created_at for row in rows] == moments
    assert all(row.created_at.utcoffset() == timedelta(0) for row in rows)


def test_a_moment_needs_an_offset() -> None:
    with pytest.raises(ValueError, match="offset"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), sa.create_engine("sqlite://").dialect)
