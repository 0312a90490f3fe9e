"""What a GPU does again and again, recorded once (CUDA graphs): replayed, it costs the processor next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class Recorder:
    """Recordings that share their memory, so that they may only be replayed one after the other, on one stream, and
    what one gave is gone with the next."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, work: Callable[[], T]) -> tuple[torch.cuda.CUDAGraph, T]:
        """A recording of `work`, and what it gives whenever it is replayed. `work` runs once before that."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # lets kernels be compiled, and libraries choose theirs
            work()
        torch.cuda.current_stream().wait_stream(stream)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Another thread may be conditioning meanwhile, and its allocations are no concern of the recording.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            given = work()
        return graph, given
