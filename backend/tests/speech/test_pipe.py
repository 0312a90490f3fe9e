from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.speech import pipe

HEADERS = st.dictionaries(st.text(max_size=8).filter(lambda key: key != "blobs"), st.integers(), max_size=4)


@settings(deadline=None, max_examples=50)
@given(HEADERS, st.lists(st.binary(max_size=64), max_size=4))
def test_what_is_sent_is_received(header, blobs):
    stream = io.BytesIO()
    pipe.send(stream, header, *blobs)
    stream.seek(0)
    assert pipe.receive(stream) == (header, blobs)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_cut_message_is_the_end(data):
    stream = io.BytesIO()
    pipe.send(stream, {"a": 1}, b"some", b"bytes")
    whole = stream.getvalue()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(pipe.PipeClosed):
        pipe.receive(io.BytesIO(cut))


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=64))
def test_noise_is_the_end(noise):
    with pytest.raises(pipe.PipeClosed):
        pipe.receive(io.BytesIO(b"\xff" + noise))


def test_a_header_that_nobody_would_read_is_not_sent() -> None:
    stream = io.BytesIO()
    with pytest.raises(ValueError, match="too long"):
        pipe.send(stream, {"a": "x" * (1 << 20)})
    assert stream.getvalue() == b""
