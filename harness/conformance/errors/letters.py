"""Dead letters whose retry is refused, as any work may be."""

from __future__ import annotations

import pytest

from am2z import (
    BusinessError,
    ConfigurationError,
    Context,
    ProcessorNotFoundError,
    ResourceError,
    ResourceLimits,
    Runtime,
    RuntimeConfig,
    SessionStoppedError,
)
from harness.conformance._processors import Gate, make, within
from harness.kit import Kit
from harness.rules import rule
from harness.states import TestState


@rule("ERR-034")
async def test_a_letter_stays_while_its_retry_is_refused(kit: Kit) -> None:
    gate = Gate()

    async def run(state: TestState, ctx: Context) -> TestState:
        if state.message == "fail" and not gate.ended.is_set():
            raise BusinessError("not today")
        return await gate.run(state, ctx)

    work = make("work", run)
    config, limits = RuntimeConfig(concurrency=1), ResourceLimits(max_queue_size=1)
    async with kit.runtime(work, config=config, limits=limits) as runtime:
        ids = [await _fail(runtime, session_id) for session_id in ("stopped", None, "a")]
        await runtime.stop_session("stopped")
        handles = [await runtime.submit(work, TestState())]
        with within(kit, "the start of an execution"):
            await gate.started.wait()
        handles.append(await runtime.submit(work, TestState()))
        before = await runtime.dead.list()
        with pytest.raises(SessionStoppedError):
            await runtime.dead.retry(ids[0])
        for letter_id in ids[1:]:
            with pytest.raises(ResourceError) as full:
                await runtime.dead.retry(letter_id)
            assert full.value.resource == "queue"
        assert (await runtime.queue_stats())["work"].waiting == 1, "what was refused waits"
        gate.open()
        for handle in handles:
            assert (await handle.result()).success
        runtime.unregister("work")
        await runtime.sync_processors()
        with pytest.raises(ProcessorNotFoundError):
            await runtime.dead.retry(ids[1])
        assert [one.execution_id for one in await runtime.dead.list()] == [
            one.execution_id for one in before
        ], "a letter is gone though its retry was refused"
        runtime.register(work)
        await runtime.sync_processors()
        for letter_id, session_id in ((ids[1], None), (ids[2], "a")):
            new_id = await runtime.dead.retry(letter_id)
            again = await runtime.submit(
                work, TestState(message="fail"), session_id, execution_id=new_id
            )
            assert (await again.result()).success
        await runtime.stop()
        await runtime.start()
        await _look_at_questions(runtime, ids)


async def _fail(runtime: Runtime, session_id: str | None) -> str:
    result = await runtime.execute("work", TestState(message="fail"), session_id)
    assert isinstance(result.error, BusinessError), repr(result.error)
    return result.metadata.execution_id


async def _look_at_questions(runtime: Runtime, ids: list[str]) -> None:
    """What is left, and what nobody can ask for."""
    left = [letter.execution_id for letter in await runtime.dead.list()]
    assert left == ids[:1]
    assert await runtime.dead.list(limit=0) == []
    assert await runtime.dead.list("another") == []
    with pytest.raises(ConfigurationError):
        await runtime.dead.list("")
    assert not await runtime.dead.drop("nobody")
    assert await runtime.dead.drop(ids[0])
