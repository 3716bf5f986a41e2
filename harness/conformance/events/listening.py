"""Who is told: handlers, patterns and subscriptions."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
import trio

from am2z import (
    BusinessError,
    ConfigurationError,
    Event,
    NetworkError,
)
from harness.collector import TestEventCollector
from harness.conformance._processors import Gate, flaky, increment, within
from harness.conformance._watching import events_of, grammar_errors, recorded
from harness.conformance.events._shared import FAILED, SUCCEEDED, refuse, tell
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState
from harness.waiting import wait_for_condition


@rule("EVT-006")
async def test_every_handler_is_called_once_for_every_event(kit: Kit) -> None:
    calls: list[tuple[int, str]] = []

    def note(number: int) -> Callable[[Event], None]:
        return lambda event: calls.append((number, event.type))

    async with kit.runtime(increment) as runtime:
        for number in range(3):
            runtime.on("processor:completed", note(number))
        runtime.on("processor:active", note(9))
        await runtime.execute(increment, TestState())
    async with kit.runtime(increment) as runtime:
        late: list[Event] = []
        await runtime.execute(increment, TestState())
        runtime.on("processor:*", late.append)
        result = await runtime.execute(increment, TestState())
    told = {event.execution_id for event in late}
    assert told == {result.metadata.execution_id}, "who listens late is told what is over"
    assert sorted(calls) == [
        *((number, "processor:completed") for number in range(3)),
        (9, "processor:active"),
    ]


@rule("EVT-007")
async def test_removed_handler_is_called_no_more_and_all_others_are(kit: Kit) -> None:
    removed: list[Event] = []
    kept: list[Event] = []
    async with kit.runtime(increment) as runtime:
        for handler in (removed.append, kept.append):
            runtime.on("processor:completed", handler)
        await runtime.execute(increment, TestState())
        runtime.off("processor:completed", removed.append)
        runtime.off("processor:completed", removed.append)
        runtime.off("processor:active", kept.append)
        await runtime.execute(increment, TestState())

        async def wait(event: Event) -> None:
            raise AssertionError(f"nobody waits for a handler of {event.type}")

        for wrong in (wait, None, "a name"):
            with pytest.raises(ConfigurationError):
                runtime.on("processor:completed", cast("Callable[[Event], None]", wrong))
        for name in ("", "two\nlines", "x" * 300):
            with pytest.raises(ConfigurationError):
                runtime.on(name, kept.append)
            with pytest.raises(ConfigurationError):
                async with runtime.subscribe("order:*", name):
                    raise AssertionError(f"{name!r} is no pattern")
    assert (len(removed), len(kept)) == (1, 2)
    await _look_at_twice(kit)


async def _look_at_twice(kit: Kit) -> None:
    """Each off() undoes one on(): that of its own pattern."""
    calls: list[str] = []

    def note(event: Event) -> None:
        calls.append(event.type)

    both = ("processor:completed", "*:completed")
    async with kit.runtime(increment) as runtime:
        for pattern in (both[0], *both):
            runtime.on(pattern, note)
        for gone, number in ((None, 4), (both[0], 3), (both[1], 1), (both[1], 1), (both[0], 0)):
            if gone is not None:
                runtime.off(gone, note)
            calls.clear()
            await runtime.execute(increment, TestState())
            assert len(calls) == number, f"after off({gone!r}) it was called for {calls}"


@rule("EVT-009")
async def test_handler_that_raises_hurts_nobody(kit: Kit) -> None:
    errors = (KeyError, OSError, BusinessError, StopIteration, trio.TooSlowError, ValueError)
    numbers = itertools.cycle(range(len(errors)))

    def fail(event: Event) -> None:
        raise errors[next(numbers)](f"no use for {event.type}")

    records: list[logging.LogRecord] = []
    async with kit.runtime(increment) as runtime:
        runtime.on("*", fail)
        with recorded(records), TestEventCollector(runtime) as events:
            runtime.on("*", fail)
            results = [await runtime.execute(increment, TestState()) for _ in range(2)]
            for result in results:
                assert events_of(events, result.metadata.execution_id) == SUCCEEDED
    assert all(result.success for result in results)
    told = [f"{record.getMessage()} {record.exc_info}" for record in records]
    assert any("no use for processor:completed" in one for one in told), (
        "that a handler raised was not logged"
    )


@rule("EVT-013")
async def test_patterns_are_shell_style_and_case_matters(kit: Kit) -> None:
    def note(types: list[str]) -> Callable[[Event], None]:
        return lambda event: types.append(event.type)

    seen: dict[str, list[str]] = {
        pattern: []
        for pattern in ("order:*", "order:?", "order:[ab]", "order:[!ab]", "*", "Order:*", "order")
    }
    async with kit.runtime() as runtime:
        for pattern, types in seen.items():
            runtime.on(pattern, note(types))
        with TestEventCollector(runtime) as events:
            for name in ("order:a", "order:c", "order:long", "other:a"):
                runtime.emit(name)
            await events.wait_for_event("other:a")
    assert seen["order:*"] == ["order:a", "order:c", "order:long"]
    assert seen["order:?"] == ["order:a", "order:c"]
    assert seen["order:[ab]"] == ["order:a"]
    assert seen["order:[!ab]"] == ["order:c"]
    assert [name for name in seen["*"] if name.startswith("o")] == [*seen["order:*"], "other:a"]
    assert seen["Order:*"] == seen["order"] == []


@rule("EVT-015")
async def test_events_of_an_execution_are_delivered_before_its_result(kit: Kit) -> None:
    async with kit.runtime(tell, refuse) as runtime:
        with TestEventCollector(runtime) as events:
            story = events_of(
                events, (await runtime.execute(tell, TestState())).metadata.execution_id
            )
            handle = await runtime.submit(refuse, TestState())
            await handle.result()
            failure = events_of(events, handle.execution_id)
    assert story[-2:] == SUCCEEDED[1:]
    assert len(story) == 8
    assert failure == FAILED
    await _look_at_ends_from_outside(kit)


async def _look_at_ends_from_outside(kit: Kit) -> None:
    """Also where somebody else ends it. Who is late is so by luck: it is tried many times."""
    gate = Gate()
    ended: list[str] = []
    async with kit.runtime(gate.processor) as runtime:
        runtime.on("queue:*", lambda event: ended.append(event.execution_id))
        for number in range(kit.share(30)):
            handle = await runtime.submit(gate.processor, TestState(), "s", delay=3600.0)
            for _ in range(number % 4):  # so that who hands events on is busy when the end comes
                runtime.emit("test:noise")
            await runtime.stop_session("s")
            with within(kit, "the answer for what was delayed in a session that was stopped"):
                await handle.result()
            assert handle.execution_id in ended, "answered before its end was told"
            await runtime.clean_session("s")
        for delay in (None, 3600.0) * kit.share(5):
            handle = await runtime.submit(gate.processor, TestState(), delay=delay)
            with within(kit, f"the answer for what was cancelled, with a delay of {delay}"):
                await handle.cancel()
                await handle.result()
            assert handle.execution_id in ended, "answered before its end was told"


@rule("EVT-021")
async def test_events_reach_every_runtime_of_the_namespace(kit: Kit) -> None:
    stumbling = flaky("stumbling", [NetworkError("down")])
    async with (
        kit.runtime(stumbling, tell, role="worker") as worker,
        kit.runtime(role="client") as client,
        kit.runtime(role="client") as other,
    ):
        watchers = [TestEventCollector(runtime).start() for runtime in (client, other, worker)]

        def everybody_listens() -> bool:
            client.emit("rule:begin")
            return all(watcher.events("rule:begin") for watcher in watchers)

        await wait_for_condition(everybody_listens)
        first = await client.execute("stumbling", TestState(), "a")
        second = await client.execute("tell", first.unwrap(), "a")
        ids = [result.metadata.execution_id for result in (first, second)]
        for execution_id in ids:
            story = events_of(watchers[0], execution_id)
            assert story[-2:] == SUCCEEDED[1:], "the caller's events came after its result"
        for watcher in watchers:
            await watcher.wait_for_event("queue:completed", count=2)
            assert grammar_errors(watcher.events()) == []
            for execution_id in ids:
                assert events_of(watcher, execution_id) == events_of(watchers[0], execution_id)
            assert len(watcher.events("session:created")) == 1


def _comes_up(calls: list[str], name: str, times: int) -> bool:
    return calls.count(name) == times


@rule("EVT-024")
async def test_handlers_may_come_and_go_while_an_event_is_told(kit: Kit) -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[[Event], None]:
        return lambda _event: calls.append(name)

    def leave(_event: Event) -> None:
        calls.append("leave")
        runtime.off("order:told", leave)

    def bring(_event: Event) -> None:
        calls.append("bring")
        runtime.off("order:told", bring)
        runtime.on("order:told", note("guest"))
        runtime.on("order:*", note("other guest"))

    async def tell_and_wait(number: int) -> None:
        runtime.emit("order:told")
        for name in ("before", "after", "elsewhere"):
            await wait_for_condition(
                partial(_comes_up, calls, name, number),
                message=f"call {number} of the handler {name!r}",
            )

    async with kit.runtime() as runtime:
        for handler in (note("before"), leave, bring, note("after")):
            runtime.on("order:told", handler)
        runtime.on("*:told", note("elsewhere"))
        await tell_and_wait(1)
        assert (calls.count("leave"), calls.count("bring")) == (1, 1)
        calls[:] = ["before", "after", "elsewhere"]
        await tell_and_wait(2)
    assert sorted(calls[3:]) == ["after", "before", "elsewhere", "guest", "other guest"]
