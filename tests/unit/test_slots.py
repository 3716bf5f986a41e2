"""Slots: never more than allowed, first come first served, and whoever leaves leaves nothing."""

import random
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from am2z.context import Context
from am2z.policy import QueueOptions
from am2z.processor import Processor, processor
from am2z.slots import Slot, Slots
from am2z.state import AppState


def worker(name: str, concurrency: int | None = None, priority: int = 0) -> Processor[AppState]:
    @processor(name=name, queue=QueueOptions(concurrency=concurrency, priority=priority))
    async def fn(state: AppState, ctx: Context) -> AppState:
        return state

    return fn


A, B = worker("a"), worker("b")


def is_empty(slots: Slots) -> bool:
    return (
        (slots.active, slots.waiting, len(slots._resuming)) == (0, 0, 0)
        and all(line.active == 0 and line.depth == 0 for line in slots._lines.values())
        and slots.room(A) == slots.total
    )


class Line:
    """Tasks that take a slot in a given order and note when they got it."""

    def __init__(self, slots: Slots, nursery: trio.Nursery) -> None:
        self.slots = slots
        self.nursery = nursery
        self.got: list[str] = []
        self.scopes: dict[str, trio.CancelScope] = {}
        self.gates: dict[str, trio.Event] = {}

    async def add(self, label: str, who: Processor[Any], *, resuming: bool = False) -> None:
        self.scopes[label], self.gates[label] = trio.CancelScope(), trio.Event()
        self.nursery.start_soon(self._hold, label, Slot(self.slots, who), resuming)
        await wait_all_tasks_blocked()

    async def _hold(self, label: str, slot: Slot, resuming: bool) -> None:
        with self.scopes[label]:
            await slot.acquire(resuming=resuming)
            self.got.append(label)
            try:
                await self.gates[label].wait()
            finally:
                slot.release()

    async def end(self, *labels: str) -> None:
        for label in labels:
            self.gates[label].set()
            await wait_all_tasks_blocked()


@pytest.mark.trio
async def test_who_came_first_is_served_first() -> None:
    slots = Slots(1)
    async with trio.open_nursery() as nursery:
        line = Line(slots, nursery)
        for label in "12345":
            await line.add(label, A if label in "135" else B)
        assert (slots.active, slots.waiting) == (1, 4)
        await line.end(*"12345")
    assert line.got == list("12345")
    assert is_empty(slots)


@pytest.mark.trio
async def test_the_higher_priority_is_served_first() -> None:
    slots = Slots(1)
    low, high = worker("low", priority=-1), worker("high", priority=5)
    async with trio.open_nursery() as nursery:
        line = Line(slots, nursery)
        await line.add("first", A)
        await line.add("low", low)
        await line.add("normal", A)
        await line.add("high", high)
        await line.end("first", "high", "normal", "low")
    assert line.got == ["first", "high", "normal", "low"]


@pytest.mark.trio
async def test_who_resumes_goes_before_every_priority() -> None:
    slots = Slots(1)
    high = worker("high", priority=5)
    async with trio.open_nursery() as nursery:
        line = Line(slots, nursery)
        await line.add("first", A)
        await line.add("high", high)
        await line.add("back", B, resuming=True)
        await line.end("first", "back", "high")
    assert line.got == ["first", "back", "high"]


@pytest.mark.trio
async def test_a_processor_at_its_limit_does_not_hold_up_the_others() -> None:
    slots = Slots(3)
    one = worker("one", concurrency=1)
    async with trio.open_nursery() as nursery:
        line = Line(slots, nursery)
        await line.add("1", one)
        await line.add("2", one)
        assert slots.room(one) == 0
        await line.add("3", one, resuming=True)
        await line.add("4", A)
        assert line.got == ["1", "4"]
        assert slots.room(A) == 1
        await line.end("1", "3", "2", "4")
    assert line.got == ["1", "4", "3", "2"]
    assert is_empty(slots)


@pytest.mark.trio
async def test_a_waiter_that_is_cancelled_leaves_nothing_and_nobody_waits_in_vain() -> None:
    slots = Slots(1)
    async with trio.open_nursery() as nursery:
        line = Line(slots, nursery)
        for label in "1234":
            await line.add(label, A, resuming=label == "2")
        for label in "23":
            line.scopes[label].cancel()
        await wait_all_tasks_blocked()
        assert (slots.active, slots.waiting, len(slots._resuming)) == (1, 1, 0)
        await line.end("1", "4")
    assert line.got == ["1", "4"]
    assert is_empty(slots)


@pytest.mark.trio
async def test_a_higher_limit_by_registration_serves_at_once_who_waited_for_it() -> None:
    slots = Slots(5)
    async with trio.open_nursery() as nursery:
        line = Line(slots, nursery)
        await line.add("1", worker("p", concurrency=1))
        await line.add("2", worker("p", concurrency=1))
        assert line.got == ["1"]
        await line.add("3", worker("p", concurrency=3))
        assert sorted(line.got) == ["1", "2", "3"]
        await line.end("1", "2", "3")


def test_a_slot_is_taken_without_waiting_or_not_at_all() -> None:
    slots = Slots(1)
    first, second = Slot(slots, A), Slot(slots, A)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    first.release()
    assert second.try_acquire()
    second.release()
    assert is_empty(slots)


@pytest.mark.trio
async def test_who_holds_a_slot_gets_no_second_one() -> None:
    slots = Slots(2)
    slot = Slot(slots, A)
    await slot.acquire()
    await slot.acquire()
    assert slots.active == 1


@pytest.mark.trio
async def test_room_for_somebody_new_is_told_when_nobody_waits_to_go_on() -> None:
    slots = Slots(1)
    told: list[int] = []
    async with trio.open_nursery() as nursery:
        line = Line(slots, nursery)
        await line.add("1", A)
        slots.on_room.append(lambda: told.append(slots.free))
        await line.add("back", A, resuming=True)
        await line.end("1")
        assert told == []
        await line.end("back")
    assert told == [1]


def test_slots_that_are_promised_are_not_free() -> None:
    slots, told = Slots(3), []
    slots.on_room.append(lambda: told.append(slots.free))
    with slots.promising(2):
        assert (slots.free, slots.room(A)) == (1, 1)
    assert told == [3]  # whoever found too few before looks again


# Lending


@pytest.mark.trio
async def test_a_slot_that_is_lent_serves_others_and_comes_back_before_the_new() -> None:
    slots = Slots(1)
    parent, child, other = Slot(slots, A), Slot(slots, B), Slot(slots, B)
    await parent.acquire()
    parent.lend()
    await child.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.acquire)
        await wait_all_tasks_blocked()
        nursery.start_soon(parent.take_back)
        await wait_all_tasks_blocked()
        child.release()
        await wait_all_tasks_blocked()
        assert (parent.held, other.held) == (True, False)
        parent.release()
    assert other.held


@pytest.mark.trio
async def test_several_calls_at_once_share_one_slot_and_only_the_last_takes_it_again() -> None:
    slots = Slots(1)
    parent = Slot(slots, A)
    await parent.acquire()
    parent.lend()
    parent.lend()
    await parent.take_back()
    assert not parent.held
    await parent.take_back()
    assert parent.held
    parent.release()
    assert is_empty(slots)


@pytest.mark.trio
async def test_a_call_that_begins_while_another_comes_back_gets_the_slot_first() -> None:
    slots = Slots(1)
    parent, stranger = Slot(slots, A), Slot(slots, B)
    await parent.acquire()
    parent.lend()
    await stranger.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent.take_back)
        await wait_all_tasks_blocked()
        parent.lend()
        stranger.release()
        await wait_all_tasks_blocked()
        assert not parent.held  # it would wait for itself
        await parent.take_back()
    assert parent.held
    parent.release()
    assert is_empty(slots)


@pytest.mark.trio
async def test_who_is_called_has_its_place_before_the_caller_lends_its_slot() -> None:
    slots = Slots(1)
    parent, stranger, child = Slot(slots, A), Slot(slots, B), Slot(slots, B)
    await parent.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stranger.acquire)
        await wait_all_tasks_blocked()
        child.queue_up()
        assert not child.try_acquire()
        parent.lend()
        assert child.try_acquire()
        await child.acquire()
        child.release()
        await wait_all_tasks_blocked()
        assert stranger.held
        stranger.release()
    assert is_empty(slots)


@pytest.mark.trio
async def test_a_place_in_line_is_given_back_as_a_slot_is() -> None:
    slots = Slots(1)
    first, second = Slot(slots, A), Slot(slots, A)
    second.queue_up()
    second.queue_up()
    assert second.held
    first.queue_up()
    first.release()
    first.queue_up()
    with trio.move_on_after(0):
        await first.acquire()
    second.release()
    assert not first.held
    assert is_empty(slots)


# Any schedule


class Schedule:
    """Executions that call each other and are cancelled, at random but the same for a seed."""

    def __init__(self, total: int, workers: list[Processor[Any]], seed: int) -> None:
        self.slots = Slots(total)
        self.workers = workers
        self.rng = random.Random(seed)
        self.running = dict.fromkeys((each.name for each in workers), 0)

    async def run(self) -> None:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(self.execute, nursery, 0)

    async def execute(self, nursery: trio.Nursery, depth: int) -> None:
        who = self.rng.choice(self.workers)
        await self.hold(nursery, depth, who, Slot(self.slots, who))

    async def hold(
        self, nursery: trio.Nursery, depth: int, who: Processor[Any], slot: Slot
    ) -> None:
        scope = trio.CancelScope()
        if self.rng.random() < 0.3:
            nursery.start_soon(self.cancel_later, scope)
        try:
            with scope:
                await slot.acquire(resuming=depth > 0)
                await self.work(who, slot)
                if depth < 3 and self.rng.random() < 0.6:
                    async with trio.open_nursery() as calls:
                        for _ in range(self.rng.randrange(1, 4)):
                            calls.start_soon(self.call, slot, nursery, depth)
                    await self.work(who, slot)
        finally:
            slot.release()

    async def call(self, slot: Slot, nursery: trio.Nursery, depth: int) -> None:
        await self.nap()
        called = Slot(self.slots, who := self.rng.choice(self.workers))
        if self.rng.random() < 0.7:
            called.queue_up()
        slot.lend()
        try:
            await self.hold(nursery, depth + 1, who, called)
        finally:
            await slot.take_back()

    async def work(self, who: Processor[Any], slot: Slot) -> None:
        assert slot.held
        self.running[who.name] += 1
        assert sum(self.running.values()) <= self.slots.active <= self.slots.total
        limit = who.queue.concurrency
        assert limit is None or self.running[who.name] <= limit
        try:
            await self.nap()
        finally:
            self.running[who.name] -= 1

    async def nap(self) -> None:
        for _ in range(self.rng.randrange(3)):
            await trio.lowlevel.checkpoint()

    async def cancel_later(self, scope: trio.CancelScope) -> None:
        for _ in range(self.rng.randrange(8)):
            await trio.lowlevel.checkpoint()
        scope.cancel()


@settings(deadline=None, max_examples=60)
@given(
    total=st.integers(1, 4),
    limits=st.lists(
        st.tuples(st.none() | st.integers(1, 2), st.integers(-1, 1)), min_size=1, max_size=3
    ),
    seed=st.integers(0, 2**32),
)
def test_no_schedule_breaks_a_limit_loses_a_slot_or_blocks_for_ever(
    total: int, limits: list[tuple[int | None, int]], seed: int
) -> None:
    workers = [
        worker(f"p{i}", concurrency=limit, priority=p) for i, (limit, p) in enumerate(limits)
    ]
    schedule = Schedule(total, workers, seed)
    trio.run(schedule.run)
    slots = schedule.slots
    assert (slots.active, slots.waiting, len(slots._resuming)) == (0, 0, 0)
    assert all(line.active == 0 and not line.waiting for line in slots._lines.values())
    assert all(slots.room(w) == min(total, w.queue.concurrency or total) for w in workers)
