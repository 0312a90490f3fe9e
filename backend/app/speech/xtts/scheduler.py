"""Which request speaks in which slot. Lists and counters only: no tensor, no clock, no thread.

Interactive requests go before the others, and each kind keeps its order of arrival. So that a steady
stream of interactive requests starves nobody, the oldest other one is next once `PATIENCE` of them have
overtaken it. Whoever calls this serialises the calls.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from types import MappingProxyType

PATIENCE = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next step does: prefill `admit`, then decode `running`.

    Both hold (request id, slot), by slot. `running` has every request with a slot, those just admitted
    included.
    """

    admit: tuple[tuple[str, int], ...]
    running: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, order=True)
class _Request:
    arrival: int
    id: str
    interactive: bool


class Scheduler:
    """Requests wait, hold one of `slots` slots, and leave; the lowest free slot is taken first.

    Low slots first keeps the batch a prefix, which is what buckets of batch sizes want.
    """

    def __init__(self, slots: int) -> None:
        self._slots = _checked(slots)
        self._free = list(range(slots))
        self._requests: dict[str, _Request] = {}
        self._running: dict[str, int] = {}
        self._interactive: list[_Request] = []
        self._others: list[_Request] = []
        self._arrivals = 0
        self._overtaken = 0

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def waiting(self) -> tuple[str, ...]:
        """Ids of those without a slot: interactive ones, then the others, each oldest first."""
        return tuple(request.id for request in (*self._interactive, *self._others))

    @property
    def running(self) -> Mapping[str, int]:
        """The slot of each request that has one."""
        return MappingProxyType(self._running)

    def add(self, request_id: str, interactive: bool = False) -> None:
        """Let a request wait for a slot. Raises ValueError for an id that is already here."""
        if request_id in self._requests:
            raise ValueError(f"request {request_id!r} is already scheduled")
        request = _Request(self._arrivals, request_id, interactive)
        self._arrivals += 1
        self._requests[request_id] = request
        self._queue_of(request).append(request)

    def schedule(self) -> Plan:
        """Fill the free slots from those who wait, and say who speaks in this step."""
        admitted: dict[str, int] = {}
        while self._free and (request := self._next()) is not None:
            admitted[request.id] = self._running[request.id] = heappop(self._free)
        return Plan(_by_slot(admitted), _by_slot(self._running))

    def retire(self, request_id: str) -> int:
        """A running request ended, well or badly: free its slot and return it. Raises KeyError."""
        slot = self._running.pop(request_id)
        del self._requests[request_id]
        heappush(self._free, slot)
        return slot

    def cancel(self, request_id: str) -> bool:
        """Forget a request, waiting or running; False if it was not here (it may just have ended)."""
        if request_id in self._running:
            self.retire(request_id)
            return True
        request = self._requests.pop(request_id, None)
        if request is None:
            return False
        self._queue_of(request).remove(request)
        return True

    def requeue(self, request_id: str) -> None:
        """Take a running request's slot away; it waits again, in its old place. Raises KeyError."""
        slot = self._running.pop(request_id)
        heappush(self._free, slot)
        request = self._requests[request_id]
        insort(self._queue_of(request), request)

    def resize(self, slots: int) -> tuple[str, ...]:
        """Change the number of slots; returns who lost theirs by it and waits again, by slot.

        Those in the slots that remain keep them. A caller whose memory of them is gone as well
        requeues them.
        """
        self._slots = _checked(slots)
        evicted = [request_id for request_id, slot in _by_slot(self._running) if slot >= slots]
        for request_id in evicted:
            self.requeue(request_id)
        # In ascending order, which is a heap.
        self._free = sorted(set(range(slots)) - set(self._running.values()))
        return tuple(evicted)

    def _next(self) -> _Request | None:
        """Take the request whose turn it is out of its queue."""
        if self._interactive and not (self._others and self._overtaken >= PATIENCE):
            self._overtaken = self._overtaken + 1 if self._others else 0
            return self._interactive.pop(0)
        self._overtaken = 0
        return self._others.pop(0) if self._others else None

    def _queue_of(self, request: _Request) -> list[_Request]:
        return self._interactive if request.interactive else self._others


def _checked(slots: int) -> int:
    if slots < 1:
        raise ValueError(f"a scheduler needs at least one slot, not {slots}")
    return slots


def _by_slot(requests: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(requests.items(), key=lambda item: item[1]))
