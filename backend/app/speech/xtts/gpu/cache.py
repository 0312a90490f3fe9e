"""Keys and values in pages, so that an utterance takes no more of a GPU's memory than it can need."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from app.speech.xtts.checkpoint import Settings

PAGE = 32  # positions: as many as a voice has latents


def pages_of(positions: int) -> int:
    """How many pages so many positions take."""
    return -(-positions // PAGE)


class PagedCache:
    """`blocks` (layers, 2, pages, heads, PAGE, head channels) holds keys and values, and `table` (rows, pages of
    the longest row) says where each row's are.

    A row gets its pages for good when it is admitted, so none can run short on the way. Page 0 is nobody's:
    what a row writes that has no pages, or beyond them, goes there. The table's last row has none, ever.
    """

    def __init__(
        self, settings: Settings, rows: int, longest: int, room: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        head = settings.channels // settings.heads
        shape = (settings.layers, 2, pages_of(room) + 1, settings.heads, PAGE, head)
        self.blocks = torch.empty(shape, dtype=dtype, device=device)
        self.table = torch.zeros(rows + 1, pages_of(longest), dtype=torch.int32, device=device)
        self._free = list(range(pages_of(room), 0, -1))
        self._taken: list[list[int]] = [[] for _ in range(rows)]

    def reserve(self, first: int, positions: Sequence[int]) -> None:
        """Give rows `first` … room for so many positions each. Raises ValueError where there is too little."""
        counts = [pages_of(count) for count in positions]
        if sum(counts) > len(self._free) or max(counts, default=0) > self.table.shape[1]:
            raise ValueError(f"{counts} pages are wanted, and {len(self._free)} are free")
        lines = torch.zeros(len(counts), self.table.shape[1], dtype=torch.int32)
        for number, count in enumerate(counts):
            pages = [self._free.pop() for _ in range(count)]
            self._taken[first + number] = pages
            lines[number, :count] = torch.tensor(pages, dtype=torch.int32)
        self.table[first : first + len(counts)] = lines.to(self.table.device)

    def free(self, row: int) -> None:
        """Take a row's room back."""
        self._free += reversed(self._taken[row])
        self._taken[row] = []
        self.table[row] = 0

    def move(self, source: int, target: int, length: int) -> None:
        """Let row `target`, which is free, hold what row `source` holds."""
        self._taken[target], self._taken[source] = self._taken[source], []
        self.table[target] = self.table[source]
        self.table[source] = 0

    def prefix(self, row: int, length: int) -> Tensor:
        """A copy of a row's first page, with its first `length` positions."""
        if length > PAGE:
            raise ValueError(f"a prefix of {length} positions does not fit a page of {PAGE}")
        return self.blocks[:, :, self._taken[row][0]].clone()

    def put(self, row: int, prefix: Tensor) -> None:
        """Start a row with what `prefix` gave."""
        self.blocks[:, :, self._taken[row][0]] = prefix
