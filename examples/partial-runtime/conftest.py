from contextlib import asynccontextmanager

from declared import KNOWN, LACKS
from harness import RuntimeUnderTest
from quiet_runtime import QuietRuntime


@asynccontextmanager
async def make(env):
    async with QuietRuntime(config=env.config, limits=env.limits) as runtime:
        yield runtime


def pytest_am2z_runtimes():
    return [RuntimeUnderTest("quiet", make, QuietRuntime.capabilities, LACKS, KNOWN)]
