"""LocalRuntime: chosen ids, later starts, dead letters, sessions, statistics and subscriptions."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from am2z import (
    AppState,
    BusinessError,
    CallDepthExceededError,
    Capability,
    ConfigurationError,
    Context,
    LocalRuntime,
    NetworkError,
    ProcessorNotFoundError,
    QueueStats,
    ResourceError,
    ResourceLimits,
    RetryPolicy,
    RuntimeConfig,
    SessionStoppedError,
    ValidationError,
    processor,
)


class Count(AppState):
    count: int = 0


@processor
async def add(state: Count, ctx: Context) -> Count:
    return state.evolve(count=state.count + 1)


@processor
async def refuse(state: Count, ctx: Context) -> Count:
    raise BusinessError("no")


@processor
async def hang(state: Count, ctx: Context) -> Count:
    await trio.sleep_forever()
    raise AssertionError


@processor(retry=RetryPolicy(backoff=10))
async def later(state: Count, ctx: Context) -> Count:
    raise NetworkError("gone")


def run(main: Callable[[], Any]) -> Any:
    return trio.run(main, clock=MockClock(autojump_threshold=0))


# Chosen ids


def test_a_chosen_id_runs_once_until_its_result_is_forgotten() -> None:
    async def main() -> None:
        async with LocalRuntime(config=RuntimeConfig(result_ttl=10)).register(add) as runtime:
            first = await runtime.submit(add, Count(), "s", execution_id="bill-7")
            again = await runtime.submit(add, Count(), "s", execution_id="bill-7")
            assert again.execution_id == "bill-7"
            assert await first.result() is await again.result()
            await trio.sleep(9.9)
            await (await runtime.submit(add, Count(), "s", execution_id="bill-7")).result()
            assert (await runtime.stats()).completed == 1
            await trio.sleep(0.1)
            await (await runtime.submit(add, Count(), "s", execution_id="bill-7")).result()
            assert (await runtime.stats()).completed == 2

    run(main)


def test_a_chosen_id_stands_for_one_processor_and_session() -> None:
    async def main() -> None:
        async with LocalRuntime().register(add, refuse) as runtime:
            await runtime.submit(add, Count(), "s", execution_id="x")
            for call in (
                lambda: runtime.submit(refuse, Count(), "s", execution_id="x"),
                lambda: runtime.submit(add, Count(), "t", execution_id="x"),
                lambda: runtime.submit(add, Count(), execution_id="x"),
            ):
                with pytest.raises(ConfigurationError, match="one execution only"):
                    await call()
            with pytest.raises(ConfigurationError, match="A-Z a-z 0-9"):
                await runtime.submit(add, Count(), execution_id="a/b")

    run(main)


# Later


def test_work_begins_when_it_shall() -> None:
    async def main() -> None:
        async with LocalRuntime().register(add) as runtime:
            start = trio.current_time()
            handle = await runtime.submit(add, Count(), delay=5)
            await wait_all_tasks_blocked()
            stats = (await runtime.queue_stats())["add"]
            assert (stats.delayed, stats.waiting, stats.active) == (1, 0, 0)
            await handle.result()
            assert trio.current_time() - start == 5
            await (await runtime.submit(add, Count(), delay=0)).result()
            assert trio.current_time() - start == 5
            soon = datetime.now(UTC) + timedelta(seconds=50)
            for at in (soon, soon.timestamp()):
                before = trio.current_time()
                await (await runtime.submit(add, Count(), at=at)).result()
                assert 40 < trio.current_time() - before <= 50
            before = trio.current_time()
            await (await runtime.submit(add, Count(), at=1.0)).result()
            assert trio.current_time() == before

    run(main)


def test_a_time_that_makes_no_sense_is_refused() -> None:
    async def main() -> None:
        async with LocalRuntime().register(add) as runtime:
            for wrong, says in (
                ({"delay": -1}, "delay is -1"),
                ({"delay": 1, "at": 1.0}, "either delay or at"),
                ({"at": datetime(2030, 1, 1)}, "time zone"),
                ({"at": "tomorrow"}, "at is 'tomorrow'"),
            ):
                with pytest.raises(ConfigurationError, match=says):
                    await runtime.submit(add, Count(), **wrong)  # type: ignore[arg-type]

    run(main)


# Dead letters


def test_what_failed_for_good_is_kept_to_be_looked_at_tried_again_or_dropped() -> None:
    async def main() -> None:
        async with LocalRuntime().register(refuse, hang) as runtime:
            handle = await runtime.submit(refuse, Count(count=3), "s")
            await handle.result()
            cancelled = await runtime.submit(hang, Count())
            await cancelled.cancel()
            letter = await runtime.dead.get(handle.execution_id)
            assert letter is not None
            assert (letter.processor_name, letter.session_id) == ("refuse", "s")
            assert isinstance(letter.error, BusinessError)
            assert letter.state().count == 3  # type: ignore[attr-defined]
            assert [each.execution_id for each in await runtime.dead.list()] == [
                handle.execution_id
            ]
            new_id = await runtime.dead.retry(handle.execution_id)
            assert new_id is not None
            await wait_all_tasks_blocked()
            assert [each.execution_id for each in await runtime.dead.list()] == [new_id]
            assert await runtime.dead.drop(new_id)
            assert not await runtime.dead.drop(new_id)
            assert await runtime.dead.get(new_id) is None
            assert await runtime.dead.retry(new_id) is None

    run(main)


def test_a_letter_that_cannot_be_tried_again_stays() -> None:
    async def main() -> None:
        async with LocalRuntime().register(refuse) as runtime:
            handle = await runtime.submit(refuse, Count())
            await handle.result()
            runtime.unregister("refuse")
            with pytest.raises(ProcessorNotFoundError):
                await runtime.dead.retry(handle.execution_id)
            assert len(await runtime.dead.list()) == 1

    run(main)


def test_only_so_many_letters_are_kept_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("am2z.local.dead.MAX_DEAD", 3)

    async def main() -> None:
        async with LocalRuntime().register(refuse) as runtime:
            ids = []
            for _ in range(5):
                handle = await runtime.submit(refuse, Count())
                await handle.result()
                ids.append(handle.execution_id)
            assert [each.execution_id for each in await runtime.dead.list()] == ids[:1:-1]

    run(main)


# Sessions and statistics


def test_the_statistics_of_queues_and_sessions_tell_every_phase() -> None:
    async def main() -> None:
        async with LocalRuntime(config=RuntimeConfig(concurrency=1)) as runtime:
            runtime.register(add, refuse, hang, later)
            await runtime.execute(add, Count(), "s")
            await runtime.execute(refuse, Count(), "s")
            await runtime.submit(later, Count(), "s")
            await wait_all_tasks_blocked()
            for _ in range(3):
                await runtime.submit(hang, Count(), "s")
            await wait_all_tasks_blocked()
            expected = {
                "add": QueueStats(completed=1),
                "hang": QueueStats(active=1, waiting=2),
                "later": QueueStats(delayed=1),
                "refuse": QueueStats(failed=1),
            }
            assert await runtime.queue_stats() == expected
            assert await runtime.session_stats("s") == expected
            assert await runtime.session_stats("other") == {}
            stats = await runtime.stats()
            assert (stats.registered_processors, stats.active_sessions) == (4, 1)
            assert (stats.waiting, stats.active, stats.running) == (2, 1, 1)
            assert (stats.completed, stats.failed, stats.uptime) == (1, 1, 0)
            assert runtime.list_processors() == ["add", "hang", "later", "refuse"]
            await runtime.stop_session("s")

    run(main)


def test_a_stopped_session_drops_its_work_and_is_refused_until_it_is_cleaned() -> None:
    async def main() -> None:
        async with LocalRuntime(config=RuntimeConfig(concurrency=1)) as runtime:
            runtime.register(add, hang)
            told: list[str] = []
            runtime.on("session:*", lambda event: told.append(f"{event.type} {event.session_id}"))
            await runtime.execute(add, Count(), "s")
            handles = [await runtime.submit(hang, Count(), "s") for _ in range(3)]
            await wait_all_tasks_blocked()
            await runtime.stop_session("s")
            await runtime.stop_session("s")
            for handle in handles:
                assert isinstance((await handle.result()).error, SessionStoppedError)
            refused = await runtime.execute(add, Count(), "s")
            assert isinstance(refused.error, SessionStoppedError)
            assert await runtime.state.version("s") == 1
            await runtime.clean_session("s")
            assert not await runtime.state.exists("s")
            assert (await runtime.execute(add, Count(), "s")).success
            await runtime.clean_all_sessions()
            assert await runtime.active_sessions() == []
            assert told == ["session:created s", "session:stopped s"] * 2

    run(main)


def test_a_full_runtime_lets_nested_calls_in_but_not_more_memory() -> None:
    async def main() -> None:
        memory = 10.0

        @processor
        async def parent(state: Count, ctx: Context) -> Count:
            nonlocal memory
            memory = 1000.0
            await trio.sleep(1)
            result = await ctx.call(add, state)
            assert isinstance(result.error, ResourceError)
            return state

        async with LocalRuntime(limits=ResourceLimits(max_memory_mb=100)) as runtime:
            runtime.register(parent, add)
            runtime.resources._sample_memory = lambda: memory
            runtime.resources.reset()
            assert (await runtime.execute(parent, Count())).success

    run(main)


def test_calls_go_as_deep_as_they_may_and_no_deeper() -> None:
    async def main() -> None:
        @processor(name="again")
        async def again(state: Count, ctx: Context) -> Count:
            result = await ctx.call("again", state.evolve(count=state.count + 1))
            if isinstance(result.error, CallDepthExceededError):
                return state
            return result.unwrap()

        async with LocalRuntime(config=RuntimeConfig(max_call_depth=4, concurrency=1)) as runtime:
            runtime.register(again)
            assert (await runtime.execute(again, Count())).unwrap().count == 4

    run(main)


def test_a_state_of_another_class_is_the_callers_mistake() -> None:
    class Other(AppState):
        pass

    async def main() -> None:
        async with LocalRuntime().register(add) as runtime:
            with pytest.raises(ValidationError, match=r"Other, but processor 'add' takes a Count"):
                await runtime.execute("add", Other())

    run(main)


def test_the_runtime_says_what_it_can_do() -> None:
    assert LocalRuntime().capabilities == {Capability.PRIORITY, Capability.VIRTUAL_TIME}


# Subscriptions


def test_a_subscription_ends_with_the_runtime_and_lasts_over_a_restart() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def read(task_status: trio.TaskStatus[None]) -> None:
            async with runtime.subscribe("runtime:*", "mine") as events:
                task_status.started()
                seen.extend([event.type async for event in events])
                seen.append("end")

        async with trio.open_nursery() as nursery, LocalRuntime() as runtime:
            await nursery.start(read)
            await runtime.emit("mine", {"a": 1})
            runtime.on("*", seen.append)  # type: ignore[arg-type]
            runtime.off("*", seen.append)  # type: ignore[arg-type]
            await runtime.stop()
            await runtime.start()
        assert seen == ["mine", "runtime:stopped", "runtime:started", "runtime:stopped", "end"]

    run(main)


def test_execute_many_keeps_the_order_and_raises_a_callers_mistake_as_it_is() -> None:
    async def main() -> None:
        async with LocalRuntime(config=RuntimeConfig(concurrency=2)).register(add) as runtime:
            results = await runtime.execute_many(add, [Count(count=n) for n in range(20)])
            assert [result.state.count for result in results] == list(range(1, 21))
            assert await runtime.execute_many([]) == []
            with pytest.raises(ValidationError, match="not an AppState"):
                await runtime.execute_many([(add, Count()), (add, 5)])  # type: ignore[list-item]

    run(main)
