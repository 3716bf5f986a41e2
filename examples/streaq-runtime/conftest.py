from contextlib import asynccontextmanager

from declared import LACKS
from harness import RuntimeUnderTest
from streaq_runtime import StreaqRuntime as Streaq


@asynccontextmanager
async def make(env):
    async with Streaq(env.redis_url, env.namespace, env.config, env.limits) as runtime:
        yield runtime


def pytest_am2z_runtimes():
    return RuntimeUnderTest("streaq", make, Streaq.capabilities, LACKS, redis="server")
