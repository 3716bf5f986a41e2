"""Work that begins later, and work that failed for good."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from math import inf, nan
from typing import Any, cast

import pytest
import trio

from am2z import (
    BusinessError,
    ConfigurationError,
    Context,
    Failure,
    QueueStats,
    RuntimeConfig,
    SessionStoppedError,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import (
    CLOCK_GRAIN,
    Broken,
    Gate,
    assert_waited,
    increment,
    make,
    within,
)
from harness.conformance._watching import committed
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition

# One of them is not this machine's, wherever it stands; east and west of it a mistake shows
# in another way.
ZONES = (UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-8, minutes=-30)))


@rule("EXE-042")
async def test_delayed_work_begins_when_it_is_due_and_not_before(kit: Kit) -> None:
    starts: list[float] = []

    async def note(state: TestState, _ctx: Context) -> TestState:
        starts.append(trio.current_time())
        return state

    noting = make("noting", note)
    # One slot: what waits for its time must not hold it.
    async with kit.runtime(noting, increment, config=RuntimeConfig(concurrency=1)) as runtime:
        far = await runtime.submit(noting, TestState(), delay=3600)
        for _ in range(3):
            assert (await runtime.execute(increment, TestState())).success
        assert (await runtime.queue_stats())["noting"].delayed == 1
        assert starts == [], "work began an hour too early"
        began = trio.current_time()
        handle = await runtime.submit(noting, TestState(), delay=0.05)
        await handle.result()
        assert len(starts) == 1, "what is due in an hour began with what is due now"
        assert (await runtime.queue_stats())["noting"].delayed == 1
        await far.cancel()
    assert_waited(kit, [starts[0] - began], [0.05])
    await _look_at_the_order(kit)
    await _look_at_many(kit)


async def _look_at_many(kit: Kit) -> None:
    """However many are due at one moment, each of them runs."""
    async with kit.runtime(increment) as runtime:
        moment = time.time() + 0.02
        handles = [
            await runtime.submit(increment, TestState(), at=moment) for _ in range(kit.share(250))
        ]
        with within(kit, "the end of all that was due at one moment"):
            results = [await handle.result() for handle in handles]
    assert all(result.success for result in results)


async def _look_at_the_order(kit: Kit) -> None:
    """What is due first begins first, whenever it was submitted; its session is there meanwhile."""
    order: list[int] = []

    async def note(state: TestState, _ctx: Context) -> TestState:
        order.append(state.count)
        return state

    async def is_delayed() -> bool:
        return (await runtime.session_stats("s")).get("noting") == QueueStats(delayed=1)

    noting = make("noting", note)
    async with kit.runtime(noting, config=RuntimeConfig(concurrency=1)) as runtime:
        far = await runtime.submit(noting, TestState(), "s", delay=3600)
        await wait_for_condition(is_delayed, message="delayed work to be counted so")
        assert await runtime.active_sessions() == ["s"]
        await far.cancel()
        for step in (0.05, 0.3, 2.0):  # a machine may stand still, but not for longer each time
            order.clear()
            handles = [
                await runtime.submit(noting, TestState(count=n), "s", delay=n * step)
                for n in (3, 1, 2)
            ]
            for handle in handles:
                await handle.result()
            if order == [1, 2, 3]:
                break
        assert (await committed(runtime, "s")).version % 3 == 0, "delayed work was not committed"
    assert order == [1, 2, 3], "what was due first did not begin first"


@rule("EXE-043")
async def test_work_for_a_time_that_is_past_begins_at_once(kit: Kit) -> None:
    async with kit.runtime(increment) as runtime:
        events = TestEventCollector(runtime).start("processor:active")
        for zone in (None, *ZONES):
            # "Now" is what the runtime takes for it, whose clock may be another one.
            await runtime.execute(increment, TestState())
            moment = events.events()[-1].time + 0.05
            began = trio.current_time()
            at: datetime | float = moment
            if zone is not None:
                at = datetime.fromtimestamp(moment, zone)
            handle = await runtime.submit(increment, TestState(), at=at)
            with within(kit, f"the start of work for a time that was given in {zone}"):
                assert (await handle.result()).success
            # Where trio's clock is not the wall's, a wait is part of the one and part of the other.
            early = moment - events.events()[-1].time - (trio.current_time() - began)
            assert early <= 2 * CLOCK_GRAIN, f"work began {early} s before its time"
        events.stop()
        over: list[datetime | float] = [time.time() - 60, *map(datetime.now, ZONES)]
        for past in over:
            handle = await runtime.submit(increment, TestState(), at=past)
            with within(kit, "the result of work that is due"):
                assert (await handle.result()).success
        for at_once in ({"delay": 0.0}, {"delay": 0}, {"at": 0.0}, {"delay": None, "at": None}):
            handle = await runtime.submit(increment, TestState(), **at_once)
            with within(kit, f"the result of work for {at_once}"):
                assert (await handle.result()).success
        wrong: list[dict[str, Any]] = [
            *({"delay": 1, "at": time.time()}, {"delay": 0, "at": 0}, {"at": datetime(2030, 1, 1)}),
            *({name: number} for name in ("delay", "at") for number in (-1, inf, nan, "1")),
        ]
        taken: list[dict[str, Any]] = []
        for options in wrong:
            try:
                await runtime.submit(increment, TestState(), **options)
            except ConfigurationError:
                continue
            taken.append(options)
        assert taken == [], "what makes no sense was taken"


@rule("EXE-044")
async def test_delayed_work_can_be_cancelled_before_it_begins(kit: Kit) -> None:
    gate = Gate()
    async with kit.runtime(gate.processor) as runtime:
        handle = await runtime.submit(gate.processor, TestState(), delay=3600)
        with within(kit, "the end of a cancelled execution"):
            await handle.cancel()
            result = await handle.result()
        assert not result.success
        assert not gate.started.is_set()
        assert (await runtime.queue_stats())["gate"].delayed == 0


@rule("ERR-027")
async def test_what_failed_for_good_can_be_looked_at(kit: Kit) -> None:
    async def refuse(state: TestState, _ctx: Context) -> Failure[TestState]:
        error = BusinessError("no chairs left", context={"sku": "chair"})
        return Failure(error, state=state.evolve(count=0))  # what is kept is the input all the same

    async def do_without(state: TestState, ctx: Context) -> TestState:
        await ctx.call("refusing", state)
        return state

    refusing, also = make("refusing", refuse), make("also", refuse)
    careful, gate = make("careful", do_without), Gate()
    async with kit.runtime(refusing, also, careful, gate.processor, increment) as runtime:
        failed = await runtime.execute(refusing, TestState(count=7), "s")
        await runtime.execute(increment, TestState())
        letters = await runtime.dead.list()
        assert len(letters) == 1, f"one execution failed for good; dead letters: {letters}"
        letter = letters[0]
        assert await runtime.dead.list("increment") == []
        assert (await runtime.dead.get(failed.metadata.execution_id)) is not None
        assert letter.execution_id == failed.metadata.execution_id
        assert (letter.processor_name, letter.session_id) == ("refusing", "s")
        assert isinstance(letter.error, BusinessError)
        assert letter.error.context == {"sku": "chair"}
        state = letter.state()
        assert isinstance(state, TestState)
        assert state.count == 7
        assert await runtime.dead.drop(letter.execution_id)
        assert not await runtime.dead.drop(letter.execution_id)
        assert await runtime.dead.list() == []
        failures = []
        for _ in range(3):
            failures.append((await runtime.execute(refusing, TestState())).metadata.execution_id)
            await trio.sleep(2 * CLOCK_GRAIN)  # the next one fails later, by any clock
        listed = [letter.execution_id for letter in await runtime.dead.list()]
        assert listed == failures[::-1], "the newest dead letter comes first"
        newest = await runtime.dead.list(limit=2)
        assert [letter.execution_id for letter in newest] == failures[:0:-1]
        assert {letter.session_id for letter in newest} == {None}
        assert len(await runtime.dead.list("refusing")) == 3
        later = await runtime.execute(also, TestState())
        asked = await runtime.dead.list("refusing", limit=1)
        assert [letter.execution_id for letter in asked] == failures[-1:]
        assert await runtime.dead.drop(later.metadata.execution_id)
        assert await runtime.dead.get("nobody") is None
        for execution_id in failures:
            assert await runtime.dead.drop(execution_id)
        assert (await runtime.execute(careful, TestState())).success
        assert await runtime.dead.list() == [], "the error of a call is its caller's"
        handle = await runtime.submit(gate.processor, TestState())
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        await handle.cancel()
        assert await runtime.dead.list() == [], "what was cancelled has not failed"
    await _look_at_stopped_work(kit)


async def _look_at_stopped_work(kit: Kit) -> None:
    """What ends with its runtime is no dead letter, whether it is done later or not."""
    stopped = Gate("stopped")
    config = RuntimeConfig(shutdown_grace=0)
    async with kit.runtime(stopped.processor, config=config) as runtime:
        await runtime.submit(stopped.processor, TestState())
        with within(kit, "the start of an execution"):
            await stopped.started.wait()
        await runtime.stop()
        stopped.open()
        await runtime.start()
        assert await runtime.dead.list() == [], "what was stopped has not failed"


@rule("ERR-028")
async def test_a_dead_letter_runs_again_from_its_input(kit: Kit) -> None:
    broken = Broken()
    work = broken.processor
    async with kit.runtime(work) as runtime:
        stays = (await runtime.execute(work, TestState(count=5))).metadata.execution_id
        failed = await runtime.execute(work, TestState(count=7), "s")
        broken.is_mended = True
        new_id = await runtime.dead.retry(failed.metadata.execution_id)
        assert new_id is not None
        handle = await runtime.submit(work, TestState(), "s", execution_id=new_id)
        result = await handle.result()
        kept = await committed(runtime, "s")
        assert result.state.count == 8
        assert (kept.version, kept.state.count) == (1, 8)
        left = [letter.execution_id for letter in await runtime.dead.list()]
        assert left == [stays], "a retry took another letter along"
        anew = await runtime.dead.retry(stays)
        assert anew is not None
        handle = await runtime.submit(work, TestState(), execution_id=anew)  # in no session
        assert (await handle.result()).state.count == 6
        assert await runtime.active_sessions() == ["s"]
        assert await runtime.dead.list() == []
        assert await runtime.dead.retry(failed.metadata.execution_id) is None
        broken.is_mended = False
        again = await runtime.execute(work, TestState(count=1), "t")
        ids = [again.metadata.execution_id]
        second = await runtime.dead.retry(ids[0])
        assert second is not None
        await (await runtime.submit(work, TestState(), "t", execution_id=second)).result()
        ids = [letter.execution_id for letter in await runtime.dead.list()]
        assert ids == [second], "what failed once more is a dead letter once more, and only once"
        await runtime.stop_session("t")
        with pytest.raises(SessionStoppedError):
            await runtime.dead.retry(second)
        letter = await runtime.dead.get(second)
        assert letter is not None, "a letter that could not be retried is gone"
        assert cast("TestState", letter.state()).count == 1
