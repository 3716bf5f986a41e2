from contextlib import asynccontextmanager

from mypkg import MyRuntime

from harness import Capability, RuntimeUnderTest


@asynccontextmanager
async def make(env):  # fresh and isolated for each test
    async with MyRuntime(config=env.config, limits=env.limits) as runtime:
        yield runtime


def pytest_am2z_runtimes():
    own = {Capability.PRIORITY, Capability.VIRTUAL_TIME}
    lacks = {what: "lives in one process" for what in Capability if what not in own}
    return [RuntimeUnderTest("wheel", make, supports=own, lacks=lacks)]
