"""A runtime in front of another one hands on what it does not do itself."""

from typing import Any

import trio

from am2z import AppState, Context, LocalRuntime, RuntimeCore, processor
from am2z.authoring import ForwardingRuntime


class Count(AppState):
    count: int = 0


@processor
async def add(state: Count, ctx: Context) -> Count:
    return state.evolve(count=state.count + 1)


class Counting(ForwardingRuntime):
    asked = 0

    async def submit(self, *args: Any, **options: Any) -> Any:
        self.asked += 1
        return await super().submit(*args, **options)


def test_everything_that_a_runtime_must_write_is_handed_on() -> None:
    must = {
        name
        for name, part in vars(RuntimeCore).items()
        if getattr(part, "__isabstractmethod__", False)
    }
    assert len(must) > 20
    assert must <= vars(ForwardingRuntime).keys()


def test_a_subclass_sees_every_execution_that_is_asked_for() -> None:
    async def main() -> None:
        inner = LocalRuntime()
        async with Counting(inner).register(add) as runtime:
            assert (await runtime.execute(add, Count())).unwrap().count == 1
            assert len(await runtime.execute_many(add, [Count(), Count()])) == 2
            await (await runtime.submit(add, Count(), "s", execution_id="one")).result()
            assert runtime.asked == 4
            assert await runtime.active_sessions() == await inner.active_sessions() == ["s"]
            assert runtime.resources is inner.resources
            assert runtime.capabilities == inner.capabilities
        assert not inner.is_started

    trio.run(main)


def test_one_may_stand_in_front_of_another() -> None:
    async def main() -> None:
        front = Counting(back := Counting(LocalRuntime()))
        async with front.register(add):
            await front.execute(add, Count())
        assert (front.asked, back.asked) == (1, 1)

    trio.run(main)
