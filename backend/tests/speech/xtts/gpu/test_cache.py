"""Pages go from row to row, and no two rows ever have one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.speech.xtts.gpu.cache import PAGE, PagedCache, pages_of
from tests.speech.xtts.gpu.devices import DEVICE

ROWS, LONGEST, ROOM = 4, 5 * PAGE, 9 * PAGE


def small() -> PagedCache:
    sizes: Any = SimpleNamespace(layers=1, channels=2, heads=1)
    return PagedCache(sizes, ROWS, LONGEST, ROOM, torch.float32, DEVICE)


def pages(cache: PagedCache, row: int) -> list[int]:
    """Where the kernels look for a row's positions."""
    return [page for page in cache.table[row].tolist() if page]


class CacheMachine(RuleBasedStateMachine):
    """What a runner does, in any order, beside a plain account of what each row's pages hold."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = small()
        self.held: dict[int, list[float]] = {}  # by row, the number in each of its pages
        self.prefix: tuple[float, torch.Tensor] | None = None
        self.written = 0.0

    def any_row(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.held)))

    @rule(first=st.integers(0, ROWS - 1), positions=st.lists(st.integers(1, LONGEST), min_size=1, max_size=3))
    def reserve(self, first: int, positions: list[int]) -> None:
        rows = range(first, first + len(positions))
        if rows.stop > ROWS or any(row in self.held for row in rows):
            return
        counts = [pages_of(count) for count in positions]
        if sum(counts) + sum(map(len, self.held.values())) > ROOM // PAGE:
            with pytest.raises(ValueError, match="are wanted"):
                self.cache.reserve(first, positions)
            return
        self.cache.reserve(first, positions)
        for row, count in zip(rows, counts, strict=True):
            assert len(pages(self.cache, row)) == count
            self.held[row] = []
            for page in pages(self.cache, row):
                self.written += 1
                self.cache.blocks[:, :, page] = self.written
                self.held[row].append(self.written)

    @rule(row=st.integers(0, ROWS - 1))
    def free(self, row: int) -> None:
        """Also of one that holds nothing."""
        self.cache.free(row)
        self.held.pop(row, None)

    @precondition(lambda self: 0 < len(self.held) < ROWS)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        source = self.any_row(data)
        target = data.draw(st.sampled_from(sorted(set(range(ROWS)) - set(self.held))))
        self.cache.move(source, target, 1)
        self.held[target] = self.held.pop(source)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def keep_a_prefix(self, data: st.DataObject) -> None:
        row = self.any_row(data)
        self.prefix = self.held[row][0], self.cache.prefix(row, PAGE)

    @precondition(lambda self: self.held and self.prefix is not None)
    @rule(data=st.data())
    def begin_with_it(self, data: st.DataObject) -> None:
        assert self.prefix is not None
        row = self.any_row(data)
        self.held[row][0], prefix = self.prefix
        self.cache.put(row, prefix)

    @invariant()
    def every_row_finds_what_is_its_own(self) -> None:
        for row in range(ROWS):
            found = [self.cache.blocks[:, :, page].unique().tolist() for page in pages(self.cache, row)]
            assert found == [[number] for number in self.held.get(row, [])]

    @invariant()
    def every_page_is_somewhere_once(self) -> None:
        taken = [page for row in range(ROWS) for page in pages(self.cache, row)]
        assert sorted([*taken, *self.cache._free]) == list(range(1, ROOM // PAGE + 1))
        assert not self.cache.table[ROWS].any(), "a page of nobody's"


CacheMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestAnyOrder = CacheMachine.TestCase


def test_a_row_has_whole_pages_for_what_it_asked_for() -> None:
    cache = small()
    cache.reserve(0, [1, PAGE, PAGE + 1])
    assert [len(pages(cache, row)) for row in range(3)] == [1, 1, 2]


def test_a_prefix_is_of_one_page() -> None:
    cache = small()
    cache.reserve(0, [2 * PAGE])
    with pytest.raises(ValueError, match="does not fit"):
        cache.prefix(0, PAGE + 1)
