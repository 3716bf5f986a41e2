"""The runtimes of AM2Z itself, as runtimes under test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from am2z import Capability, LocalRuntime, Runtime
from harness.subject import Environment, RuntimeUnderTest

__all__ = ["BUILTIN", "LOCAL", "QUEUE_FAKE", "QUEUE_SERVER"]


@asynccontextmanager
async def _make_local(env: Environment) -> AsyncIterator[Runtime]:
    async with LocalRuntime(config=env.config, limits=env.limits) as runtime:
        yield runtime


@asynccontextmanager
async def _make_queue(env: Environment) -> AsyncIterator[Runtime]:
    from am2z import QueueRuntime  # noqa: PLC0415 - brings redis, which local does without

    async with QueueRuntime(
        env.redis_url,
        namespace=env.namespace,
        role=env.role,
        config=env.config,
        limits=env.limits,
    ) as runtime:
        yield runtime


LOCAL = RuntimeUnderTest(
    "local",
    _make_local,
    supports={Capability.PRIORITY, Capability.VIRTUAL_TIME},
    lacks={
        Capability.DURABLE: "lives in the memory of one process",
        Capability.MULTI_WORKER: "is caller and worker in one",
        Capability.NAMESPACES: "shares nothing that would need one",
    },
)

_COMMITTED = ("*:st:*", "*:s:*", "*:sessions")
"""The keys that stay: committed states, and the register of sessions."""

_ON_A_QUEUE = {
    Capability.DURABLE,
    Capability.MULTI_WORKER,
    Capability.NAMESPACES,
    Capability.PRIORITY,
}

QUEUE_FAKE = RuntimeUnderTest(
    "queue[fake]",
    _make_queue,
    supports=_ON_A_QUEUE - {Capability.DURABLE},
    lacks={
        Capability.DURABLE: "in-process fakeredis dies with its process",
        Capability.VIRTUAL_TIME: "times are the server's",
    },
    redis="fake",
)

QUEUE_SERVER = RuntimeUnderTest(
    "queue[server]",
    _make_queue,
    supports=_ON_A_QUEUE,
    lacks={Capability.VIRTUAL_TIME: "times are the server's"},
    redis="server",
    permanent_keys=_COMMITTED,
)

BUILTIN = {subject.name: subject for subject in (LOCAL, QUEUE_FAKE, QUEUE_SERVER)}
"""By name, in the order of every report."""
