from contextlib import asynccontextmanager

from declared import LACKS
from harness import RuntimeUnderTest
from sqlite_runtime import SqliteRuntime


@asynccontextmanager
async def make(env):
    async with SqliteRuntime(env.folder / "w.db", config=env.config, limits=env.limits) as runtime:
        yield runtime


def pytest_am2z_runtimes():
    return [RuntimeUnderTest("sqlite", make, SqliteRuntime.capabilities, LACKS)]
