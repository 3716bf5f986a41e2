"""What failed for good: kept in Redis, bounded, and handled from the command line."""

import json

import pytest
import trio

from am2z import (
    AppState,
    BusinessError,
    Context,
    PoisonExecutionError,
    ResourceError,
    ResourceLimits,
    StateCorruptError,
    processor,
)
from am2z.cli import main
from am2z.queue.keys import encode


class Order(AppState):
    count: int = 0


accepts = False


@processor
async def charge(state: Order, ctx: Context) -> Order:
    if not accepts:
        raise BusinessError("the card was refused", context={"amount": 49})
    return state.evolve(count=state.count + 1)


@processor
async def parent(state: Order, ctx: Context) -> Order:
    await ctx.call("charge", state)
    return state


@pytest.fixture
def cli(url, namespace, capsys):
    """Run ``am2z dead …`` beside the running test, and give status, output and errors."""

    async def run(*words):
        command = ["dead", *words, "--redis", url, "--namespace", namespace]
        status = await trio.to_thread.run_sync(main, command)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.mark.trio
async def test_command_lists_shows_retries_and_drops(make, cli, monkeypatch):
    async with make().register(charge) as runtime:
        ids = [
            (await runtime.execute(charge, Order(count=n), "s")).metadata.execution_id
            for n in range(3)
        ]
        status, out, _ = await cli("list")
        assert status == 0
        assert [line.split()[0] for line in out.splitlines()] == ids[::-1]
        assert "BusinessError: the card was refused" in out

        status, out, _ = await cli("show", ids[1])
        assert status == 0
        assert '"count": 1' in out

        monkeypatch.setitem(globals(), "accepts", True)
        status, out, _ = await cli("retry", ids[1])
        assert status == 0
        new_id = out.split()[-1]
        handle = await runtime.submit(charge, Order(), "s", execution_id=new_id)
        assert (await handle.result()).state.count == 2

        status, out, _ = await cli("drop", ids[0])
        assert status == 0
        _, out, _ = await cli("list", "--json", "--processor", "charge")
        [left] = json.loads(out)
        assert left["execution_id"] == ids[2]
        assert left["error"]["context"] == {"amount": 49}
        assert left["state"]["count"] == 2

        status, out, _ = await cli("drop", "--all")
        assert status == 0
        assert (await cli("list"))[1] == "no dead letters\n"


@pytest.mark.trio
async def test_command_says_what_is_wrong(make, cli):
    async with make().register(charge) as runtime:
        failed = (await runtime.execute(charge, Order())).metadata.execution_id
        status, _, err = await cli("show", "nobody")
        assert status == 1
        assert "nobody: no such dead letter" in err
        status, _, err = await cli("drop")
        assert status == 2
        assert "which one" in err
    status, _, err = await cli("retry", failed)
    assert status == 1
    assert "start a worker that serves it" in err


@pytest.mark.trio
async def test_failed_call_is_no_dead_letter_of_its_own(make):
    async with make().register(charge, parent) as runtime:
        assert (await runtime.execute(parent, Order())).success
        assert await runtime.dead.list() == []


@pytest.mark.trio
async def test_what_was_stopped_or_cancelled_is_no_dead_letter(make):
    async with make().register(charge) as runtime:
        await (await runtime.submit(charge, Order(), delay=60)).cancel()
        handle = await runtime.submit(charge, Order(), "s", delay=60)
        await runtime.stop_session("s")
        assert not (await handle.result()).success
        assert await runtime.dead.list() == []


@pytest.mark.trio
async def test_dead_letters_are_bounded_and_end_by_themselves(make, eyes):
    async with make().register(charge) as runtime:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(_fail_often, runtime, 21)
        letters = await runtime.dead.list(limit=5000)
        assert len(letters) == 1000
        node = runtime._running[0].node
        kept = [key async for key in _scan(node, "x:*")]
        assert len(kept) == 1000
        assert await node.client.call("PTTL", kept[0]) > 0
        assert await node.client.call("PTTL", node.key("dead")) > 0


async def _fail_often(runtime, times):
    for _ in range(times):
        await runtime.execute("charge", Order())


async def _scan(node, pattern):
    cursor = b"0"
    literal = node.key("").replace("[", "\\[")
    while True:
        cursor, keys = await node.client.call(
            "SCAN", cursor, "MATCH", literal + pattern, "COUNT", 500
        )
        for key in keys:
            yield key
        if cursor == b"0":
            return


@pytest.mark.trio
async def test_letter_that_cannot_be_read_is_listed_and_can_be_dropped(make):
    async with make().register(charge) as runtime:
        failed = (await runtime.execute(charge, Order())).metadata.execution_id
        node = runtime._running[0].node
        await node.client.call("HSET", node.key(f"x:{encode(failed)}"), "d", b"\xff", "r", b"\xff")
        [letter] = await runtime.dead.list()
        assert isinstance(letter.error, StateCorruptError)
        assert letter.data == b"\xff"
        assert await runtime.dead.drop(failed)


@pytest.mark.trio
async def test_letter_without_a_word_from_its_worker_was_poison(make):
    async with make().register(charge) as runtime:
        failed = (await runtime.execute(charge, Order())).metadata.execution_id
        node = runtime._running[0].node
        await node.client.call("HSET", node.key(f"x:{encode(failed)}"), "r", b"")
        [letter] = await runtime.dead.list()
        assert isinstance(letter.error, PoisonExecutionError)


@pytest.mark.trio
async def test_retry_that_was_cut_in_the_middle_runs_once(make, monkeypatch):
    async with make().register(charge) as runtime:
        failed = (await runtime.execute(charge, Order(), "s")).metadata.execution_id
        monkeypatch.setitem(globals(), "accepts", True)
        node = runtime._running[0].node
        saved = {
            key: await node.client.call("DUMP", node.key(key))
            for key in (f"x:{encode(failed)}", "dead")
        }
        first = await runtime.dead.retry(failed)
        for key, dump in saved.items():  # as if the retry had died before its last step
            await node.client.call("RESTORE", node.key(key), 0, dump, "REPLACE")
        assert await runtime.dead.retry(failed) == first
        handle = await runtime.submit(charge, Order(), "s", execution_id=first)
        assert (await handle.result()).success
        assert await runtime.state.version("s") == 1


@pytest.mark.trio
async def test_retry_is_refused_where_the_queue_is_full_and_the_letter_stays(make):
    begun, gate = trio.Event(), trio.Event()

    @processor
    async def picky(state: Order, ctx: Context) -> Order:
        if not state.count:
            raise BusinessError("nothing was ordered")
        begun.set()
        await gate.wait()
        return state

    limits = ResourceLimits(max_queue_size=1)
    async with make(picky, role="worker", concurrency=1), make(role="client", limits=limits) as us:
        letter = (await us.execute("picky", Order())).metadata.execution_id
        running = await us.submit("picky", Order(count=1))
        await begun.wait()
        waiting = await us.submit("picky", Order(count=1))
        with pytest.raises(ResourceError, match="full"):
            await us.dead.retry(letter)
        assert await us.dead.get(letter) is not None
        gate.set()
        assert (await running.result()).success
        assert (await waiting.result()).success
        assert await us.dead.retry(letter) is not None
