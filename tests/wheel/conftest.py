from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from am2z import Capability, LocalRuntime
from harness import Environment, RuntimeUnderTest


@asynccontextmanager
async def make(env: Environment) -> AsyncIterator[LocalRuntime]:
    async with LocalRuntime(config=env.config, limits=env.limits) as runtime:
        yield runtime


def pytest_am2z_runtimes():
    supports = {Capability.PRIORITY, Capability.VIRTUAL_TIME}
    absent = "this runtime lives in one process"
    lacks = {capability: absent for capability in Capability if capability not in supports}
    return [RuntimeUnderTest("guest", make, supports=supports, lacks=lacks)]
