"""What broke systems of this kind before, where no other test has the claim for its name.

All of it is listed in ``docs/faults.md``, with the tests that hold each.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
import trio

from am2z import (
    BusinessError,
    Context,
    PayloadTooLargeError,
    RetryPolicy,
    RuntimeConfig,
    processor,
)
from am2z.queue.library import library
from harness import RedisProxy

from .apps import Work
from .conftest import ROOT, wait_until, within

pytestmark = pytest.mark.trio


SCRIPTS = {script.sha: name for name, script in library().items()}


@processor(name="add")
async def add(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


async def test_after_ten_seconds_without_redis_work_flows_within_three(make, own_server):
    """taskforcesh/bullmq#2964, #4585, celery/celery#8091: a worker sits idle after Redis came back.

    It went away in the middle of a blocking pop, and for so long that every pause between attempts
    has grown as long as it gets.
    """
    at = own_server.url

    async def once() -> float:
        async with (
            make(add, at=at, role="worker", lease=30.0),
            make(add, at=at, role="client") as client,
        ):
            await client.execute(add, Work(), "s")
            delayed = await client.submit(add, Work(count=1), "s", delay=1.0)
            own_server.kill()  # the worker blocks: there is nothing else to do
            with trio.move_on_after(10):
                await delayed.result()
            await trio.to_thread.run_sync(own_server.start)
            back = trio.current_time()
            result = await client.execute(add, Work(count=5), "s")
            assert (result.unwrap().count, (await delayed.result()).unwrap().count) == (6, 2)
            took = trio.current_time() - back
            versions.append(await client.state.version("s"))
        return took

    versions: list[int] = []
    await within(3.0, once)
    assert versions == [3 * (number + 1) for number in range(len(versions))]


async def test_worker_killed_right_after_its_claim_loses_nothing(make, workers, eyes, url):
    """sidekiq/sidekiq#1831, jobseek#3159: lost between pop and lease.

    The work was claimed and had not begun, as what a worker fetches ahead: it must run again within
    one lease and a second.
    """
    lease = 1.0
    assert RuntimeConfig().lease == 10.0, "what this is the short form of"

    async def once() -> float:
        handle = await client.submit("add", Work(), "s")
        async with RedisProxy(url, scripts=SCRIPTS) as proxy:
            claim = proxy.cut("claim", when="applied")
            async with workers(at=proxy.url, wait=False, lease=lease) as first:
                with trio.fail_after(40):
                    await claim.wait()
                since = trio.current_time()
                first.kill()
        async with make(add, role="worker", lease=lease):
            with trio.fail_after(20):
                assert (await handle.result()).unwrap().count == 1
            return trio.current_time() - since

    async with make(add, role="client", max_deliveries=9) as client:
        await within(lease + 1.0, once)
        assert eyes.keys("leases") | eyes.keys("j:*") == set()


async def test_worker_claims_no_more_than_it_is_about_to_start(make, eyes):
    """Measured elsewhere: what a killed worker had fetched ahead waits for minutes."""
    begun, gate = [], trio.Event()

    @processor
    async def gated(state: Work, ctx: Context) -> Work:
        begun.append(state.count)
        await gate.wait()
        return state

    async with make(gated, role="client") as client:
        handles = [await client.submit(gated, Work(count=number)) for number in range(10)]
        async with make(gated, role="worker", concurrency=3):
            with trio.fail_after(5):
                await wait_until(lambda: len(begun) == 3)
            assert eyes.redis.zcard(eyes.key("leases")) == 3
            assert (await client.queue_stats())["gated"].waiting == 7
            gate.set()
            with trio.fail_after(5):
                for handle in handles:
                    assert (await handle.result()).success
    assert sorted(begun) == list(range(10))


async def test_worker_killed_in_the_middle_of_a_reclaim_leaves_it_to_the_others(
    make, workers, eyes, url
):
    """taskiq-redis#131: a lock with no TTL stops reclaim for ever."""
    async with make(add, role="client", lease=1.0, max_deliveries=9) as client:
        protocol = client._shards[0].node.protocol
        handles = [await client.submit("add", Work()) for _ in range(5)]
        await protocol.claim("ghost", [("add", 5)], total=5, lease=0.001)
        for when in ("before", "applied"):
            async with RedisProxy(url, scripts=SCRIPTS) as proxy:
                reclaim = proxy.cut("reclaim", when=when)
                async with workers(at=proxy.url, wait=False) as victim:
                    with trio.fail_after(40):
                        await reclaim.wait()
                    victim.kill()
        async with make(add, role="worker"):
            with trio.fail_after(20):
                for handle in handles:
                    assert (await handle.result()).success
    assert eyes.keys("leases") == set()
    assert eyes.immortal() == set()


async def test_delayed_execution_holds_no_lease_and_starts_once(make, eyes):
    """celery/kombu#337, celery#5935: it is longer delayed than a lease, and delivered twice."""
    runs = []

    @processor
    async def counted(state: Work, ctx: Context) -> Work:
        runs.append(ctx.execution_id)
        return state

    async with make(counted, lease=0.2) as runtime, make(counted, lease=0.2):
        handle = await runtime.submit(counted, Work(), delay=1.0)
        assert eyes.redis.zcard(eyes.key("leases")) == 0
        assert eyes.redis.zcard(eyes.key("delayed")) == 1
        with trio.fail_after(10):
            assert (await handle.result()).success
    assert runs == [handle.execution_id]


async def test_thousand_instant_executions_leave_no_waiter_hanging(make):
    """taskforcesh/bullmq#383: the result misses the waiter."""
    async with make(add, role="worker"), make(add, role="client") as client:
        results = []

        async def call(number: int) -> None:
            results.append((number, await client.execute("add", Work(count=number))))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(1000):
                    nursery.start_soon(call, number)
        assert client._shards[0].inbox.waiting == []
    assert sorted(number for number, _ in results) == list(range(1000))
    assert all(result.unwrap().count == number + 1 for number, result in results)


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_clocks_an_hour_off_change_nothing(
    make, board, eyes, url, namespace, monkeypatch, skew
):
    """sidekiq#2800: clock skew. The caller's clock is off the one way, the worker's the other."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - skew)
    words = [url, namespace, json.dumps({"lease": 1.0, "shutdown_grace": 1.0}), str(skew)]
    program = [sys.executable, "-W", "error", "-m", f"{__package__}.skewed", *words]
    worker = subprocess.Popen(program, cwd=ROOT)  # noqa: ASYNC220
    try:
        await board.see("ready", timeout=40.0)
        async with make(role="client", lease=1.0) as client:
            with trio.fail_after(20):
                assert (await client.execute("linger", Work(seconds=2.5), "s")).success
                assert len(board.lines("begun")) == 1, "no lease ended before its time"
                delayed = await client.submit("add", Work(), "s", delay=0.3)
                assert (await delayed.result()).success
                assert (await client.execute("flaky", Work(), "s")).success
                # A lease that has ended is noticed, whatever anybody's clock says.
                handle = await client.submit("gate", Work(note="g"), "s")
                await board.see("begun", 2)
                worker.send_signal(signal.SIGSTOP)
                await wait_until(lambda: eyes.redis.zcard(eyes.key("leases")) == 0, 10)
                worker.send_signal(signal.SIGCONT)
                board.open("g")
                assert (await handle.result()).success
            assert eyes.commits("s") == 4
    finally:
        worker.kill()
        worker.wait()


async def test_caller_gets_the_last_attempts_outcome_and_never_an_earlier_one(make, workers):
    """The original answered the caller with the first failed attempt while retries went on."""
    async with make(role="client") as client, workers():
        done = await client.execute("flaky", Work())
        assert (done.success, done.metadata.attempt, done.state.count) == (True, 3, 3)


async def test_failed_executions_error_is_that_of_its_last_attempt(make):
    @processor(retry=RetryPolicy(max_attempts=3, backoff=0.01))
    async def failing(state: Work, ctx: Context) -> Work:
        raise RuntimeError(f"attempt {ctx.metadata.attempt}")

    async with make(failing, role="worker"), make(role="client") as client:
        result = await client.execute("failing", Work())
    assert "attempt 3" in result.error.message
    assert result.metadata.attempt == 3


async def test_versions_only_grow(make, eyes):
    """The original reset the version of a state to 1 with every run."""
    attempts = []

    @processor(retry=RetryPolicy(max_attempts=2, backoff=0.01))
    async def eventful(state: Work, ctx: Context) -> Work:
        attempts.append(state.note)
        if state.note == "fails":
            raise BusinessError("no")
        if state.note == "retried" and attempts.count("retried") == 1:
            raise RuntimeError("once more")
        if state.note == "taken back" and attempts.count("taken back") == 1:
            eyes.take_back(ctx.execution_id)
            await trio.sleep_forever()
        return Work(count=state.count + 1)  # built from nothing: its own version is 1

    notes = ["", "retried", "fails", "taken back", ""]
    async with make(eventful, role="client") as client:
        stored, values, latest = [], [], Work()
        for note in notes:
            async with make(eventful, role="worker", lease=0.4):  # another worker for each
                with trio.fail_after(10):
                    result = await client.execute(eventful, latest.evolve(note=note), "s")
            assert result.success == (note != "fails")
            kept = await client.state.get("s", Work)
            latest = kept.state
            stored.append(kept.version)
            values.append(latest.metadata.version)
    assert stored == [1, 2, 2, 3, 4]
    assert values == sorted(values)
    assert len(set(values)) == 4


async def test_plain_function_runs_in_a_thread_and_holds_up_nobody(make):
    """The loop goes on beside it, for other executions and for leases: it runs once."""
    gate, runs = threading.Event(), []

    @processor
    def blocking(state: Work, ctx: Context) -> Work:
        runs.append(threading.get_ident())
        assert gate.wait(30)
        return state.evolve(count=1)

    async def once() -> float:
        gate.clear()
        runs.clear()
        handle = await runtime.submit(blocking, Work())
        await wait_until(lambda: runs, 10)
        since = trio.current_time()
        with trio.fail_after(20):
            while trio.current_time() - since < 3 * lease:
                assert (await runtime.execute(add, Work())).success
        gate.set()
        with trio.fail_after(10):
            assert (await handle.result()).success
        assert threading.get_ident() not in runs
        return len(runs)

    lease = 0.4
    async with make(blocking, add, lease=lease) as runtime, make(blocking, lease=lease):
        await within(1, once)


async def test_job_of_ten_leases_runs_once(make, workers, board):
    """celery/kombu#337, celery#5935: a long job is delivered twice."""

    async def once() -> float:
        before = len(board.lines("begun"))
        assert (await client.execute("linger", Work(seconds=10 * lease))).success
        return len(board.lines("begun")) - before

    lease = 0.4
    async with make(role="client") as client, workers(lease=lease), workers(lease=lease):
        await within(1, once)


async def test_too_large_a_payload_is_refused_and_leaves_nothing_behind(make, eyes):
    """bullmq#3087, #366, bull#1357: events and payloads fill the memory."""
    async with make(add, role="client", max_payload_bytes=1000) as client:
        before = eyes.keys()
        with pytest.raises(PayloadTooLargeError):
            await client.execute(add, Work(note="x" * 2000), "s")
        with pytest.raises(PayloadTooLargeError):
            client.emit("app:large", {"note": "x" * 100_000})
        assert eyes.keys() == before
