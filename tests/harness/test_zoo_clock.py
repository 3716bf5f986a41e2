"""Time in the zoo: it passes only where everything waits for it."""

import itertools
import random
import sys
import threading
import time

import psutil
import pytest
import trio

from am2z import ExecutionTimeoutError, RuntimeConfig, processor
from am2z.queue import leases, lockkeeper, locks
from am2z.queue.client.fake import fake_client
from am2z.queue.client.url import parse_url
from harness import TestState
from harness.kit import Kit
from harness.outcome import Status
from harness.rules import RuleCheck
from harness.zoo.oneclock import one_clock
from harness.zoo.trial import BASES, ZooTrial
from tests.harness.conftest import make_rule

numbers = itertools.count()
"""Of namespaces: the server of one rule may be behind that of the one before."""


@pytest.fixture
def ask(monkeypatch):
    monkeypatch.setattr(RuleCheck, "is_published", True)

    def ask(body, base="local", **fields):
        kit = Kit(BASES[base], f"am2z-test-zoo-{next(numbers)}")
        return ZooTrial(kit, RuleCheck(make_rule(**fields), body), base).outcome()

    return ask


def test_a_wait_in_which_nothing_else_can_happen_costs_nothing(ask):
    async def sleep(kit):
        began = trio.current_time()
        with trio.move_on_after(5):
            await trio.sleep_forever()
        for _ in range(20):
            await trio.sleep(1)
        assert trio.current_time() - began >= 25

    found = ask(sleep)
    assert found.status is Status.PASS, found.reason
    assert found.seconds < 25


def test_no_wait_is_skipped_while_a_thread_works(ask):
    async def work(kit):
        with trio.fail_after(20):
            await trio.to_thread.run_sync(psutil.Process().cpu_percent, 0.1)

    found = ask(work)
    assert found.status is Status.PASS, found.reason


def test_a_rule_that_waits_for_ever_is_ended_by_its_limit(ask):
    async def wait(kit):
        await trio.sleep_forever()

    found = ask(wait)
    assert (found.status, "was not done within" in found.reason) == (Status.FAIL, True)
    assert found.seconds < 30


# --- on a queue


@processor
async def long(state: TestState, ctx) -> TestState:
    await trio.sleep(25)
    return state.evolve(count=state.count + 1)


@processor
def slow(state: TestState, ctx) -> TestState:
    time.sleep(0.2)
    return state.evolve(count=state.count + 1)


@processor(timeout=5)
async def endless(state: TestState, ctx) -> TestState:
    await trio.sleep_forever()


def test_a_lease_is_renewed_for_as_long_as_the_work_takes_by_this_clock(ask):
    async def work(kit):
        began = trio.current_time()
        async with kit.runtime(long, config=RuntimeConfig(lease=1)) as runtime:
            result = await runtime.execute(long, TestState())
        assert (result.unwrap().count, result.metadata.attempt) == (1, 1)
        assert trio.current_time() - began >= 25

    found = ask(work, base="queue")
    assert found.status is Status.PASS, found.lesson


def test_a_lock_is_kept_by_this_clock_and_let_go_by_it(ask):
    async def work(kit):
        async with kit.runtime() as runtime:
            async with runtime.lock("it", ttl=0.5) as held:
                await trio.sleep(10)
                assert held.lost is None
            async with runtime.lock("it", ttl=0.5):
                pass

    found = ask(work, base="queue")
    assert found.status is Status.PASS, found.lesson


def test_a_deadline_on_a_queue_comes_at_once_where_nothing_else_can_happen(ask):
    async def work(kit):
        async with kit.runtime(endless) as runtime:
            began = trio.current_time()
            result = await runtime.execute(endless, TestState())
            assert isinstance(result.error, ExecutionTimeoutError)
            assert 5 <= trio.current_time() - began < 6

    found = ask(work, base="queue")
    assert found.status is Status.PASS, found.lesson


def test_a_processor_in_a_thread_has_its_time(ask):
    async def work(kit):
        async with kit.runtime(slow) as runtime:
            result = await runtime.execute(slow, TestState())
        assert result.unwrap().count == 1

    found = ask(work, base="queue")
    assert found.status is Status.PASS, found.lesson


def test_afterwards_every_clock_is_what_it_was(ask):
    def seen():
        named = {name: module for name, module in sys.modules.items() if "fakeredis" in name}
        return {name: vars(module).get("time") for name, module in named.items()}

    with one_clock(trio.testing.MockClock()):
        pass  # imports what it needs
    before = seen()
    with one_clock(trio.testing.MockClock()):
        assert seen() != before
    assert seen() == before
    assert locks.time is time
    assert {leases.threading, lockkeeper.threading} == {threading}
    assert {leases.trio, lockkeeper.trio} == {trio}


def test_the_server_numbers_events_by_the_time_that_it_tells():
    clock, chance = trio.testing.MockClock(), random.Random(0)
    with one_clock(clock):
        server = fake_client(parse_url("fake://am2z-test-clock"))
        for step in [0.0, 0.001, 0.0009999, 5e-07, *(chance.random() for _ in range(300))]:
            clock.jump(step)
            seconds, micros = server.time()
            number = server.xadd("events", {"a": 1}).partition(b"-")[0]
            assert int(number) == seconds * 1000 + micros // 1000
        server.flushall()
