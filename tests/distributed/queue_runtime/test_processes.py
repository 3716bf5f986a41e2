"""The caller in one process, the workers in others."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from am2z import PoisonExecutionError, SessionStoppedError

from . import apps
from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio


async def test_caller_and_worker_are_different_processes(make, workers, eyes):
    async with make(role="client") as client, workers() as worker:
        seen = []
        client.on("*", seen.append)
        result = await client.execute("add", Work(count=4), "s")
        assert (result.success, result.state.count) == (True, 5)
        assert result.state.note == str(worker.pid) != str(os.getpid())
        assert [e.type for e in seen if e.execution_id == result.metadata.execution_id] == [
            "processor:active", "processor:completed", "queue:completed",
        ]  # fmt: skip
        committed = await client.state.get("s", Work)
        assert (committed.state, committed.version) == (result.state, 1)

        nested = await client.execute("twice", Work(), "s")
        assert (nested.state.count, eyes.commits("s")) == (2, 2)

        failed = await client.execute("sell", Work(count=7), "s")
        assert type(failed.error) is apps.OutOfStockError
        assert (failed.error.sku, failed.error.message) == ("chair", "no chairs left")
        assert any("apps.py" in note for note in failed.error.__notes__)
        assert (failed.state.count, eyes.commits("s")) == (7, 2)

        retried = await client.execute("flaky", Work())
        assert (retried.success, retried.metadata.attempt, retried.state.count) == (True, 3, 3)

        seen.clear()
        told = await client.execute("tell", Work())
        assert [
            (e.type, dict(e.data)) for e in seen if "progress" in e.type or "app" in e.type
        ] == [
            ("processor:progress", {"percent": 50, "attempt": 1}),
            ("app:told", {"items": ["a"]}),
        ]
        assert {e.execution_id for e in seen} == {told.metadata.execution_id}


async def test_stopping_a_session_stops_its_work_in_another_process(make, workers, board, eyes):
    async with (
        make(role="client") as client,
        workers(concurrency=1),
        trio.open_nursery() as nursery,
    ):
        results = []

        async def call():
            results.append(await client.execute("gate", Work(note="never"), "s"))

        nursery.start_soon(call)
        await board.see("begun")
        nursery.start_soon(call)
        with trio.fail_after(3):
            await wait_until(lambda: eyes.redis.llen(eyes.key("w:gate:s")) == 1)
            await client.stop_session("s")
            await wait_until(lambda: len(results) == 2)
            # the worker's only slot is free again
            assert (await client.execute("add", Work())).success
        assert {type(result.error) for result in results} == {SessionStoppedError}
        assert board.lines("ended") == []
        assert isinstance((await client.execute("add", Work(), "s")).error, SessionStoppedError)


async def test_work_that_was_submitted_before_its_worker_came_is_done(make, workers):
    async with make(apps.add, role="client") as client:
        handle = await client.submit("add", Work())
        async with workers(wait=False):
            with trio.fail_after(10):
                assert (await handle.result()).state.count == 1


async def test_two_workers_share_the_work(make, workers, board):
    async with make(role="client") as client, workers(concurrency=1) as one:
        async with workers(concurrency=1) as two, trio.open_nursery() as nursery:
            for gate in ("a", "a"):
                nursery.start_soon(client.execute, "gate", Work(note=gate))
            # one slot each, and both run: so each has one
            await board.see("begun", 2)
            board.open("a")
        assert one.pid != two.pid


async def test_killed_worker_loses_nothing_and_commits_once(make, workers, board, eyes):
    """sidekiq/sidekiq#1831: lost between pop and lease."""
    async with make(role="client") as client, workers() as first:
        handle = await client.submit("gate", Work(note="g", count=1), "s")
        await board.see("begun")
        async with workers():
            first.kill()
            await board.see("begun", 2)
            board.open("g")
            with trio.fail_after(3):
                result = await handle.result()
        assert (result.success, result.state.count) == (True, 2)
        assert eyes.commits("s") == 1
        assert len(board.lines("ended")) == 1


async def test_stopped_worker_gives_its_work_back_uncounted(make, workers, board, eyes):
    """aegra#474: SIGTERM loses what SIGKILL keeps."""
    async with make(role="client", max_deliveries=1) as client, workers() as first:
        handle = await client.submit("gate", Work(note="g"), "s")
        await board.see("begun")
        first.signal(signal.SIGTERM)
        assert await first.exit_code() == 0
        job = eyes.redis.hgetall(eyes.key(f"j:{handle.execution_id}"))
        assert (job[b"t"], job[b"n"]) == (b"w", b"0")
        async with workers():
            await board.see("begun", 2)
            board.open("g")
            with trio.fail_after(5):
                assert (await handle.result()).success
        assert eyes.commits("s") == 1


@pytest.mark.parametrize("is_finished", [False, True])
async def test_frozen_worker_writes_nothing_after_its_lease(
    make, workers, board, eyes, is_finished
):
    """OptimalBits/bull#1416: a stale worker writes to a job that it lost."""
    async with make(role="client") as client, workers(lease=1.0) as first:
        handle = await client.submit("stubborn", Work(note="g"), "s")
        await board.see("begun")
        first.signal(signal.SIGSTOP)
        async with workers(lease=1.0):
            await board.see("begun", 2)
            if is_finished:
                board.open("g2")
                with trio.fail_after(5):
                    assert (await handle.result()).success
            events = eyes.redis.xlen(eyes.key("events"))
            before = _record(eyes, handle.execution_id)
            # It wakes with its gate open: it emits, reports progress and its result.
            board.open("g1")
            first.signal(signal.SIGCONT)
            await board.see("ended", 1 + is_finished)
            first.signal(signal.SIGTERM)
            assert await first.exit_code() == 0
            assert _record(eyes, handle.execution_id) == before
            news = eyes.redis.xrange(eyes.key("events"))[events:]
            assert [fields[b"t"] for _, fields in news if b"i" in fields] == []
            board.open("g2")
            with trio.fail_after(5):
                assert (await handle.result()).success
        assert eyes.commits("s") == 1


def _record(eyes, execution_id):
    """All that Redis knows of an execution."""
    job = eyes.redis.hgetall(eyes.key(f"j:{execution_id}"))
    return job, eyes.redis.get(eyes.key(f"r:{execution_id}"))


async def test_execution_that_kills_its_workers_ends_as_poison(make, workers, board, eyes):
    """sidekiq#4633, Bogdanp/dramatiq#383: a poison job."""
    async with make(role="client", max_deliveries=2) as client:
        async with workers(lease=0.3) as one, workers(lease=0.3) as two:
            with trio.fail_after(10):
                result = await client.execute("die", Work(), "s")
            assert isinstance(result.error, PoisonExecutionError)
            assert len(board.lines("died")) == 2
            assert {await one.exit_code(), await two.exit_code()} == {-signal.SIGKILL}
        assert eyes.commits("s") == 0


async def test_worker_that_stood_still_does_not_begin_what_it_was_given_meanwhile(
    make, workers, board, eyes, namespace
):
    """Its claim was on the server, and its lease is over when it goes on."""

    def waits_with_a_claim():
        ours = [c for c in eyes.redis.client_list() if c["name"] == f"am2z-{namespace}"]
        return any(c["cmd"] == "blpop" and int(c["qbuf"]) > 0 for c in ours)

    async with make(role="client") as client, workers(lease=1.0) as frozen:
        assert (await client.execute("add", Work())).success
        await wait_until(waits_with_a_claim)
        frozen.signal(signal.SIGSTOP)
        handle = await client.submit("add", Work(), "s")
        async with workers(lease=1.0):
            with trio.fail_after(10):
                assert (await handle.result()).success
            frozen.signal(signal.SIGCONT)
            frozen.signal(signal.SIGTERM)
            assert await frozen.exit_code() == 0
        assert len(board.lines("add")) == 2, "one each"
        assert eyes.commits("s") == 1


async def test_blocking_the_event_loop_for_three_leases_runs_once(make, workers, board, eyes):
    async with make(role="client") as client, workers(lease=0.5), workers(lease=0.5):
        result = await client.execute("block", Work(seconds=1.5), "s")
        assert result.success
        assert len(board.lines("begun")) == 1
        assert eyes.commits("s") == 1


async def test_redelivered_parent_finds_its_finished_child(make, workers, board):
    async with make(role="client") as client, workers(lease=0.5) as first:
        handle = await client.submit("parent", Work(note="g"), "s")
        await board.see("between")
        first.kill()
        async with workers(lease=0.5):
            await board.see("between", 2)
            board.open("g")
            with trio.fail_after(5):
                result = await handle.result()
        assert result.state.count == 2
        assert len(board.lines("add")) == 2  # the first child once, the second once
