import trio

from am2z import processor
from harness import TestState


@processor
async def double(state: TestState, ctx) -> TestState:
    return state.evolve(count=2 * state.count)


def test_own_processor_runs_on_the_runtimes_of_the_project(am2z_runtime):
    async def scenario():
        async with am2z_runtime(double) as runtime:
            return await runtime.execute(double, TestState(count=21))

    assert trio.run(scenario).unwrap().count == 42
