"""A project that lives on asyncio, and has a runtime to prove."""

import asyncio
from contextlib import asynccontextmanager

import pytest_asyncio
from shop import ShopRuntime

from harness import Capability, RuntimeUnderTest


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def on_a_loop():
    await asyncio.sleep(0)
    yield
    await asyncio.sleep(0)


@asynccontextmanager
async def make(env):
    async with ShopRuntime(config=env.config, limits=env.limits) as runtime:
        yield runtime


def pytest_am2z_runtimes():
    can = {Capability.PRIORITY, Capability.VIRTUAL_TIME}
    lacks = {what: "one process" for what in Capability if what not in can}
    return [RuntimeUnderTest("guest", make, supports=can, lacks=lacks)]
