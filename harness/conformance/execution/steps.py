"""What a step of a composition is: a part of its execution, or an execution of its own."""

from __future__ import annotations

from typing import Any

from am2z import Context, NetworkError, Processor, RetryPolicy, batch, chain, parallel, route
from harness.collector import TestEventCollector
from harness.conformance._processors import make
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("EXE-051")
async def test_a_step_in_place_is_a_part_and_one_by_name_an_execution(kit: Kit) -> None:
    seen: list[Context] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        seen.append(ctx)
        ctx.emit("step:told", {"depth": ctx.call_depth})
        ctx.update_progress(40)
        return state

    noting = make("noting", note)
    steps: list[Any] = [noting, "noting"]
    ways = [
        chain("line", steps),
        parallel("wide", steps),
        *(route(f"way_{n}", lambda _: 1, {1: step}) for n, step in enumerate(steps)),
        *(
            batch(f"each_{n}", step, split=lambda s: [s, s], join=lambda s, _results: s)
            for n, step in enumerate(steps)
        ),
    ]
    expected = {"line": (1, 1), "wide": (1, 1), "way_0": (1, 0), "way_1": (0, 1)}
    expected |= {"each_0": (2, 0), "each_1": (0, 2)}
    async with kit.runtime(noting, *ways) as runtime:
        last = 0
        for way in ways:
            seen.clear()
            with TestEventCollector(runtime) as events:
                whole = (await runtime.execute(way, TestState(), "s")).metadata.execution_id
                kinds = ("processor:active", "step:told", "processor:progress")
                began, told, moved = (
                    sorted(event.execution_id for event in events.events(kind)) for kind in kinds
                )
            in_place = [ctx for ctx in seen if ctx.execution_id == whole]
            called = [ctx for ctx in seen if ctx.execution_id != whole]
            assert (len(in_place), len(called)) == expected[way.name], way.name
            assert [ctx.call_depth for ctx in in_place + called] == sorted(
                ctx.call_depth for ctx in seen
            )
            assert {ctx.call_depth for ctx in in_place} <= {0}
            assert {ctx.call_depth for ctx in called} <= {1}
            assert {ctx.metadata.processor_name for ctx in seen} == {"noting"}
            assert {ctx.session_id for ctx in seen} == {"s"}
            fences = [ctx.fence for ctx in in_place]
            assert len(set(fences)) <= 1, f"parts of one execution have fences {fences}"
            assert all(fence > last for fence in fences), "a part is not fenced as its execution"
            last = max([last, *(ctx.fence for ctx in seen)])
            ids = [whole, *(ctx.execution_id for ctx in called)]
            assert began == sorted(ids), "who has told of its start, and who shall"
            assert told == moved == sorted(ctx.execution_id for ctx in seen)
    await _look_at_keys(kit)


async def _look_at_keys(kit: Kit) -> None:
    """A step in place has a key of its own: the same in each attempt of it and of the whole."""
    keys: dict[str, list[str]] = {}
    tries: list[int] = []

    async def note(state: TestState, ctx: Context) -> TestState:
        keys.setdefault(f"{state.message} {ctx.processor.name}", []).append(ctx.idempotency_key)
        return state.evolve(message=f"{state.message}.")

    async def note_twice(state: TestState, ctx: Context) -> TestState:
        await note(state, ctx)
        if ctx.metadata.attempt == 1:
            raise NetworkError("gone")
        return state.evolve(message=f"{state.message}.")

    async def fail_once(state: TestState, ctx: Context) -> TestState:
        tries.append(1)
        keys["whole"] = [ctx.execution_id] * 2
        if len(tries) == 1:
            raise NetworkError("gone")
        return state

    twice = RetryPolicy(max_attempts=2, backoff=0)
    noting, again = make("noting", note), make("again", note_twice, retry=twice)
    each: Processor[TestState] = batch(
        "each",
        noting,
        split=lambda state: [state.evolve(message=letter) for letter in "ab"],
        join=lambda state, _results: state,
    )
    whole: Processor[TestState] = chain(
        "whole",
        [chain("inner", [noting, again]), noting, each, make("fail_once", fail_once)],
        retry=twice,
    )
    async with kit.runtime(whole) as runtime:
        (await runtime.execute(whole, TestState())).unwrap()
    assert len(tries) == 2
    for name, seen in keys.items():
        assert len(seen) == (4 if name.endswith("again") else 2), name
        assert len(set(seen)) == 1, f"{name!r} has another key in another attempt: {seen}"
    assert len({seen[0] for seen in keys.values()}) == len(keys), f"two steps share a key: {keys}"
