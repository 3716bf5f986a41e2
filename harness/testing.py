"""Runtimes for tests of your own processors."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from am2z import (
    ConfigurationError,
    Processor,
    ResourceLimits,
    Runtime,
    RuntimeConfig,
)
from harness.lesson import leaves
from harness.redis import cleanup_redis
from harness.scale import scaled

if TYPE_CHECKING:
    from am2z import QueueRuntime

__all__ = ["cleanup_test_runtime", "on_every_runtime", "setup_test_runtime"]

_LIMIT = 30.0


def on_every_runtime(
    *processors: Any,
    config: RuntimeConfig | None = None,
    limits: ResourceLimits | None = None,
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run an async test once for each runtime, with these processors registered.

    The first parameter is the runtime, started; the others are fixtures as ever. The runtimes are
    ``local`` and ``queue[fake]``, or those of ``pytest_am2z_runtimes`` or ``--am2z-runtime``. A
    test that takes longer than 30 s (times ``--am2z-timeout-scale``) fails. pytest-trio is not
    needed. ::

        @on_every_runtime(price)
        async def test_a_chair_has_its_price(runtime):
            result = await runtime.execute(price, Order(items=["chair"]))
            assert result.unwrap().total == 49.0
    """
    for given in processors:
        if not isinstance(given, Processor):
            raise ConfigurationError(
                f"@on_every_runtime takes processors, not {given!r:.80}; write "
                "@on_every_runtime(my_processor) above the test"
            )

    def define(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        names = list(inspect.signature(test).parameters)
        if not names or names[0] == "self":
            raise ConfigurationError(
                f"the first parameter of {test.__qualname__} has to be the runtime, and the test a "
                "plain function"
            )

        def run(am2z_runtime: Callable[..., Any], **fixtures: Any) -> None:
            __tracebackhide__ = True

            async def main() -> None:
                __tracebackhide__ = True
                with trio.fail_after(scaled(_LIMIT)):
                    async with am2z_runtime(*processors, config=config, limits=limits) as runtime:
                        await test(runtime, **fixtures)

            try:
                trio.run(main)
            except BaseExceptionGroup as group:
                found = list(leaves(group))
                if len(found) > 1:
                    raise
                raise found[0] from None

        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # where pytest looks
            [inspect.Parameter(name, keyword) for name in ("am2z_runtime", *names[1:])]
        )
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(run, name, getattr(test, name, None))
        vars(run).update(vars(test))
        return run

    return define


@asynccontextmanager
async def setup_test_runtime(
    *processors: Processor[Any],
    redis_url: str = "fake://",
    config: RuntimeConfig | None = None,
    limits: ResourceLimits | None = None,
) -> AsyncIterator[QueueRuntime]:
    """A started ``QueueRuntime`` in a namespace of its own, which is emptied at the end. ::

    async with setup_test_runtime(price) as runtime:
        await runtime.execute(price, Order())
    """
    from am2z import QueueRuntime  # noqa: PLC0415 - brings redis, which local does without

    namespace = f"am2z-test-{uuid.uuid4().hex[:12]}"
    runtime = QueueRuntime(
        redis_url,
        namespace=namespace,
        config=config or RuntimeConfig(),
        limits=limits or ResourceLimits(),
    )
    runtime.register(*processors)
    try:
        async with cleanup_test_runtime(runtime):
            yield runtime
    finally:
        if not redis_url.startswith("fake:"):
            with trio.CancelScope(shield=True):
                await cleanup_redis(f"*{namespace}*", url=redis_url)


@asynccontextmanager
async def cleanup_test_runtime(runtime: Runtime) -> AsyncIterator[Runtime]:
    """Enter a runtime, and leave nothing of its sessions behind.

    At the end of the block every session is stopped and forgotten, its state too, and the runtime
    is closed. ::

        async with cleanup_test_runtime(LocalRuntime()) as runtime: ...
    """
    async with runtime:
        yield runtime
        if runtime.is_started:
            await runtime.clean_all_sessions()
