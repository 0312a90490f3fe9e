from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DataError

from app.jobs.interface import JobFailed, RetryableError
from app.jobs.serializer import MESSAGE_LENGTH, JsonSerializer, as_failure
from app.storage.interface import StoreFull

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None, max_examples=50)
@given(JSON)
def test_json_comes_back(value: Any) -> None:
    assert JsonSerializer.deserialize(JsonSerializer().serialize(value)) == value


DETAILS = "the service's log has the details."


def test_errors_come_back_as_failures_with_their_code() -> None:
    for error, code, message in [
        (JobFailed("no_voice", "없는 목소리"), "no_voice", "없는 목소리"),
        (RetryableError("busy"), "temporarily_unavailable", "busy"),
        (StoreFull("takes: no space left"), "storage_full", "takes: no space left"),
        (ValueError("/home/kim"), "internal_error", f"ValueError: {DETAILS}"),
        (DataError("INSERT", {}, Exception()), "internal_error", f"DataError: {DETAILS}"),
    ]:
        failure = JsonSerializer.deserialize(JsonSerializer().serialize(error))
        assert isinstance(failure, JobFailed)
        assert (failure.code, failure.message) == (code, message)


def test_a_long_message_is_cut() -> None:
    assert len(as_failure(StoreFull("x" * 10_000)).message) == MESSAGE_LENGTH
