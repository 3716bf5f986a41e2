"""A caller that is cancelled at each of its steps in turn: nothing is left of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from am2z import Context, processor

from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


class _CancelAtStep(trio.abc.Instrument):
    """Cancels a scope after the n-th step of the task that made it, or of all tasks together."""

    def __init__(self, step: int, scope: trio.CancelScope, whose: str) -> None:
        self.left = step
        self.scope = scope
        self.task = trio.lowlevel.current_task() if whose == "own" else None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.task in (None, task):
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def cancelled_at(
    step: int, fn: Callable[[], Awaitable[object]], whose: str = "own"
) -> object | None:
    """What ``fn`` gave, or ``None`` where it was cancelled after so many steps."""
    answer = None
    with trio.CancelScope() as scope:
        instrument = _CancelAtStep(step, scope, whose)
        trio.lowlevel.add_instrument(instrument)
        try:
            answer = await fn()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return answer


@pytest.mark.parametrize(
    ("whose", "forgotten"), [("own", False), ("own", True), ("any", False), ("any", True)]
)
@pytest.mark.parametrize("kind", ["real", "fake"])
async def test_execute_cancelled_at_each_step_leaves_nothing(
    make, url, namespace, kind, whose, forgotten
):
    at = url if kind == "real" else f"fake://{namespace}"
    async with make(one, at=at, role="worker") as worker, make(one, at=at, role="client") as client:
        client.on("*", lambda event: None)

        def call():
            return client.execute(one, Work(), f"s{steps}")

        steps = cancelled = through = 0
        while through < 2:
            steps += 1
            assert steps < 500
            if forgotten:
                await client._shards[0].node.client.script_flush()
            with trio.fail_after(3):
                answer = await cancelled_at(steps, call, whose)
                assert client._shards[0].inbox.waiting == []
                while await _is_busy(client, worker):  # noqa: ASYNC110
                    await trio.sleep(0.001)
            # It was committed once, or the caller took it back before: nothing between.
            version = await client.state.version(f"s{steps}")
            assert version == 1 if answer else version in (0, 1)
            cancelled += answer is None
            through += answer is not None
        assert cancelled >= 2


@pytest.mark.parametrize("kind", ["real", "fake"])
async def test_submit_cancelled_at_each_step_leaves_nothing_or_gives_a_handle(
    make, url, namespace, kind
):
    at = url if kind == "real" else f"fake://{namespace}"
    async with make(one, at=at, role="client") as client:
        client.on("*", lambda event: None)
        steps = cancelled = 0
        while True:
            steps += 1
            assert steps < 100
            with trio.fail_after(3):
                handle = await cancelled_at(steps, lambda: client.submit(one, Work()))
            waiting = (await client.queue_stats())["one"].waiting
            if handle is None:
                cancelled += 1
                assert waiting == 0
                assert client._shards[0].inbox.waiting == []
            else:
                assert waiting == 1
                await handle.cancel()
                if steps > cancelled + 1:
                    break
        assert cancelled >= 1


async def test_stop_cancelled_at_each_step_ends_all_the_same(make):
    for step in range(1, 4):
        async with make(one) as runtime:
            with trio.fail_after(5):
                await cancelled_at(step, runtime.stop)
                await wait_until(lambda: not runtime.is_started)
                await runtime.start()
                assert (await runtime.execute(one, Work())).success


async def _is_busy(client, worker) -> bool:
    counts = (await client.queue_stats()).values()
    return worker._shards[0].worker.running or any(q.waiting + q.active + q.delayed for q in counts)
