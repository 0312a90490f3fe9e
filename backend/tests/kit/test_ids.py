from __future__ import annotations

import pytest

from app.kit.ids import is_id, new_id


def test_ids_are_uuid7_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert all(is_id(each) and each[14] == "7" for each in ids)


@pytest.mark.parametrize("text", ["", "x", "1" * 36, "\0", new_id().upper(), new_id() + "\n", f" {new_id()}"])
def test_another_form_is_no_id(text: str) -> None:
    assert not is_id(text)
