import asyncio

from am2z import processor
from harness import TestState, on_every_runtime


@processor
async def double(state: TestState, ctx) -> TestState:
    return state.evolve(count=2 * state.count)


@on_every_runtime(double)
async def test_a_processor_on_trio(runtime):
    assert (await runtime.execute(double, TestState(count=21))).unwrap().count == 42


async def test_something_else_on_asyncio():
    await asyncio.sleep(0)
    assert asyncio.get_running_loop()
