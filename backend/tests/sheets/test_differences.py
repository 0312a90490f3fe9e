from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sheets.differences import Said, compare, others

SAID = Said("안녕", "voice-1", 1.0, None, "a.wav", "ivr", "메모", {"부서": "영업"})


def changed(**fields: Any) -> Any:
    return compare("s 1", {("1", ""): SAID}, {("1", ""): replace(SAID, **fields)}, {("1", ""): 2}).changes


def test_new_changed_gone_and_same() -> None:
    before = {("1", ""): SAID, ("2", ""): SAID, ("3", ""): SAID}
    after = {("4", ""): SAID, ("1", ""): SAID, ("2", ""): replace(SAID, text="다른 말")}
    found = compare("s 1", before, after, {("4", ""): 2, ("1", ""): 3, ("2", ""): 4})
    assert [(each.kind, each.code, each.row) for each in found.changes] == [
        ("new", "4", 2), ("changed", "2", 4), ("gone", "3", None)
    ]  # fmt: skip
    assert found.same == 1
    assert found.of("changed")[0].fields == (("text", "안녕", "다른 말"),)


@pytest.mark.parametrize("field", ["text", "voice"])
def test_what_is_heard(field: str) -> None:
    assert changed(**{field: "x"})[0].is_heard


def test_speed_and_pause_are_heard_and_names_and_notes_are_not() -> None:
    assert changed(speed=1.1)[0].is_heard and changed(pause=0.5)[0].is_heard
    for fields in ({"file_name": "b"}, {"path": "p"}, {"note": "n"}, {"others": {"부서": "기술"}}):
        (change,) = changed(**fields)
        assert not change.is_heard


def test_other_columns_count_by_what_they_hold() -> None:
    assert changed(others={"부서": "기술"})[0].fields == (("부서", "영업", "기술"),)
    assert changed(others={})[0].fields == (("부서", "영업", ""),)
    columns = [("코드", "code"), ("부서", None), ("", None)]
    assert others(columns, ["1", "영업", "x"]) == {"부서": "영업", "#3": "x"}
    assert others(columns, ["1", "", ""]) == {}


def test_the_digest_is_of_the_difference_and_of_what_it_was_taken_from() -> None:
    after = {("1", ""): replace(SAID, text="다른 말")}
    digests = {
        compare("s 1", {("1", ""): SAID}, after, {}).digest,
        compare("s 2", {("1", ""): SAID}, after, {}).digest,
        compare("s 1", {("1", ""): replace(SAID, text="전의 말")}, after, {}).digest,
        compare("s 1", {}, after, {}).digest,
    }
    assert len(digests) == 4
    assert compare("s 1", {("1", ""): SAID}, after, {}).digest in digests


keys = st.dictionaries(
    st.tuples(st.sampled_from("abcde"), st.just("")), st.sampled_from(["하나", "둘"]), max_size=5
)


@settings(max_examples=100, deadline=None)
@given(keys, keys)
def test_every_line_is_counted_once(old: dict[Any, str], new: dict[Any, str]) -> None:
    before = {key: replace(SAID, text=text) for key, text in old.items()}
    after = {key: replace(SAID, text=text) for key, text in new.items()}
    found = compare("", before, after, {})
    assert found.same + len(found.of("new")) + len(found.of("changed")) == len(new)
    assert found.same + len(found.of("gone")) + len(found.of("changed")) == len(old)
    assert (found.changes == ()) == (old == new)
