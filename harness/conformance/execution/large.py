"""Large states: whatever happens to a small one may happen to one of half a megabyte."""

from __future__ import annotations

from typing import Any

from am2z import BusinessError, Context, NetworkError, Processor, Runtime
from harness.conformance._processors import Broken, flaky, increment, make, within
from harness.conformance._watching import committed
from harness.conformance.execution.options import made
from harness.conformance.execution.ways import ways_to_ask
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


def _large(kit: Kit) -> TestState:
    """Half a megabyte."""
    return TestState(
        message="ä" * kit.share(150_000), items=[str(n) for n in range(kit.share(30_000))]
    )


def _assert_whole(state: TestState, given: TestState, where: str, count: int = 1) -> None:
    assert state.count == count, where
    assert (state.message, state.items) == (given.message, given.items), f"{where}: not the whole"


@rule("EXE-056")
async def test_a_large_state_goes_every_way_that_a_small_one_goes(kit: Kit) -> None:
    async def call(state: TestState, ctx: Context) -> TestState:
        return (await ctx.call("increment", state)).unwrap()

    later = flaky("later", [NetworkError("down")])
    others: list[Processor[Any]] = [make("call", call), later, *made(increment).values()]
    large = _large(kit)
    async with kit.runtime(increment, *others) as runtime:
        for session_id in (None, "s"):
            for way, ask in kit.some(list(ways_to_ask(runtime, session_id).items())):
                for result in await ask("increment", [large] * 2):
                    _assert_whole(result.unwrap(), large, f"{way} in {session_id}")
        _assert_whole((await committed(runtime, "s")).state, large, "what was committed")
        for other in kit.some(others):
            _assert_whole((await runtime.execute(other, large)).unwrap(), large, other.name)
        for _ in range(2):
            handle = await runtime.submit(increment, large, execution_id="large")
            _assert_whole((await handle.result()).unwrap(), large, "under an id of its own")
    await _look_at_failures(kit)


async def _look_at_failures(kit: Kit) -> None:
    """A failed result has its input, and so has a dead letter."""
    broken, large = Broken(), _large(kit)
    async with kit.runtime(broken.processor) as runtime:
        failed = await runtime.execute(broken.processor, large)
        assert isinstance(failed.error, BusinessError), repr(failed.error)
        _assert_whole(failed.state, large, "what failed", count=0)
        [letter] = await runtime.dead.list()
        shown = letter.state()
        assert isinstance(shown, TestState)
        _assert_whole(shown, large, "a dead letter", count=0)
        broken.is_mended = True
        new_id = await runtime.dead.retry(letter.execution_id)
        assert new_id is not None
        with within(kit, "the end of a dead letter that runs again"):
            handle = await runtime.submit(broken.processor, large, execution_id=new_id)
            _assert_whole((await handle.result()).unwrap(), large, "a dead letter that runs again")
        await _look_at_states(runtime, large)


async def _look_at_states(runtime: Runtime, large: TestState) -> None:
    """The store keeps what it is given."""
    await runtime.state.set("kept", large)
    await runtime.state.update("kept", _counted)
    _assert_whole((await committed(runtime, "kept")).state, large, "in the store")


def _counted(state: TestState) -> TestState:
    return state.evolve(count=state.count + 1)
