"""What goes on beside the executions: leases, due work, presence, the outbox, states."""

from __future__ import annotations

import time

import pytest
import trio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, ResponseError

from am2z import (
    BusinessError,
    Context,
    ExecutionCancelledError,
    Failure,
    ProcessorNotFoundError,
    RetryPolicy,
    StateConflictError,
    StateNotFoundError,
    chain,
    processor,
)
from am2z.queue import maintenance, outbox, run
from am2z.queue import worker as worker_module
from am2z.queue.client import sync_client
from am2z.queue.protocol import Parent
from am2z.queue.wire import WireError

from .apps import Work
from .conftest import wait_until, within

pytestmark = pytest.mark.trio


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@processor
async def refuse(state: Work, ctx: Context) -> Work:
    raise BusinessError("no")


@processor(retry=RetryPolicy(max_attempts=2, backoff=0.05))
async def second_time(state: Work, ctx: Context) -> Work:
    if ctx.metadata.attempt == 1:
        raise RuntimeError("not yet")
    return state.evolve(count=2)


async def test_expired_leases_and_due_work_come_back_in_batches(make, monkeypatch):
    """taskforcesh/bullmq#422: what expired at once is more than one batch."""
    monkeypatch.setattr(maintenance, "BATCH", 2)
    async with make(one, role="client", lease=0.2) as client:
        handles = [await client.submit(one, Work()) for _ in range(5)]
        ghost = await client._shards[0].node.protocol.claim(
            "ghost", [("one", 5)], total=5, lease=0.05
        )
        assert len(ghost.items) == 5
        async with make(one, role="worker"):
            with trio.fail_after(3):
                for handle in handles:
                    assert (await handle.result()).success
    async with make(second_time) as runtime:
        with trio.fail_after(3):
            results = await runtime.execute_many(second_time, [Work()] * 5)
        assert [r.state.count for r in results] == [2] * 5


UPKEEP = ["reclaim", "presence", "claim", "claim_when_woken", "look", "expired_sessions"]


@pytest.mark.parametrize("part", UPKEEP)
async def test_upkeep_goes_on_after_an_error_of_the_connection(make, monkeypatch, caplog, part):
    if part == "claim":  # when it has the news, and not before
        monkeypatch.setattr(worker_module.Worker, "_has_room_for_long", lambda _: False)
    async with make(one) as runtime:
        protocol = runtime._shards[0].node.protocol
        really, failed = getattr(protocol, part), trio.Event()

        async def fail_once(*args, **options):
            if not failed.is_set():
                failed.set()
                raise RedisConnectionError("cut")
            return await really(*args, **options)

        monkeypatch.setattr(protocol, part, fail_once)
        if part == "presence":
            with trio.move_on_after(0.5):
                await runtime._shards[0].maintenance.stay_present()
        elif part == "look":
            inbox = runtime._shards[0].inbox
            pending = inbox.expect("x", "one", is_transient=False, is_child=False)
            inbox._reconnected()
        elif part == "expired_sessions":
            assert await runtime._idle_sessions() == []
        with trio.fail_after(3):
            await failed.wait()
            assert (await runtime.execute(one, Work())).success
        if part == "look":
            inbox.forget(pending)
    assert "cut" in caplog.text


async def test_lost_lease_connection_is_opened_again(make, own_server, namespace, caplog):
    begun, gate = trio.Event(), trio.Event()

    @processor
    async def gated(state: Work, ctx: Context) -> Work:
        begun.set()
        await gate.wait()
        return state.evolve(count=1)

    async with make(gated, at=own_server.url, lease=0.3) as runtime:
        handle = await runtime.submit(gated, Work(), "s")
        await begun.wait()
        own_server.kill()
        await wait_until(lambda: "leases could not be renewed" in caplog.text)
        await trio.to_thread.run_sync(own_server.start)
        gate.set()
        with trio.fail_after(3):
            assert (await handle.result()).success
        assert await runtime.state.version("s") == 1


async def test_execution_that_lost_its_lease_may_call_nobody(make, eyes):
    fences = []

    @processor
    async def caller(state: Work, ctx: Context) -> Work:
        fences.append(ctx.fence)
        if len(fences) == 1:
            eyes.take_back(ctx.execution_id)
        result = await ctx.call("one", state)
        fences.append("called")
        return result.unwrap()

    async with make(one, caller, concurrency=4) as runtime:
        with trio.fail_after(3):
            result = await runtime.execute(caller, Work())
    assert result.success
    assert fences == [*sorted(fences[:2]), "called"]


async def test_older_run_of_the_same_execution_is_ended(make, eyes):
    fences, ended = [], []

    @processor
    async def repeated(state: Work, ctx: Context) -> Work:
        fences.append(ctx.fence)
        if len(fences) == 1:
            eyes.take_back(ctx.execution_id)
            try:
                await trio.sleep_forever()
            finally:
                ended.append(ctx.fence)
        return state.evolve(count=1)

    async with make(repeated, lease=60.0) as runtime:  # no heartbeat comes in time to tell
        with trio.fail_after(3):
            assert (await runtime.execute(repeated, Work())).success
            await wait_until(lambda: ended == fences[:1])
            await wait_until(lambda: runtime._shards[0].worker.running == 0)


@pytest.mark.parametrize("succeeds", [True, False])
async def test_result_of_a_run_that_lost_its_lease_is_refused(make, eyes, succeeds):
    """OptimalBits/bull#1416, where no heartbeat came in time to tell the old worker."""
    fences, second, gate = [], trio.Event(), trio.Event()

    @processor(retry=RetryPolicy(max_attempts=2, backoff=0.01))
    async def stale(state: Work, ctx: Context) -> Work:
        fences.append(ctx.fence)
        if len(fences) == 1:
            eyes.take_back(ctx.execution_id)
            await second.wait()
            ctx.update_progress(99)
            if not succeeds:
                raise RuntimeError("too late")
            return state.evolve(note="stale")
        second.set()
        await gate.wait()
        return state.evolve(note="fresh")

    settings = {"role": "worker", "lease": 60.0, "concurrency": 1}
    async with (
        make(stale, **settings) as one,
        make(stale, **settings) as two,
        make(stale, role="client") as client,
    ):
        handle = await client.submit(stale, Work(), "s")
        with trio.fail_after(3):
            await second.wait()
            # the old run has reported when one of the two workers is free again
            await wait_until(
                lambda: one._shards[0].worker.running + two._shards[0].worker.running == 1
            )
            job = eyes.redis.hmget(eyes.key(f"j:{handle.execution_id}"), "t", "f", "a", "g")
            assert job == [b"a", str(fences[1]).encode(), None, None]
            assert eyes.commits("s") == 0
            gate.set()
            result = await handle.result()
    assert (result.state.note, len(fences)) == ("fresh", 2)
    assert eyes.commits("s") == 1


async def test_child_whose_parent_is_gone_is_dropped(make, eyes):
    async with make(one, role="client") as client:
        protocol = client._shards[0].node.protocol
        await protocol.enqueue("top", "one", b"")
        [claimed] = (await protocol.claim("ghost", [("one", 1)], total=1, lease=9)).items
        request = client._admission.admit(one, Work(), None)
        request.execution_id = "top/1-1"
        parent = Parent("top", claimed.fence, "h")
        handle = await client._shards[0].dispatch.enqueue(request, depth=1, parent=parent)
        eyes.redis.delete(eyes.key("j:top"))
        async with make(one, role="worker"):
            with trio.fail_after(3):
                result = await handle.result()
    assert isinstance(result.error, ExecutionCancelledError)
    assert "lost the one that called it" in result.error.message


async def test_outbox_drops_the_oldest_where_far_too_much_waits(make, monkeypatch, caplog):
    monkeypatch.setattr(outbox, "MAX_WAITING", 3)
    seen = []

    @processor
    async def chatty(state: Work, ctx: Context) -> Work:
        for number in range(10):
            ctx.emit("app:n", {"n": number})
        await ctx.emit("app:n", {"n": 10})
        return state

    async with make(chatty, role="worker"), make(role="client") as client:
        client.on("app:n", lambda event: seen.append(event.data["n"]))
        await client.execute("chatty", Work())
    assert seen == [8, 9, 10]
    assert "the oldest is dropped" in caplog.text


async def test_event_that_cannot_be_sent_is_logged(make, monkeypatch, caplog):
    @processor
    async def teller(state: Work, ctx: Context) -> Work:
        await ctx.emit("app:n")
        return state

    async def cut(*args, **options):
        raise RedisConnectionError("cut")

    async with make(teller) as runtime:
        monkeypatch.setattr(runtime._shards[0].node.protocol, "emit", cut)
        assert (await runtime.execute("teller", Work())).success
    assert "an event could not be sent: cut" in caplog.text


async def test_failed_chain_tells_its_partial_state(make, eyes):
    steps = chain("steps", [one, one, refuse])
    async with make(steps, role="worker"), make(role="client") as client:
        result = await client.execute("steps", Work(), "s")
    assert (result.success, result.state.count, result.metadata.completed_steps) == (False, 2, 2)
    assert result.error.failed_processor == "refuse"
    assert eyes.commits("s") == 0


async def test_partial_state_that_cannot_cross_is_left_out(make):
    @processor
    async def halfway(state: Work, ctx: Context) -> Work:
        broken = state.evolve(items=[object()])
        return Failure(BusinessError("no"), state=broken)  # type: ignore[return-value]

    async with make(halfway) as runtime:
        result = await runtime.execute(halfway, Work(count=3))
    assert isinstance(result.error, BusinessError)
    assert result.state.count == 3


async def test_report_that_cannot_be_made_is_made_again(make, monkeypatch, eyes, caplog):
    async with make(one) as runtime:
        protocol = runtime._shards[0].node.protocol
        ack, tries = protocol.ack_many, []

        async def reply_lost(*args, **options):
            tries.append(await ack(*args, **options))
            if len(tries) == 1:
                raise RedisConnectionError("cut")
            return tries[-1]

        monkeypatch.setattr(protocol, "ack_many", reply_lost)
        assert (await runtime.execute(one, Work(), "s")).success
        await wait_until(lambda: len(tries) == 2)
        assert await runtime.state.version("s") == 1


@pytest.mark.parametrize(
    ("refusal", "is_given_up"),
    [
        (ResponseError("Error running script: unknown command"), True),
        (NoPermissionError("this user has no permissions"), True),
        (WireError("expected a list"), True),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), False),
        (ResponseError("Error running script: @user_script:3: -OOM command not allowed"), False),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), False),
        (RedisConnectionError("cut"), False),
    ],
    ids=str,
)
async def test_report_that_redis_refuses_for_good_is_given_up_and_the_execution_runs_again(
    make, monkeypatch, caplog, refusal, is_given_up
):
    runs = []

    @processor
    async def counted(state: Work, ctx: Context) -> Work:
        runs.append(ctx.fence)
        return state.evolve(count=len(runs))

    monkeypatch.setattr(worker_module, "RETRY_PAUSE", 0.01)
    settings = {"role": "worker", "lease": 0.5, "shutdown_grace": 30.0}
    async with make(counted, role="client") as client:
        async with make(counted, **settings) as worker:
            protocol = worker._shards[0].node.protocol
            ack, claim, tries, limit = protocol.ack_many, protocol.claim, [], 3 * run.REFUSALS

            def hear(reports):
                if reports:
                    tries.append(reports)
                    if is_given_up or len(tries) < limit:
                        raise refusal

            async def hear_ack(reports):
                hear(reports)
                return await ack(reports)

            async def hear_claim(*args, reports, **options):
                hear(reports)
                return await claim(*args, reports=reports, **options)

            monkeypatch.setattr(protocol, "ack_many", hear_ack)
            monkeypatch.setattr(protocol, "claim", hear_claim)
            handle = await client.submit(counted, Work(), "s")
            with trio.fail_after(10):
                await wait_until(lambda: len(tries) >= (run.REFUSALS if is_given_up else limit), 10)
                await worker.stop()
        async with make(counted, **settings):
            with trio.fail_after(10):
                assert (await handle.result()).success
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == is_given_up
    if is_given_up:
        assert "is given up" in told[0].message


async def test_error_of_the_machinery_ends_one_run_and_not_its_worker(make, monkeypatch, caplog):
    broken = []
    really = run.Run._end

    async def break_once(self, *args, **options):
        if not broken:
            broken.append(self.claimed.id)
            raise ZeroDivisionError("nobody thought of this")
        await really(self, *args, **options)

    monkeypatch.setattr(run.Run, "_end", break_once)
    async with make(one, lease=0.3) as runtime:
        handle = await runtime.submit(one, Work())
        await wait_until(lambda: broken)
        with trio.fail_after(10):
            assert (await runtime.execute(one, Work())).success
            assert (await handle.result()).success
    assert broken == [handle.execution_id]
    assert "broke its worker" in caplog.text
    assert "nobody thought of this" in caplog.text


async def test_error_of_the_heartbeat_does_not_end_it(make, monkeypatch, caplog):
    begun, gate = trio.Event(), trio.Event()

    @processor
    async def gated(state: Work, ctx: Context) -> Work:
        begun.set()
        await gate.wait()
        return state

    async with make(gated, lease=1.0) as runtime:
        renew, beats = runtime._shards[0].inbox._leases._renew, []

        def break_once(*args):
            beats.append(args)
            if len(beats) == 1:
                raise RuntimeError("dictionary changed size during iteration")
            return renew(*args)

        monkeypatch.setattr(runtime._shards[0].inbox._leases, "_renew", break_once)
        handle = await runtime.submit(gated, Work())
        await begun.wait()
        await wait_until(lambda: len(beats) >= 4, 10)
        gate.set()
        with trio.fail_after(10):
            assert (await handle.result()).success
    assert "leases could not be renewed: dictionary changed" in caplog.text


async def test_work_that_cannot_be_given_back_comes_back_by_its_lease(make, monkeypatch, caplog):
    begun = trio.Event()

    @processor
    async def stuck(state: Work, ctx: Context) -> Work:
        if not begun.is_set():
            begun.set()
            await trio.sleep_forever()
        return state.evolve(count=1)

    async def cut(*args, **options):
        raise RedisConnectionError("cut")

    async with make(stuck, role="client") as client:
        handle = await client.submit(stuck, Work())
        async with make(stuck, role="worker", lease=0.3, shutdown_grace=0.01) as worker:
            await begun.wait()
            monkeypatch.setattr(worker._shards[0].node.protocol, "nack", cut)
        async with make(stuck, role="worker"):
            with trio.fail_after(3):
                assert (await handle.result()).success
    assert "could not be given back" in caplog.text


async def test_states_are_written_only_over_the_expected_version(make, eyes):
    async with make(one) as runtime:
        states = runtime.state
        with pytest.raises(StateNotFoundError):
            await states.update("s", lambda state: state)
        assert await states.set("s", Work(count=1), expected_version=0) == 1
        with pytest.raises(StateConflictError, match="version 1, not 0"):
            await states.set("s", Work(count=2), expected_version=0)

        async def increase():
            await states.update("s", lambda state: state.evolve(count=state.count + 1))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(increase)
        found = await states.get("s", Work)
        assert (found.state.count, found.version) == (11, 11)
        assert await states.exists("s")
        await states.set("s", Work(), ttl=100)
        assert 99_000 < eyes.redis.pttl(eyes.key("st:s")) <= 100_000
        await states.set("s", Work())
        assert eyes.redis.pttl(eyes.key("st:s")) == -1
        await states.delete("s")
        await states.delete("s")
        assert await states.get("s") is None


async def test_committed_states_have_the_configured_time_to_live(make, eyes):
    async with make(one, state_ttl=50.0) as runtime:
        await runtime.execute(one, Work(), "s")
        assert 49_000 < eyes.redis.pttl(eyes.key("st:s")) <= 50_000


async def test_statistics_are_true_across_runtimes(make):
    async with make(one, refuse, role="worker") as worker, make(one, role="client") as client:
        await client.execute_many(one, [Work()] * 3, "s")
        await client.execute("refuse", Work(), "s")
        for runtime in (worker, client):
            counts = await runtime.queue_stats()
            assert (counts["one"].completed, counts["refuse"].failed) == (3, 1)
            total = await runtime.stats()
            assert (total.completed, total.failed, total.active_sessions) == (3, 1, 1)
            assert total.uptime > 0
        assert (await client.stats()).running == 0


async def test_killed_worker_counts_as_there_for_a_lease_and_a_second(make, workers):
    """New callers are told that nobody serves it; who waits already is served by the next one."""
    assert maintenance.PRESENCE_MARGIN == 1.0
    results = []

    @processor(name="add")
    async def add(state: Work, ctx: Context) -> Work:
        return state.evolve(count=state.count + 1)

    async def call():
        results.append(await client.execute("add", Work()))

    async def once() -> float:
        results.clear()
        async with workers(lease=4.5) as worker:
            assert (await client.execute("add", Work())).success
            worker.kill()
        killed = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            while True:
                handle = await client.submit("add", Work(), delay=100.0)
                if handle.pending.finished is not None:
                    break
                await handle.cancel()
                await trio.sleep(0.01)
            took = trio.current_time() - killed
            assert isinstance((await handle.result()).error, ProcessorNotFoundError)
            assert results == []
            async with make(add, role="worker"):
                with trio.fail_after(10):
                    await wait_until(lambda: results, 10)
        assert results[0].success
        return took

    async with make(role="client") as client:
        await within(4.5 + 1.0 + 0.5, once)


async def test_worker_whose_event_loop_is_held_up_counts_as_there(make, eyes, monkeypatch):
    monkeypatch.setattr(maintenance, "LEAST_PRESENCE", 0.6)
    monkeypatch.setattr(maintenance, "PRESENCE_MARGIN", 0.3)

    def is_there() -> bool:
        seconds, micros = eyes.redis.time()
        [(_, until)] = eyes.redis.zrange(eyes.key("served:holder"), 0, -1, withscores=True)
        return until > seconds * 1000 + micros / 1000

    @processor
    async def holder(state: Work, ctx: Context) -> Work:
        time.sleep(1.5)  # noqa: ASYNC251
        there.append(is_there())
        return state

    there: list[bool] = []
    async with make(holder, lease=0.3) as runtime:
        for _ in range(5):  # a machine that is busy holds the thread up, too
            assert (await runtime.execute(holder, Work())).success
            if there[-1]:
                break
    assert there[-1]


async def test_processor_counts_as_served_right_after_redis_came_back_empty(make, own_server):
    at = own_server.url
    async with make(one, at=at, role="worker"), make(role="client", at=at) as client:
        for _ in range(5):
            assert (await client.execute("one", Work())).success
            with sync_client(at) as admin:
                admin.flushall()
                admin.client_kill_filter(_type="normal", skipme=True)
            with trio.fail_after(10):
                await wait_until(
                    lambda: client._shards[0].dispatch._settled_at > trio.current_time()
                )
                assert (await client.execute("one", Work())).success
        unknown = await client.execute("unknown", Work())
        assert isinstance(unknown.error, ProcessorNotFoundError)


async def test_fence_has_an_end_also_where_nobody_says_goodbye(make, eyes):
    async with make(one) as runtime:  # its presence was told before there was a fence
        for _ in range(2):
            assert (await runtime.execute(one, Work())).success
            assert eyes.redis.ttl(eyes.key("fence")) > 6 * 24 * 3600
