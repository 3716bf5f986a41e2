"""The rules of this folder run on ``QueueRuntime``: on a fake, a real server, and on shards."""

from contextlib import asynccontextmanager
from dataclasses import replace

from am2z import QueueRuntime
from harness.builtin import QUEUE_FAKE, QUEUE_SERVER


@asynccontextmanager
async def make_sharded(env):
    async with QueueRuntime(
        env.redis_url,
        namespace=env.namespace,
        role=env.role,
        config=env.config,
        limits=env.limits,
        shards=3,
    ) as runtime:
        yield runtime


def pytest_am2z_runtimes():
    return [
        QUEUE_FAKE,
        QUEUE_SERVER,
        replace(QUEUE_SERVER, name="queue[shards]", make=make_sharded),
    ]
