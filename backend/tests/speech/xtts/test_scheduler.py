"""The scheduler keeps its promises whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.speech.xtts.scheduler import PATIENCE, Plan, Scheduler


def test_free_slots_are_filled_in_order_of_arrival() -> None:
    scheduler = Scheduler(2)
    for name in "abc":
        scheduler.add(name)
    assert scheduler.schedule() == Plan(admit=(("a", 0), ("b", 1)), running=(("a", 0), ("b", 1)))
    assert scheduler.waiting == ("c",)
    assert scheduler.retire("a") == 0
    assert scheduler.schedule() == Plan(admit=(("c", 0),), running=(("c", 0), ("b", 1)))


def test_interactive_requests_go_first() -> None:
    scheduler = Scheduler(1)
    scheduler.add("batch")
    scheduler.add("first", interactive=True)
    scheduler.add("second", interactive=True)
    assert scheduler.waiting == ("first", "second", "batch")
    spoken = []
    for _ in range(3):
        spoken += [name for name, _ in scheduler.schedule().admit]
        scheduler.retire(spoken[-1])
    assert spoken == ["first", "second", "batch"]


def test_a_steady_stream_of_interactive_requests_starves_nobody() -> None:
    scheduler = Scheduler(1)
    scheduler.add("patient")
    spoken: list[str] = []
    for step in range(PATIENCE + 1):
        scheduler.add(f"urgent {step}", interactive=True)
        spoken += [name for name, _ in scheduler.schedule().admit]
        scheduler.retire(spoken[-1])
    assert spoken == [*(f"urgent {step}" for step in range(PATIENCE)), "patient"]


def test_the_youngest_gives_way_to_an_interactive_request() -> None:
    scheduler = Scheduler(2)
    for name in "abc":
        scheduler.add(name)
    scheduler.schedule()
    scheduler.add("urgent", interactive=True)
    assert scheduler.schedule() == Plan((("urgent", 1),), (("a", 0), ("urgent", 1)), ("b",))
    assert scheduler.waiting == ("b", "c")
    assert scheduler.schedule() == Plan((), (("a", 0), ("urgent", 1)))


def test_nobody_gives_way_twice_nor_to_others_nor_interactive_ones() -> None:
    scheduler = Scheduler(1)
    scheduler.add("batch")
    scheduler.schedule()
    scheduler.add("first", interactive=True)
    assert scheduler.schedule().evicted == ("batch",)
    scheduler.add("second", interactive=True)
    assert scheduler.schedule().evicted == ()
    for name in ("first", "second"):
        scheduler.retire(name)
        scheduler.schedule()
    assert dict(scheduler.running) == {"batch": 0}
    scheduler.add("third", interactive=True)
    assert scheduler.schedule() == Plan((), (("batch", 0),))
    scheduler.cancel("batch")
    scheduler.schedule()
    scheduler.add("batch")  # another of this name
    assert scheduler.retire("third") == 0
    scheduler.schedule()
    scheduler.add("fourth", interactive=True)
    assert scheduler.schedule().evicted == ("batch",)


def test_nobody_gives_way_in_vain() -> None:
    scheduler = Scheduler(4, room=10)
    scheduler.add("kept", interactive=True, size=6)
    for name in "ab":
        scheduler.add(name, size=2)
    scheduler.schedule()
    scheduler.add("urgent", interactive=True, size=5)
    assert scheduler.schedule().evicted == ()
    scheduler.cancel("urgent")
    scheduler.add("urgent", interactive=True, size=3)
    assert scheduler.schedule() == Plan((("urgent", 1),), (("kept", 0), ("urgent", 1)), ("b", "a"))


def test_cancel_frees_the_place_of_a_waiting_and_of_a_running_request() -> None:
    scheduler = Scheduler(1)
    scheduler.add("running")
    scheduler.add("waiting")
    scheduler.add("last")
    scheduler.schedule()
    assert scheduler.cancel("waiting")
    assert scheduler.cancel("running")
    assert not scheduler.cancel("running")
    assert scheduler.schedule().running == (("last", 0),)


def test_halving_puts_those_without_a_slot_back_in_their_old_places() -> None:
    scheduler = Scheduler(4)
    for name in "abcdef":
        scheduler.add(name)
    scheduler.schedule()
    assert scheduler.resize(2) == ("c", "d")
    assert dict(scheduler.running) == {"a": 0, "b": 1}
    assert scheduler.waiting == ("c", "d", "e", "f")
    scheduler.requeue("b")
    scheduler.requeue("a")
    assert scheduler.waiting == ("a", "b", "c", "d", "e", "f")
    assert scheduler.resize(3) == ()
    assert scheduler.schedule().running == (("a", 0), ("b", 1), ("c", 2))


@pytest.mark.parametrize("interactive", [False, True])
def test_whoever_does_not_fit_yet_is_not_overtaken(interactive: bool) -> None:
    scheduler = Scheduler(4, room=10)
    scheduler.add("a", interactive, size=6)
    scheduler.schedule()
    scheduler.add("b", interactive, size=5)
    scheduler.add("c", size=1)
    assert scheduler.schedule().running == (("a", 0),)
    scheduler.retire("a")
    assert scheduler.schedule().running == (("b", 0), ("c", 1))


def test_room_comes_back_however_a_request_leaves() -> None:
    scheduler = Scheduler(4, room=10)
    for leave in (scheduler.retire, scheduler.cancel, scheduler.requeue):
        scheduler.add("large", size=10)
        scheduler.schedule()
        leave("large")
        assert [name for name, _ in scheduler.schedule().running] == ["large"] * (leave == scheduler.requeue)


def test_an_interactive_request_overtakes_one_that_does_not_fit_but_not_for_ever() -> None:
    scheduler = Scheduler(2, room=10)
    scheduler.add("running", size=6)
    scheduler.schedule()
    scheduler.add("large", size=5)
    for number in range(PATIENCE):
        scheduler.add(f"urgent {number}", interactive=True, size=1)
        assert [name for name, _ in scheduler.schedule().admit] == [f"urgent {number}"]
        scheduler.retire(f"urgent {number}")
    scheduler.add("late", interactive=True, size=1)
    assert scheduler.schedule().admit == ()
    scheduler.retire("running")
    assert [name for name, _ in scheduler.schedule().admit] == ["large", "late"]


def test_a_smaller_room_after_memory_ran_out() -> None:
    scheduler = Scheduler(4, room=8)
    for name in "abc":
        scheduler.add(name, size=3)
    assert len(scheduler.schedule().running) == 2
    for name in "ab":
        scheduler.requeue(name)
    assert scheduler.resize(2, room=4) == ()
    for name in "abc":
        assert scheduler.schedule().running == ((name, 0),)
        scheduler.retire(name)


def test_misuse_is_refused() -> None:
    scheduler = Scheduler(1)
    with pytest.raises(ValueError, match="takes 1 of a room of 0"):
        scheduler.add("large", size=1)
    scheduler.add("a")
    with pytest.raises(ValueError, match="already"):
        scheduler.add("a", interactive=True)
    with pytest.raises(KeyError):
        scheduler.retire("a")  # waits; it has no slot to free
    with pytest.raises(KeyError):
        scheduler.requeue("nobody")
    with pytest.raises(ValueError, match="at least one"):
        scheduler.resize(0)
    assert scheduler.schedule().admit == (("a", 0),)


LARGEST = 4


class SchedulerMachine(RuleBasedStateMachine):
    """Joins, steps, ends, cancels, evictions and resizes in any order, beside a plain account of them."""

    def __init__(self) -> None:
        super().__init__()
        self.slots, self.room = 3, 6
        self.scheduler = Scheduler(self.slots, self.room)
        self.born = 0
        self.size: dict[str, int] = {}
        self.arrival: dict[str, int] = {}
        self.interactive: dict[str, bool] = {}
        self.waiting: set[str] = set()
        self.running: dict[str, int] = {}
        self.gave_way: set[str] = set()
        self.overtaken = 0

    def of_kind(self, interactive: bool) -> list[str]:
        kind = [name for name in self.waiting if self.interactive[name] == interactive]
        return sorted(kind, key=self.arrival.__getitem__)

    def forget(self, name: str) -> None:
        self.waiting.discard(name)
        self.running.pop(name, None)
        self.gave_way.discard(name)

    def wait_again(self, name: str) -> None:
        del self.running[name]
        self.waiting.add(name)

    @rule(interactive=st.booleans(), size=st.integers(0, LARGEST))
    def join(self, interactive: bool, size: int) -> None:
        name = f"r{self.born}"
        self.scheduler.add(name, interactive, size)
        self.arrival[name], self.interactive[name], self.size[name] = self.born, interactive, size
        self.born += 1
        self.waiting.add(name)

    @rule()
    def ask_for_too_much(self) -> None:
        with pytest.raises(ValueError, match="room"):
            self.scheduler.add("too large", size=self.room + 1)

    @property
    def left(self) -> int:
        return self.room - sum(self.size[name] for name in self.running)

    @rule()
    def step(self) -> None:
        plan = self.scheduler.schedule()
        admitted: list[str] = []
        evicted: list[str] = []
        while (name := self.whose_turn()) is not None:
            if len(self.running) < self.slots and self.size[name] <= self.left:
                urgent = self.interactive[name]
                self.overtaken = self.overtaken + 1 if urgent and self.of_kind(False) else 0
                self.waiting.remove(name)
                self.running[name] = min({*range(self.slots)} - {*self.running.values()})
                admitted.append(name)
            elif self.interactive[name] and (victims := self.who_could_give_way(name, admitted)):
                evicted.append(victims[-1])
                self.gave_way.add(victims[-1])
                self.wait_again(victims[-1])
            else:
                break
        assert {name for name, _ in plan.admit} == set(admitted)
        assert plan.evicted == tuple(evicted)
        assert dict(plan.running) == self.running
        assert [slot for _, slot in plan.running] == sorted(self.running.values())

    def who_could_give_way(self, to: str, admitted: list[str]) -> list[str]:
        others = [name for name in self.running if not self.interactive[name]]
        others = [name for name in others if name not in self.gave_way and name not in admitted]
        if self.left + sum(self.size[name] for name in others) < self.size[to]:
            return []
        return sorted(others, key=self.arrival.__getitem__)

    def whose_turn(self) -> str | None:
        """Interactive ones first, until PATIENCE of them have overtaken others that wait; whether they fit or not."""
        urgent, others = self.of_kind(True), self.of_kind(False)
        if urgent and not (others and self.overtaken >= PATIENCE):
            return urgent[0]
        return others[0] if others else None

    @rule(interactive=st.booleans(), count=st.integers(2, 2 * PATIENCE), size=st.integers(0, 2))
    def crowd(self, interactive: bool, count: int, size: int) -> None:
        for _ in range(count):
            self.join(interactive, size)

    @precondition(lambda self: self.running)
    @rule()
    def all_end(self) -> None:
        for name in sorted(self.running):
            assert self.scheduler.retire(name) == self.running[name]
            self.forget(name)
        self.step()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        assert self.scheduler.retire(name) == self.running[name]
        self.forget(name)

    @precondition(lambda self: self.running or self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted({*self.running, *self.waiting})))
        assert self.scheduler.cancel(name)
        assert not self.scheduler.cancel(name)
        self.forget(name)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        self.scheduler.requeue(name)
        self.wait_again(name)

    @rule(slots=st.integers(1, 6), room=st.integers(LARGEST, 2 * LARGEST))
    def resize(self, slots: int, room: int) -> None:
        """There is always room for the largest."""
        if room < self.room:
            for name in sorted(self.running):
                self.scheduler.requeue(name)
                self.wait_again(name)
        self.slots, self.room = slots, room
        evicted = self.scheduler.resize(slots, room)
        assert set(evicted) == {name for name, slot in self.running.items() if slot >= slots}
        for name in evicted:
            self.wait_again(name)

    @invariant()
    def accounts_agree(self) -> None:
        assert self.scheduler.running == self.running
        assert self.scheduler.waiting == (*self.of_kind(True), *self.of_kind(False))
        assert len(set(self.running.values())) == len(self.running), "two requests in one slot"
        assert all(0 <= slot < self.slots for slot in self.running.values())
        assert self.left >= 0, "more was given out than there is"

    def teardown(self) -> None:
        """Whoever is here at the end speaks, in a bounded number of steps: no slot and no one was lost."""
        left = {*self.running, *self.waiting}
        for _ in range(len(left) + 1):
            running = self.scheduler.schedule().running
            assert running or not left
            for name, _ in running:
                self.scheduler.retire(name)
                left.remove(name)
            if not left:
                break
        assert not left


SchedulerMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAnyOrder = SchedulerMachine.TestCase
