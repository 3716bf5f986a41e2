# ruff: noqa: PT012 - what raises is the block of a runtime, with what happens in it
"""LocalRuntime where the rules of the kit do not reach: each checkpoint, each clock, each end."""

import logging
import re
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from am2z import (
    AM2ZError,
    AppState,
    BusinessError,
    ConfigurationError,
    Context,
    Event,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    LocalRuntime,
    NetworkError,
    QueueOptions,
    ResourceError,
    ResourceLimits,
    RetryPolicy,
    RuntimeConfig,
    RuntimeNotStartedError,
    RuntimeStoppedError,
    SessionStoppedError,
    ValidationError,
    chain,
    processor,
)


class Count(AppState):
    count: int = 0


@processor
async def add(state: Count, ctx: Context) -> Count:
    return state.evolve(count=state.count + 1)


@processor
async def hang(state: Count, ctx: Context) -> Count:
    await trio.sleep_forever()
    raise AssertionError


def run(main: Callable[[], Any]) -> Any:
    """Run with a clock that jumps: waits take no time, and are exact."""
    return trio.run(main, clock=MockClock(autojump_threshold=0))


LETTERS = {
    "processor:active": "A",
    "processor:retrying": "R",
    "processor:completed": "C",
    "processor:failed": "F",
    "queue:completed": "c",
    "queue:failed": "f",
}
GRAMMAR = re.compile(r"(AP*(RAP*)*((R?Ff)|Cc))|f")


class Ledger:
    """Every event of every execution, held against the grammar."""

    def __init__(self, runtime: LocalRuntime) -> None:
        self.events: list[Event] = []
        runtime.on("*", self.events.append)

    def lives(self) -> dict[str, str]:
        lives: defaultdict[str, str] = defaultdict(str)
        for event in self.events:
            if event.execution_id:
                lives[event.execution_id] += LETTERS.get(event.type, "P")
        return dict(lives)

    def check(self) -> None:
        for execution_id, life in self.lives().items():
            assert GRAMMAR.fullmatch(life), f"{execution_id}: {life}"


async def check_idle(runtime: LocalRuntime, ledger: Ledger) -> None:
    """Nothing is left of what ran, and the counts are those of the events."""
    stats = await runtime.stats()
    assert (stats.waiting, stats.active, stats.running) == (0, 0, 0)
    assert runtime._work.executions == {}
    assert runtime._work.slots.active == runtime._work.slots.waiting == 0
    assert not runtime._work.slots._resuming
    assert all(line.active == 0 for line in runtime._work.slots._lines.values())
    assert +runtime._work.waiting == {}
    ledger.check()
    lives = "".join(ledger.lives().values())
    assert (stats.completed, stats.failed) == (lives.count("c"), lives.count("f"))


# Cancellation, at each step in turn


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when its task has taken so many steps."""

    def __init__(self, scope: trio.CancelScope, steps: int, *, asleep: bool) -> None:
        self.scope = scope
        self.steps = steps
        self.asleep = asleep
        self.task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self.asleep:
            self._count(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.asleep:
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps -= 1
            if self.steps == 0:
                self.scope.cancel()


@contextmanager
def cancelled_at_step(steps: int, *, asleep: bool) -> Iterator[trio.CancelScope]:
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(scope, steps, asleep=asleep)
        trio.lowlevel.add_instrument(instrument)
        try:
            yield scope
        finally:
            trio.lowlevel.remove_instrument(instrument)


def eventful() -> tuple[Any, ...]:
    """Processors that wait wherever a processor can: a retry, progress, calls, steps, a thread."""

    @processor(retry=RetryPolicy(max_attempts=2, backoff=1.0))
    async def leaf(state: Count, ctx: Context) -> Count:
        await trio.sleep(0.5)
        await ctx.emit("mine", {"n": 1})
        if ctx.metadata.attempt == 1:
            raise NetworkError("later")
        return state.evolve(count=state.count + 1)

    @processor(queue=QueueOptions(concurrency=1))
    async def parent(state: Count, ctx: Context) -> Count:
        await ctx.update_progress(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ctx.call, leaf, state)
            nursery.start_soon(ctx.call, "add", state)
        return (await ctx.call(leaf, state)).unwrap()

    return chain("all", [parent, "add", leaf]), parent, leaf, add


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize("name", ["all", "parent", "leaf"])
def test_execute_cancelled_at_any_step_leaves_nothing(name: str, asleep: bool) -> None:
    async def main() -> int:
        async with LocalRuntime(config=RuntimeConfig(concurrency=1)) as runtime:
            runtime.register(*eventful())
            ledger = Ledger(runtime)
            for steps in range(1, 200):
                session = f"s{steps}"
                result = None
                with cancelled_at_step(steps, asleep=asleep) as scope:
                    result = await runtime.execute(name, Count(), session)
                await check_idle(runtime, ledger)
                assert (result is None) is scope.cancelled_caught
                committed = await runtime.state.version(session)
                assert committed == (result is not None and result.success)
                if result is not None:
                    assert result.success
                    assert (await runtime.execute("add", Count(), session)).success
                    return steps
        raise AssertionError("never got through")

    assert run(main) > 4


def test_submit_cancelled_at_any_step_is_either_accepted_or_never_was() -> None:
    async def main() -> None:
        async with LocalRuntime() as runtime:
            runtime.register(add)
            for steps in range(1, 6):
                before = (await runtime.stats()).completed
                accepted = False
                with cancelled_at_step(steps, asleep=False):
                    await runtime.submit(add, Count())
                    accepted = True
                await wait_all_tasks_blocked()
                assert (await runtime.stats()).completed - before == accepted

    run(main)


def test_a_cancelled_wait_for_a_handle_does_not_cancel_the_execution() -> None:
    async def main() -> None:
        gate = trio.Event()

        @processor
        async def slow(state: Count, ctx: Context) -> Count:
            await gate.wait()
            return state

        async with LocalRuntime().register(slow) as runtime:
            handle = await runtime.submit(slow, Count())
            with trio.move_on_after(1) as scope:
                await handle.result()
            assert scope.cancelled_caught
            gate.set()
            assert (await handle.result()).success
            assert await handle.result() is await handle.result()

    run(main)


def test_execute_and_submit_are_checkpoints_whatever_comes_of_them() -> None:
    async def main() -> None:
        async with LocalRuntime().register(add) as runtime:
            for name in ("add", "unknown"):
                with assert_checkpoints():
                    await runtime.execute(name, Count())
                with assert_checkpoints():
                    await runtime.submit(name, Count())
            with trio.CancelScope() as scope:
                scope.cancel()
                await runtime.execute(add, Count(), "s")
            assert scope.cancelled_caught
            assert not await runtime.state.exists("s")

    run(main)


@pytest.mark.parametrize("in_nursery", [False, True])
def test_an_error_of_cleaning_up_does_not_hide_that_it_was_cancelled(
    in_nursery: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async def break_in_cleanup() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("broken cleanup")

        @processor
        async def broken(state: Count, ctx: Context) -> Count:
            if not in_nursery:
                await break_in_cleanup()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(break_in_cleanup)
            return state

        async with LocalRuntime().register(broken) as runtime:
            ledger = Ledger(runtime)
            handle = await runtime.submit(broken, Count())
            await wait_all_tasks_blocked()
            await handle.cancel()
            assert isinstance((await handle.result()).error, ExecutionCancelledError)
            with trio.move_on_after(1):
                await runtime.execute(broken, Count())
            await check_idle(runtime, ledger)
        assert "broken cleanup" in caplog.text

    with caplog.at_level(logging.WARNING):
        run(main)


# Handles


def test_a_cancelled_handle_ends_its_execution_in_every_phase() -> None:
    async def main() -> None:
        @processor(retry=RetryPolicy(max_attempts=5, backoff=10))
        async def fails(state: Count, ctx: Context) -> Count:
            raise NetworkError("gone")

        async with LocalRuntime(config=RuntimeConfig(concurrency=1)) as runtime:
            runtime.register(hang, fails)
            ledger = Ledger(runtime)
            delayed = await runtime.submit(fails, Count())
            await wait_all_tasks_blocked()
            active = await runtime.submit(hang, Count())
            await wait_all_tasks_blocked()
            waiting = await runtime.submit(hang, Count())
            await wait_all_tasks_blocked()
            for handle, life in ((waiting, "f"), (active, "AFf"), (delayed, "ARFf")):
                await handle.cancel()
                await handle.cancel()
                result = await handle.result()
                assert isinstance(result.error, ExecutionCancelledError)
                assert "through its handle" in str(result.error)
                assert ledger.lives()[handle.execution_id] == life
            await check_idle(runtime, ledger)

    run(main)


def test_the_handle_of_refused_work_answers_at_once() -> None:
    async def main() -> None:
        async with LocalRuntime() as runtime:
            handle = await runtime.submit("unknown", Count(count=3))
            assert await handle.progress() == 0
            await handle.cancel()
            result = await handle.result()
            assert (result.success, result.state.count) == (False, 3)
            assert result.metadata.execution_id == handle.execution_id

    run(main)


def test_a_handle_knows_the_last_progress() -> None:
    async def main() -> None:
        gate = trio.Event()

        @processor
        async def half(state: Count, ctx: Context) -> Count:
            await gate.wait()
            ctx.update_progress(50)
            await trio.sleep(1)
            return state

        async with LocalRuntime().register(half) as runtime:
            handle = await runtime.submit(half, Count())
            assert await handle.progress() == 0
            gate.set()
            await wait_all_tasks_blocked()
            assert await handle.progress() == 50
            await handle.result()
            assert await handle.progress() == 50

    run(main)


# Stopping


@pytest.mark.parametrize("grace", [0.0, 2.5, 100.0])
def test_stop_under_load_answers_every_caller(grace: float) -> None:
    async def main() -> None:
        config = RuntimeConfig(concurrency=3, shutdown_grace=grace)
        results: list[Any] = []

        @processor
        async def second(state: Count, ctx: Context) -> Count:
            await trio.sleep(1)
            return (await ctx.call(add, state)).unwrap()

        async with LocalRuntime(config=config).register(second, add) as runtime:
            ledger = Ledger(runtime)

            async def call() -> None:
                results.append(await runtime.execute(second, Count(), "s"))

            async with trio.open_nursery() as nursery:
                handles = [await runtime.submit(second, Count()) for _ in range(10)]
                for _ in range(10):
                    nursery.start_soon(call)
                await wait_all_tasks_blocked()
                before = trio.current_time()
                await runtime.stop()
                assert not runtime.is_started
                assert trio.current_time() - before <= min(grace, 8.0)
            results.extend([await handle.result() for handle in handles])
            assert ledger.events[-1].type == "runtime:stopped"
            await runtime.start()
            await check_idle(runtime, ledger)
            done = sum(result.success for result in results)
            assert len(results) == 20
            assert done in {0.0: {0}, 2.5: {3, 6}, 100.0: {20}}[grace]
            for result in results:
                assert result.success or isinstance(result.error, RuntimeStoppedError)
                assert result.success or result.error.retryable

    run(main)


def test_a_stopped_runtime_refuses_work_and_starts_again() -> None:
    async def main() -> None:
        async with LocalRuntime().register(add) as runtime:
            ledger = Ledger(runtime)
            await runtime.execute(add, Count(), "s")
            for _ in range(2):
                await runtime.stop()
                await runtime.stop()
                for refused in (
                    lambda: runtime.execute(add, Count()),
                    lambda: runtime.submit(add, Count()),
                    runtime.sync_processors,
                    lambda: runtime.stop_session("s"),
                    lambda: runtime.clean_session("s"),
                ):
                    with pytest.raises(RuntimeNotStartedError, match=r"start\(\) again"):
                        await refused()  # type: ignore[operator]
                with pytest.raises(RuntimeNotStartedError):
                    runtime.emit("mine")
                await runtime.start()
                await runtime.start()
                await runtime.sync_processors()
                assert (await runtime.execute(add, Count(), "s")).success
            assert await runtime.state.version("s") == 3
            ends = [e.type for e in ledger.events if e.type.startswith("runtime:")]
            assert ends == ["runtime:stopped", "runtime:started"] * 2

    run(main)


def test_a_stop_that_was_cancelled_is_finished_by_the_next_stop_or_start() -> None:
    async def main() -> None:
        @processor
        async def slow(state: Count, ctx: Context) -> Count:
            await trio.sleep(5)
            return state

        async with LocalRuntime().register(slow) as runtime:
            for again in (runtime.start, runtime.stop):
                handle = await runtime.submit(slow, Count())
                await wait_all_tasks_blocked()
                with trio.move_on_after(1) as scope:
                    await runtime.stop()
                assert scope.cancelled_caught
                assert not runtime.is_started
                before = trio.current_time()
                await again()
                assert trio.current_time() - before == 4
                assert (await handle.result()).success
                await trio.sleep(100)
                assert runtime.is_started is (again == runtime.start)

    run(main)


def test_idle_sessions_do_not_disturb_a_runtime_that_stops() -> None:
    async def main() -> None:
        @processor
        async def slow(state: Count, ctx: Context) -> Count:
            await trio.sleep(8)
            return state

        limits = ResourceLimits(session_ttl=1)
        async with LocalRuntime(limits=limits).register(add, slow) as runtime:
            await runtime.execute(add, Count(), "s")
            handle = await runtime.submit(slow, Count())
            await wait_all_tasks_blocked()
            await runtime.stop()
            assert (await handle.result()).success

    run(main)


def test_outside_of_its_block_a_runtime_says_so() -> None:
    async def main() -> None:
        runtime = LocalRuntime().register(add)
        with pytest.raises(RuntimeNotStartedError, match="async with runtime"):
            await runtime.start()
        await runtime.stop()
        with pytest.raises(RuntimeNotStartedError):
            await runtime.execute(add, Count())
        async with runtime:
            with pytest.raises(ConfigurationError, match="entered already"):
                await runtime.__aenter__()
            assert (await runtime.execute(add, Count())).success
        assert not runtime.is_started
        with pytest.raises(RuntimeNotStartedError):
            await runtime.submit(add, Count())

    run(main)


def test_a_runtime_can_be_entered_again_even_in_another_run() -> None:
    runtime = LocalRuntime().register(add)

    async def main(expected: int) -> None:
        seen: list[str] = []
        runtime.on("runtime:*", lambda event: seen.append(event.type))
        async with runtime:
            assert (await runtime.execute(add, Count(), "s")).success
            assert await runtime.state.version("s") == expected
        assert seen == ["runtime:started", "runtime:stopped"]

    run(lambda: main(1))
    run(lambda: main(2))
    trio.run(main, 3)


class Oops(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("busy", [False, True])
def test_the_exception_of_the_block_leaves_it_as_it_is(busy: bool) -> None:
    async def main() -> None:
        oops = Oops("mine")
        handle = None
        with pytest.raises(Oops) as caught:
            async with LocalRuntime().register(hang) as runtime:
                if busy:
                    handle = await runtime.submit(hang, Count())
                    await wait_all_tasks_blocked()
                raise oops
        assert caught.value is oops
        assert not runtime.is_started
        if handle is not None:
            assert isinstance((await handle.result()).error, RuntimeStoppedError)

    run(main)


def test_work_that_was_submitted_just_before_the_block_failed_never_runs() -> None:
    async def main() -> None:
        with pytest.raises(Oops):
            async with LocalRuntime().register(add) as runtime:
                ledger = Ledger(runtime)
                handle = runtime._submit(runtime._admission.admit(add, Count(), "s"))
                raise Oops
        assert isinstance((await handle.result()).error, RuntimeStoppedError)
        assert set(ledger.lives().values()) == {"f"}

    run(main)


def test_callers_outside_of_a_failed_block_are_answered() -> None:
    async def main() -> None:
        runtime = LocalRuntime().register(hang)
        results = []

        async def call() -> None:
            results.append(await runtime.execute(hang, Count()))

        async with trio.open_nursery() as nursery:
            with pytest.raises(Oops):
                async with runtime:
                    nursery.start_soon(call)
                    await wait_all_tasks_blocked()
                    raise Oops
        [result] = results
        assert isinstance(result.error, RuntimeStoppedError)

    run(main)


def test_cancelling_the_block_cancels_what_runs_in_it() -> None:
    async def main() -> None:
        with trio.move_on_after(5) as scope:
            async with LocalRuntime().register(hang) as runtime:
                handle = await runtime.submit(hang, Count())
                await handle.result()
        assert scope.cancelled_caught
        assert trio.current_time() == 5
        assert isinstance((await handle.result()).error, RuntimeStoppedError)

    run(main)


class Unstartable(LocalRuntime):
    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[None]:
        async with trio.open_nursery():
            raise NetworkError("no server")
        yield


def test_a_runtime_that_cannot_start_says_why_and_leaves_nothing() -> None:
    async def main() -> None:
        runtime = Unstartable()
        for _ in range(2):
            with pytest.raises(NetworkError, match="no server"):
                async with runtime:
                    raise AssertionError
            assert not runtime.is_started
        await wait_all_tasks_blocked()

    run(main)


class Breaking(LocalRuntime):
    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._break)
            yield

    async def _break(self) -> None:
        await trio.sleep(5)
        raise NetworkError("lost the server")


def test_an_engine_that_breaks_ends_the_block_with_its_own_error() -> None:
    async def main() -> None:
        runtime = Breaking().register(hang)
        start = trio.current_time()
        with pytest.raises(NetworkError, match="lost the server"):
            async with runtime:
                handle = await runtime.submit(hang, Count())
                await trio.sleep_forever()
        assert trio.current_time() - start == 5
        assert not runtime.is_started
        assert isinstance((await handle.result()).error, RuntimeStoppedError)

    run(main)


def test_sessions_are_counted_after_a_restart_too() -> None:
    async def main() -> None:
        async with LocalRuntime().register(add) as runtime:
            await runtime.execute(add, Count(), "s")
            await runtime.stop()
            await runtime.start()
            assert await runtime.active_sessions() == ["s"]
            assert runtime.resources.resource_stats().sessions.active == 1

    run(main)


def test_sessions_that_were_stopped_long_ago_are_forgotten() -> None:
    async def main() -> None:
        async with LocalRuntime(limits=ResourceLimits(session_ttl=10)).register(add) as runtime:
            for number in range(5):
                await runtime.stop_session(f"s{number}")
            assert len(runtime._sessions._stopped) == 5
            await trio.sleep(13)
            assert runtime._sessions._stopped == {}

    run(main)


def test_settings_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a RuntimeConfig"):
        LocalRuntime(config={"concurrency": 3})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not a ResourceLimits"):
        LocalRuntime(limits=3)  # type: ignore[arg-type]


# Exact times


def test_retries_come_exactly_when_the_policy_says() -> None:
    async def main() -> None:
        times: list[float] = []

        @processor(retry=RetryPolicy(max_attempts=5, backoff=0.5, max_backoff=3.0))
        async def fails(state: Count, ctx: Context) -> Count:
            times.append(trio.current_time())
            await trio.sleep(0.25)
            raise NetworkError(f"attempt {ctx.metadata.attempt}")

        async with LocalRuntime().register(fails) as runtime:
            start = trio.current_time()
            result = await runtime.execute(fails, Count())
            assert [t - start for t in times] == [0, 0.75, 2.0, 4.25, 7.5]
            assert str(result.error) == "attempt 5"
            assert result.metadata.attempt == 5
            assert result.execution_time == 0.25
            stats = await runtime.queue_stats()
            assert stats["fails"].failed == 1

    run(main)


def test_a_timeout_is_exact_for_each_attempt_and_for_what_is_called() -> None:
    async def main() -> None:
        @processor(timeout=2.0, retry=RetryPolicy(max_attempts=2, backoff=1.0))
        async def slow(state: Count, ctx: Context) -> Count:
            assert ctx.deadline == trio.current_time() + 2.0
            await ctx.call(hang, state)
            raise AssertionError

        async with LocalRuntime().register(slow, hang) as runtime:
            ledger = Ledger(runtime)
            start = trio.current_time()
            result = await runtime.execute(slow, Count())
            assert trio.current_time() - start == 5.0
            assert isinstance(result.error, ExecutionTimeoutError)
            assert "'slow' hit its timeout of 2 s" in str(result.error)
            assert result.error.context == {"timeout": 2.0, "attempt": 2}
            await check_idle(runtime, ledger)

    run(main)


def test_the_default_timeout_holds_for_who_sets_none() -> None:
    async def main() -> None:
        async with LocalRuntime(config=RuntimeConfig(default_timeout=7)) as runtime:
            runtime.register(hang)
            start = trio.current_time()
            assert not (await runtime.execute(hang, Count())).success
            assert trio.current_time() - start == 7

    run(main)


def test_a_session_ends_when_nobody_used_it_for_its_ttl_and_may_begin_anew_after_another() -> None:
    async def main() -> None:
        limits = ResourceLimits(session_ttl=10)
        async with LocalRuntime(limits=limits).register(add, hang) as runtime:
            ended: list[float] = []
            runtime.on("session:stopped", lambda _: ended.append(trio.current_time()))
            await runtime.execute(add, Count(), "s")
            await trio.sleep(9)
            await runtime.execute(add, Count(), "s")
            used = trio.current_time()
            await trio.sleep(9)
            assert await runtime.active_sessions() == ["s"]
            await trio.sleep(4)
            assert await runtime.active_sessions() == []
            [end] = ended
            assert 10 <= end - used <= 12.5
            refused = await runtime.execute(add, Count(), "s")
            assert isinstance(refused.error, SessionStoppedError)
            assert "clean_session('s')" in str(refused.error)
            await trio.sleep(10)
            assert (await runtime.execute(add, Count(), "s")).success

    run(main)


def test_a_session_is_in_use_for_as_long_as_something_runs_in_it() -> None:
    async def main() -> None:
        @processor(timeout=100)
        async def long(state: Count, ctx: Context) -> Count:
            await trio.sleep(50)
            return state

        async with LocalRuntime(limits=ResourceLimits(session_ttl=10)) as runtime:
            runtime.register(long)
            assert (await runtime.execute(long, Count(), "s")).success
            await trio.sleep(9)
            assert await runtime.active_sessions() == ["s"]

    run(main)


def test_metrics_are_collected_at_their_interval() -> None:
    async def main() -> None:
        async with LocalRuntime(config=RuntimeConfig(metrics_interval=5)) as runtime:
            runtime.register(add)
            seen: list[tuple[float, Event]] = []
            runtime.on("metrics:*", lambda event: seen.append((trio.current_time(), event)))
            start = trio.current_time()
            await runtime.execute(add, Count(), "s")
            await trio.sleep(11)
            assert [at - start for at, _ in seen] == [5, 10]
            data = seen[0][1].data
            assert (data["completed"], data["active_sessions"], data["uptime"]) == (1, 1, 5)
            assert data["queues"]["add"]["completed"] == 1

    run(main)


def test_housekeeping_that_fails_once_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with LocalRuntime(config=RuntimeConfig(metrics_interval=1)) as runtime:
            good = runtime.stats
            seen: list[Event] = []
            runtime.on("metrics:*", seen.append)

            async def fail() -> Any:
                raise NetworkError("away")

            monkeypatch.setattr(runtime, "stats", fail)
            await trio.sleep(2.5)
            monkeypatch.setattr(runtime, "stats", good)
            await trio.sleep(1)
            assert len(seen) == 1
        assert "metrics could not be collected: away" in caplog.text

    run(main)


def test_what_is_called_goes_before_what_has_not_begun_so_that_little_is_half_done() -> None:
    async def main() -> None:
        begun: set[int] = set()
        most = 0

        @processor
        async def parent(state: Count, ctx: Context) -> Count:
            nonlocal most
            begun.add(state.count)
            most = max(most, len(begun))
            await trio.sleep(1)
            result = await ctx.call(add, state)
            begun.remove(state.count)
            return result.unwrap()

        async with LocalRuntime(config=RuntimeConfig(concurrency=2)) as runtime:
            runtime.register(parent, add)
            handles = [await runtime.submit(parent, Count(count=n)) for n in range(20)]
            for handle in handles:
                assert (await handle.result()).success
        assert most <= 4

    run(main)


# Limits


def test_no_more_wait_than_may_even_in_one_moment() -> None:
    async def main() -> None:
        config, limits = RuntimeConfig(concurrency=2), ResourceLimits(max_queue_size=3)
        async with LocalRuntime(config=config, limits=limits).register(hang) as runtime:
            handles = [await runtime.submit(hang, Count()) for _ in range(9)]
            await wait_all_tasks_blocked()
            stats = (await runtime.queue_stats())["hang"]
            assert (stats.active, stats.waiting) == (2, 3)
            assert runtime.resources.resource_stats().queues.max_size == 3
            for handle in handles[:5]:
                await handle.cancel()
            for handle in handles[5:]:
                error = (await handle.result()).error
                assert isinstance(error, ResourceError)
                assert (error.resource, error.limit, error.current) == ("queue", 3, 3)
            assert runtime.resources.resource_stats().queues.max_size == 0

    run(main)


def test_a_warning_of_a_resource_becomes_an_event() -> None:
    async def main() -> None:
        limits = ResourceLimits(max_connections=10, connection_threshold=0.5)
        async with LocalRuntime(limits=limits).register(add) as runtime:
            seen: list[Event] = []
            runtime.on("resource:*", seen.append)
            for _ in range(6):
                runtime.resources.register_connection()
            await runtime.execute(add, Count())
            assert [e.data["resource"] for e in seen] == ["connections"]
            await runtime.stop()
            runtime.resources.reset()
            for _ in range(6):
                runtime.resources.register_connection()
            runtime.resources.check_process()
            assert len(seen) == 1

    run(main)


# Handlers and data


def test_a_handler_that_crashes_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        def crash(event: Event) -> None:
            raise ValueError(f"crashed at {event.type}")

        async with LocalRuntime().register(*eventful()) as runtime:
            runtime.on("*", crash)
            ledger = Ledger(runtime)
            assert (await runtime.execute("all", Count(), "s")).success
            await check_idle(runtime, ledger)

    run(main)
    for type_ in ("session:created", "processor:active", "processor:completed", "runtime:stopped"):
        assert f"crashed at {type_}" in caplog.text


def test_a_state_that_cannot_come_back_is_refused_and_the_runtime_lives() -> None:
    async def main() -> None:
        wrong = Count(count="three")  # type: ignore[arg-type]
        async with LocalRuntime().register(add) as runtime:
            for call in (runtime.execute, runtime.submit):
                with pytest.raises(ValidationError) as caught:
                    await call(add, wrong)  # type: ignore[operator]
                assert caught.value.field == "count"
            assert (await runtime.execute(add, Count())).success

    run(main)


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_fails_its_execution_alone() -> None:
    async def main() -> None:
        @processor
        async def bad(state: Count, ctx: Context) -> Count:
            raise Unspeakable

        async with LocalRuntime().register(bad, add) as runtime:
            result = await (await runtime.submit(bad, Count())).result()
            assert "Unspeakable" in str(result.error)
            assert (await runtime.execute(add, Count())).success

    run(main)


@pytest.mark.parametrize("hook", ["should_retry", "on_retry", "on_exhausted"])
def test_a_retry_hook_that_raises_makes_the_failure_final_and_is_named(hook: str) -> None:
    async def main() -> None:
        def broken(error: AM2ZError, attempt: int) -> bool:
            raise KeyError("oops")

        attempts = 1 if hook == "on_exhausted" else 3

        @processor(retry=RetryPolicy(max_attempts=attempts, **{hook: broken}))  # type: ignore[arg-type]
        async def fails(state: Count, ctx: Context) -> Count:
            raise NetworkError("gone")

        async with LocalRuntime().register(fails) as runtime:
            result = await runtime.execute(fails, Count())
            assert isinstance(result.error, ConfigurationError)
            assert "a retry hook of processor 'fails' raised KeyError: 'oops'" in str(result.error)
            assert isinstance(result.error.__cause__, NetworkError)
            assert result.metadata.attempt == 1

    run(main)


def test_a_hook_may_wait_and_is_cancelled_with_its_execution() -> None:
    async def main() -> None:
        async def wait(error: AM2ZError) -> None:
            await trio.sleep(100)

        @processor(retry=RetryPolicy(on_retry=wait))
        async def fails(state: Count, ctx: Context) -> Count:
            raise NetworkError("gone")

        async with LocalRuntime().register(fails) as runtime:
            ledger = Ledger(runtime)
            with trio.move_on_after(50):
                await runtime.execute(fails, Count())
            await check_idle(runtime, ledger)

    run(main)


# Threads


def test_a_plain_function_emits_reports_and_calls_from_its_thread() -> None:
    async def main() -> None:
        threads: list[int] = []

        @processor
        def plain(state: Count, ctx: Context) -> Count:
            threads.append(threading.get_ident())
            ctx.emit("mine", {"n": 1})
            ctx.update_progress(30)
            ctx.runtime.emit("ours", {"n": 2})
            ctx.log.info("from %s", ctx.session_id)
            return ctx.call(add, state).unwrap()  # type: ignore[attr-defined,no-any-return]

        async with LocalRuntime(config=RuntimeConfig(concurrency=1)) as runtime:
            runtime.register(plain, add)
            ledger = Ledger(runtime)
            result = await runtime.execute(plain, Count(), "s")
            assert result.unwrap().count == 1
            assert threads != [threading.get_ident()]
            by_type = {event.type: event for event in ledger.events}
            assert by_type["mine"].data == {"n": 1}
            assert by_type["ours"].execution_id == ""
            assert by_type["processor:progress"].data["percent"] == 30
            await check_idle(runtime, ledger)

    trio.run(main)


@pytest.mark.parametrize("how", ["handle", "session", "timeout"])
def test_what_a_thread_called_ends_with_its_attempt_and_gives_its_slot_back(how: str) -> None:
    async def main() -> None:
        calling, left = trio.Event(), threading.Event()
        after: list[BaseException] = []

        @processor(name="child")
        async def child(state: Count, ctx: Context) -> Count:
            calling.set()
            await trio.sleep_forever()
            return state

        @processor(timeout=0.2 if how == "timeout" else None)
        def parent(state: Count, ctx: Context) -> Count:
            for _ in range(2):
                try:
                    ctx.call(child, state)
                except BaseException as error:
                    after.append(error)
            ctx.emit("too late")
            left.set()
            return state

        async with LocalRuntime(config=RuntimeConfig(concurrency=1)) as runtime:
            runtime.register(parent, child)
            ledger = Ledger(runtime)
            handle = await runtime.submit(parent, Count(), "s")
            await calling.wait()
            if how == "handle":
                await handle.cancel()
            elif how == "session":
                await runtime.stop_session("s")
            result = await handle.result()
            kinds = {
                "handle": ExecutionCancelledError,
                "session": SessionStoppedError,
                "timeout": ExecutionTimeoutError,
            }
            assert isinstance(result.error, kinds[how])
            await trio.to_thread.run_sync(left.wait)
            assert [type(error) for error in after] == [ExecutionCancelledError] * 2
            assert "is over" in str(after[1])
            assert "too late" not in [event.type for event in ledger.events]
            await check_idle(runtime, ledger)

    trio.run(main)


def test_threads_that_call_threads_do_not_use_up_those_of_the_process() -> None:
    async def main() -> None:
        @processor
        def inner(state: Count, ctx: Context) -> Count:
            return state.evolve(count=1)

        @processor
        def outer(state: Count, ctx: Context) -> Count:
            return ctx.call(inner, state).unwrap()  # type: ignore[attr-defined,no-any-return]

        trio.to_thread.current_default_thread_limiter().total_tokens = 1
        async with LocalRuntime().register(outer, inner) as runtime:
            with trio.fail_after(10):
                results = await runtime.execute_many(outer, [Count()] * 3)
            assert [result.state.count for result in results] == [1, 1, 1]

    trio.run(main)


def test_a_mistake_in_a_call_from_a_thread_is_raised_in_the_thread() -> None:
    async def main() -> None:
        @processor
        def plain(state: Count, ctx: Context) -> Count:
            with pytest.raises(ConfigurationError, match="printable"):
                ctx.call("", state)
            with pytest.raises(ValidationError, match="percent"):
                ctx.update_progress(101)
            raise BusinessError("done")

        async with LocalRuntime().register(plain) as runtime:
            result = await runtime.execute(plain, Count())
            assert isinstance(result.error, BusinessError)

    trio.run(main)


@pytest.mark.trio
async def test_many_that_are_submitted_at_once_answer_in_order() -> None:
    @processor
    async def double(state: Count, ctx: Context) -> Count:
        return state.evolve(count=2 * state.count)

    async with LocalRuntime() as runtime:
        runtime.register(double)
        handles = await runtime.submit_many(double, [Count(count=n) for n in range(20)], "s")
        results = [await handle.result() for handle in handles]
    assert [result.state.count for result in results] == [2 * n for n in range(20)]
