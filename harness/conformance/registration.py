"""Which processors a runtime knows, and what it knows of them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from am2z import (
    Capability,
    ConfigurationError,
    Context,
    ExecutionTimeoutError,
    NetworkError,
    Processor,
    ProcessorNotFoundError,
    QueueOptions,
    RetryPolicy,
    RuntimeConfig,
    batch,
    chain,
    create_processor,
    parallel,
    processor,
    route,
)
from harness.conformance._processors import Gate, Headcount, increment, make, within
from harness.kit import Kit
from harness.processors import create_counter_processor, create_error_processor
from harness.rules import rule
from harness.states import TestState

ODD_NAMES = ["a", "a:b", "b", "a:", "*", "{a}", "a b", "A", "ä/..", "'a'\\", "w:a:s", "%s"]
ODD_NAMES += [" a", "a ", " ", "a\u0308/..", "0", "-", "None"]
"""Names that a key, a pattern or a path could take for something else."""


def saying(name: str, message: str) -> Processor[TestState]:
    """A processor that leaves ``message`` in the state."""

    async def say(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(message=message)

    return make(name, say)


@rule("REG-001")
async def test_one_processor_or_many_can_be_registered(kit: Kit) -> None:
    a, b, c, d = (create_counter_processor(name) for name in "abcd")
    async with kit.runtime() as runtime:
        runtime.register(c)
        runtime.register(b, a)
        runtime.register(a, a)  # one that is named twice is one
        for wrong in (cast("Any", "not a processor"), saying("d", "another one of that name")):
            with pytest.raises(ConfigurationError):
                runtime.register(d, wrong)
        runtime.list_processors().append("what a caller does to its list")
        assert runtime.list_processors() == ["a", "b", "c"]
        await runtime.sync_processors()
        results = await runtime.execute_many([(name, TestState()) for name in "abc"])
    assert [result.state.count for result in results] == [1, 1, 1]


@rule("REG-002")
async def test_the_last_registration_of_a_name_is_the_one_that_runs(kit: Kit) -> None:
    async with kit.runtime(saying("greet", "old")) as runtime:
        old = await runtime.execute("greet", TestState())
        runtime.register(saying("greet", "new"))
        await runtime.sync_processors()
        new = await runtime.execute("greet", TestState())
        assert runtime.list_processors() == ["greet"]
    assert (old.state.message, new.state.message) == ("old", "new")
    await _replace_settings(kit)


async def _replace_settings(kit: Kit) -> None:
    """Each setting that a new registration changes holds from then on, also where it is alone."""
    runs: list[int] = []

    async def fail(_state: TestState, ctx: Context) -> TestState:
        runs.append(ctx.metadata.attempt)
        raise NetworkError("gone")

    async def count_in(state: TestState, _ctx: Context) -> TestState:
        await inside.visit()
        return state

    forever = Gate("forever", timeout=0.02)
    async with kit.runtime(config=RuntimeConfig(concurrency=4)) as runtime:

        async def replace(old: Processor[TestState], **options: Any) -> Processor[TestState]:
            new = make(old.name, cast("Any", old.fn), **options)
            runtime.register(new)
            await runtime.sync_processors()
            return new

        for limit in (1, 3, 2, None):
            inside = Headcount(limit or 4, kit.timeout)
            options = QueueOptions(concurrency=limit)
            limited = await replace(make("limited", count_in), queue=options)
            results = await runtime.execute_many(limited, [TestState()] * 8)
            most = inside.most
            assert all(result.success for result in results), f"{most} at once, {limit} may"
            assert limit is None or most == limit, f"{most} ran at once where {limit} may"
        for attempts in (1, 3, 2):
            policy = RetryPolicy(max_attempts=attempts, backoff=0)
            await replace(make("failing", fail), retry=policy)
            await runtime.execute("failing", TestState())
        await replace(forever.processor, timeout=60.0)
        await replace(forever.processor, timeout=0.02)
        with within(kit, "the timeout of a new registration"):
            late = await runtime.execute("forever", TestState())
    assert runs == [1, 1, 2, 3, 1, 2], f"attempts under policies of 1, 3 and 2: {runs}"
    assert isinstance(late.error, ExecutionTimeoutError), repr(late.error)
    if kit.supports(Capability.PRIORITY):
        await _replace_priorities(kit)


async def _replace_priorities(kit: Kit) -> None:
    order: list[str] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        order.append(ctx.metadata.processor_name)
        return state

    def ranked(name: str, priority: int) -> Processor[TestState]:
        return make(name, note, queue=QueueOptions(priority=priority))

    gate = Gate()
    first = (ranked("a", 3), ranked("b", 2), ranked("c", 1))
    config = RuntimeConfig(concurrency=1)
    async with kit.runtime(gate.processor, *first, config=config) as runtime:
        await runtime.execute_many([(name, TestState()) for name in "abc"])
        order.clear()
        runtime.register(ranked("a", 0), ranked("c", 9))
        await runtime.sync_processors()
        handles = [await runtime.submit(gate.processor, TestState())]
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        handles += [await runtime.submit(name, TestState()) for name in "abc"]
        gate.open()
        for handle in handles:
            await handle.result()
    assert order == ["c", "b", "a"], "the order is not that of the new priorities"


@rule("REG-003")
async def test_an_unregistered_processor_is_gone(kit: Kit) -> None:
    async with kit.runtime(increment, saying("other", "still here")) as runtime:
        await runtime.execute(increment, TestState())
        assert runtime.unregister("increment") is True
        assert runtime.unregister("increment") is False
        assert runtime.list_processors() == ["other"]
        await runtime.sync_processors()
        gone = await runtime.execute("increment", TestState())
        other = await runtime.execute("other", TestState())
        stats = await runtime.queue_stats()
        assert isinstance(gone.error, ProcessorNotFoundError)
        assert stats["increment"].completed == 1, "what it did is not counted any more"
        assert other.success
        runtime.register(increment)
        await runtime.sync_processors()
        assert (await runtime.execute("increment", TestState())).success, "it cannot come back"
        assert (await runtime.queue_stats())["increment"].completed == 2
    await _unregister_one_of_many(kit)


async def _unregister_one_of_many(kit: Kit) -> None:
    """What a processor brought along stays, and what runs of it goes on."""
    gate, part = Gate(), saying("part", "still here")
    whole = make("whole", gate.run, dependencies=[part])
    line: Processor[TestState] = chain("line", [part, whole])
    async with kit.runtime(whole, line) as runtime:
        handle = await runtime.submit(whole, TestState())
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        assert runtime.unregister("line")
        assert runtime.unregister("whole")
        await runtime.sync_processors()
        assert runtime.list_processors() == ["part"]
        gate.open()
        running = await handle.result()
        left = await runtime.execute("part", TestState())
    assert running.success, f"what ran of it ended with {running.error!r}"
    assert left.success


@rule("REG-004")
async def test_processors_may_come_at_any_time(kit: Kit) -> None:
    late, later = saying("late", "after the start"), saying("later", "while stopped")
    async with kit.runtime() as runtime:
        runtime.register(late)
        await runtime.sync_processors()
        first = await runtime.execute(late, TestState())
        await runtime.stop()
        runtime.register(later)
        await runtime.start()
        second = await runtime.execute(later, TestState())
    assert first.state.message == "after the start"
    assert second.state.message == "while stopped"


@rule("REG-005")
async def test_synchronising_does_not_disturb_what_runs(kit: Kit) -> None:
    gate, late = Gate(), saying("late", "in play")
    async with kit.runtime(gate.processor) as runtime:
        handle = await runtime.submit(gate.processor, TestState())
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        runtime.register(late)
        await runtime.sync_processors()
        await runtime.sync_processors()
        result = await runtime.execute(late, TestState())
        gate.open()
        undisturbed = await handle.result()
    assert result.state.message == "in play"
    assert undisturbed.success
    assert len(gate.runs) == 1, "the synchronisation made running work run again"


@rule("REG-006")
async def test_dependencies_come_along_even_in_a_circle(kit: Kit) -> None:
    leaf = create_counter_processor("leaf")

    @processor(dependencies=[leaf, "ping"])
    async def pong(state: TestState, ctx: Context) -> TestState:
        counted = (await ctx.call("leaf", state)).unwrap()
        return (await ctx.call("ping", counted)).unwrap()

    @processor(dependencies=[pong])
    async def ping(state: TestState, ctx: Context) -> TestState:
        return state if state.count == 3 else (await ctx.call("pong", state)).unwrap()

    async with kit.runtime(ping) as runtime:
        assert runtime.list_processors() == ["leaf", "ping", "pong"]
        result = await runtime.execute(ping, TestState())
    assert result.unwrap().count == 3
    await _look_at_parts(kit)


async def _look_at_parts(kit: Kit) -> None:
    """The parts of a composition come along, and replace those that had their names."""
    names = ("first", "branch", "way", "fallback", "item", "deep")
    new = {name: saying(name, f"new {name}") for name in names}

    async def ask_all(state: TestState, ctx: Context) -> TestState:
        said = [(await ctx.call(name, state)).unwrap().message for name in names]
        return state.evolve(items=said)

    deeper = make("deeper", ask_all, dependencies=[new["deep"]])
    compositions: list[Processor[TestState]] = [
        parallel("wide", [new["branch"], "by name"]),
        route("choice", lambda _: 1, {1: new["way"]}, fallback=new["fallback"]),
        batch("each", new["item"], split=lambda _: [], join=lambda state, _: state),
        make("deep_one", ask_all, dependencies=[deeper]),
    ]
    line: Processor[TestState] = chain("line", [new["first"], *compositions])
    async with kit.runtime(*(saying(name, f"old {name}") for name in names)) as runtime:
        runtime.register(line)
        await runtime.sync_processors()
        mine = ["line", "wide", "choice", "each", "deep_one", "deeper"]
        assert runtime.list_processors() == sorted([*mine, *names])
        result = await runtime.execute("deeper", TestState())
    assert result.unwrap().items == [f"new {name}" for name in names]


@rule("REG-007")
async def test_a_processor_keeps_the_settings_of_its_definition(kit: Kit) -> None:
    seen: list[Processor[Any]] = []
    options: dict[str, Any] = {
        "description": "keeps its settings",
        "timeout": 7.5,
        "retry": RetryPolicy(max_attempts=7, backoff=0.25, multiplier=3.0),
        "queue": QueueOptions(concurrency=2, priority=4),
    }

    async def look(state: TestState, ctx: Context) -> TestState:
        seen.append(ctx.processor)
        return state

    inner = make("inner", look, **options)
    outer = make("outer", look, dependencies=[inner])
    async with kit.runtime(outer) as runtime:
        (await runtime.execute("inner", TestState())).unwrap()
    assert {name: getattr(seen[0], name) for name in options} == options


@rule("REG-008")
async def test_every_registered_processor_has_its_own_statistics(kit: Kit) -> None:
    failing, idle = create_error_processor("failing"), saying("idle", "never asked")
    async with kit.runtime(increment, failing, idle) as runtime:
        before = await runtime.queue_stats()
        await runtime.execute_many(increment, [TestState()] * 2)
        await runtime.execute(failing, TestState())
        after = await runtime.queue_stats()
    assert sorted(before) == ["failing", "idle", "increment"]
    for stats in (*before.values(), after["idle"]):
        assert (stats.waiting, stats.active, stats.delayed) == (0, 0, 0)
        assert (stats.completed, stats.failed) == (0, 0)
    assert (after["increment"].completed, after["increment"].failed) == (2, 0)
    assert (after["failing"].completed, after["failing"].failed) == (0, 1)


@rule("REG-009")
async def test_the_builder_makes_what_the_decorator_makes(kit: Kit) -> None:
    policy, queue = RetryPolicy(max_attempts=2, backoff=0), QueueOptions(concurrency=3)
    runs: list[int] = []

    async def fail(_state: TestState, ctx: Context) -> TestState:
        runs.append(ctx.metadata.attempt)
        raise OSError("always")

    decorated = processor(name="job", timeout=3.0, retry=policy, queue=queue)(fail)
    built = (
        create_processor("job")
        .with_timeout(3.0)
        .with_retry_policy(max_attempts=2, backoff=0)
        .with_queue_options(concurrency=3)
        .process(fail)
    )
    for name in ("name", "state_type", "timeout", "retry", "queue", "dependencies"):
        assert getattr(built, name) == getattr(decorated, name), name
    async with kit.runtime(built) as runtime:
        await runtime.execute(built, TestState())
    assert runs == [1, 2]


@rule("REG-010")
async def test_names_that_look_alike_are_never_mixed_up(kit: Kit) -> None:
    async with kit.runtime(*(saying(name, name) for name in ODD_NAMES)) as runtime:
        assert runtime.list_processors() == sorted(ODD_NAMES)
        results = await runtime.execute_many([(name, TestState()) for name in ODD_NAMES])
        stats = await runtime.queue_stats()
    assert [result.unwrap().message for result in results] == ODD_NAMES
    assert {name: stats[name].completed for name in ODD_NAMES} == dict.fromkeys(ODD_NAMES, 1)


@rule("REG-011")
async def test_a_caller_need_not_have_the_processor_itself(kit: Kit) -> None:
    async with kit.runtime(role="client") as client:
        async with kit.runtime(saying("greet", "from the worker"), role="worker"):
            result = await client.execute("greet", TestState())
        assert client.list_processors() == []
        with within(kit, "an answer for work whose worker has left"):
            gone = await client.execute("greet", TestState())
        assert (await client.queue_stats())["greet"].completed == 1
    assert result.unwrap().message == "from the worker"
    assert isinstance(gone.error, ProcessorNotFoundError), repr(gone.error)
