"""Which request speaks in which slot. Lists and counters only: no tensor, no clock, no thread.

Interactive requests go before the others, and each kind keeps its order of arrival. Where all slots are taken,
the youngest other request gives way and waits again, once at most. So that a steady stream of interactive
requests starves nobody, the oldest other one is next once `PATIENCE` of them have overtaken it. Beside a slot, a request takes some of a `room` that all share; if it does not fit yet, those
after it wait as well. Whoever calls this serialises the calls.
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
    """What the next step does: forget what was spoken of `evicted`, prefill `admit`, then decode `running`.

    The latter two hold (request id, slot), by slot. `running` has every request with a slot, those just
    admitted included; those evicted wait again.
    """

    admit: tuple[tuple[str, int], ...]
    running: tuple[tuple[str, int], ...]
    evicted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class _Request:
    arrival: int
    id: str
    interactive: bool
    size: int


class Scheduler:
    """Requests wait, hold one of `slots` slots and some of `room`, and leave; the lowest free slot is taken first.

    Low slots first keeps the batch a prefix, which is what buckets of batch sizes want.
    """

    def __init__(self, slots: int, room: int = 0) -> None:
        self._slots = _checked(slots)
        self._room = room
        self._taken = 0  # of the room
        self._free = list(range(slots))
        self._requests: dict[str, _Request] = {}
        self._running: dict[str, int] = {}
        self._interactive: list[_Request] = []
        self._others: list[_Request] = []
        self._gave_way: set[str] = set()  # those who had a slot taken away for an interactive one
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

    def add(self, request_id: str, interactive: bool = False, size: int = 0) -> None:
        """Let a request wait for a slot and `size` of the room. Raises ValueError for an id that is already here,
        and for more than the whole room."""
        if request_id in self._requests:
            raise ValueError(f"request {request_id!r} is already scheduled")
        if size > self._room:
            raise ValueError(f"request {request_id!r} takes {size} of a room of {self._room}")
        request = _Request(self._arrivals, request_id, interactive, size)
        self._arrivals += 1
        self._requests[request_id] = request
        self._queue_of(request).append(request)

    def schedule(self) -> Plan:
        """Fill the free slots from those who wait, and say who speaks in this step."""
        admitted: dict[str, int] = {}
        evicted: list[str] = []
        while True:
            if self._free and (request := self._next()) is not None:
                admitted[request.id] = self._running[request.id] = heappop(self._free)
                self._taken += request.size
            elif (victim := self._victim(admitted)) is not None:
                self.requeue(victim.id)
                self._gave_way.add(victim.id)
                evicted.append(victim.id)
            else:
                return Plan(_by_slot(admitted), _by_slot(self._running), tuple(evicted))

    def retire(self, request_id: str) -> int:
        """A running request ended, well or badly: free its slot and return it. Raises KeyError."""
        slot = self._leave(request_id)
        del self._requests[request_id]
        self._gave_way.discard(request_id)
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
        self._gave_way.discard(request_id)
        return True

    def requeue(self, request_id: str) -> None:
        """Take a running request's slot away; it waits again, in its old place. Raises KeyError."""
        self._leave(request_id)
        request = self._requests[request_id]
        insort(self._queue_of(request), request)

    def resize(self, slots: int, room: int = 0) -> tuple[str, ...]:
        """Change the number of slots, and the room; returns who lost theirs by it and waits again, by slot.

        Those in the slots that remain keep them. A caller whose memory of them is gone as well
        requeues them; where the room shrinks, it has done so.
        """
        self._slots, self._room = _checked(slots), room
        evicted = [request_id for request_id, slot in _by_slot(self._running) if slot >= slots]
        for request_id in evicted:
            self.requeue(request_id)
        # In ascending order, which is a heap.
        self._free = sorted(set(range(slots)) - set(self._running.values()))
        return tuple(evicted)

    def _next(self) -> _Request | None:
        """Take the request whose turn it is out of its queue, if it fits."""
        first = self._interactive_next()
        queue = self._interactive if first else self._others
        if not queue or self._taken + queue[0].size > self._room:
            return None
        self._overtaken = self._overtaken + 1 if first and self._others else 0
        return queue.pop(0)

    def _interactive_next(self) -> bool:
        return bool(self._interactive) and not (self._others and self._overtaken >= PATIENCE)

    def _victim(self, admitted: Mapping[str, int]) -> _Request | None:
        """Who gives way to the interactive request whose turn it is; nobody, if it would not fit all the same."""
        if not self._interactive_next():
            return None
        running = (self._requests[name] for name in self._running if name not in admitted)
        others = [each for each in running if not each.interactive and each.id not in self._gave_way]
        room = self._room - self._taken + sum(each.size for each in others)
        return max(others) if others and self._interactive[0].size <= room else None

    def _leave(self, request_id: str) -> int:
        """Take a running request's slot and room away."""
        slot = self._running.pop(request_id)
        heappush(self._free, slot)
        self._taken -= self._requests[request_id].size
        return slot

    def _queue_of(self, request: _Request) -> list[_Request]:
        return self._interactive if request.interactive else self._others


def _checked(slots: int) -> int:
    if slots < 1:
        raise ValueError(f"a scheduler needs at least one slot, not {slots}")
    return slots


def _by_slot(requests: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(requests.items(), key=lambda item: item[1]))
