"""A runtime on several servers begins, ends and begins again, whatever one of the servers does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from am2z import (
    AM2ZError,
    Context,
    NetworkError,
    QueueRuntime,
    RuntimeConfig,
    RuntimeStoppedError,
    processor,
)
from am2z.queue import node
from am2z.queue.keys import shard_of
from am2z.queue.maintenance import Maintenance
from harness import RedisProxy
from tests.distributed.redis_client.conftest import RedisServer

from .apps import Work
from .conftest import wait_until
from .test_cancellation import cancelled_at

pytestmark = pytest.mark.trio

HERE, THERE = (
    next(f"tenant:{n}" for n in range(99) if shard_of(f"tenant:{n}", 2) == shard)
    for shard in range(2)
)
"""A session of each shard."""


@processor
async def count_up(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@processor
async def later(state: Work, ctx: Context) -> Work:
    return state


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Two servers that a test may stop and start."""
    folders = [tmp_path / str(n) for n in range(2)]
    for folder in folders:
        folder.mkdir()
    started = [RedisServer(folder, "--appendonly", "yes").start() for folder in folders]
    yield started
    for one in started:
        one.kill()


Make = Callable[..., QueueRuntime]


@pytest.fixture
def on_both(pair: list[RedisServer], namespace: str) -> Make:
    """Runtimes of this test's namespace, on the two servers."""

    def make(*processors, urls=None, role="both", shards=None, **config) -> QueueRuntime:
        urls = urls or [one.url for one in pair]
        settings = RuntimeConfig(**({"lease": 1.0, "shutdown_grace": 0.1} | config))
        runtime = QueueRuntime(urls, namespace=namespace, role=role, config=settings, shards=shards)
        return runtime.register(*processors)

    return make


class Traces:
    """What a runtime could leave behind: tasks, threads of its own, connections."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.servers = servers
        self.tasks = self._tasks

    @property
    def _tasks(self) -> int:
        return trio.lowlevel.current_statistics().tasks_living

    def _connections(self) -> int:
        found = 0
        for server in self.servers:
            if server.process is not None:
                with server.admin() as admin:
                    found += sum(one["name"].startswith("am2z") for one in admin.client_list())
        return found

    async def none_is_left(self) -> None:
        assert self._tasks == self.tasks
        await wait_until(lambda: self._connections() == 0)
        await wait_until(
            lambda: not [one for one in threading.enumerate() if one.name.startswith("am2z")]
        )


@pytest.mark.parametrize("kind", ["real", "fake"])
@pytest.mark.parametrize("whose", ["own", "any"])
async def test_start_cancelled_at_each_step_leaves_nothing(on_both, pair, namespace, kind, whose):
    urls = None if kind == "real" else [f"fake://{namespace}-{n}" for n in range(2)]
    traces = Traces(pair)
    step = cancelled = 0
    started = False

    async def begin():
        nonlocal started
        started = False
        async with runtime:
            started = True

    while not started:
        step += 1
        runtime = on_both(count_up, urls=urls)
        with trio.fail_after(10):
            await cancelled_at(step, begin, whose)
        assert not runtime.is_started
        assert runtime.resources.resource_stats().connections.active == 0
        await traces.none_is_left()
        cancelled += not started
    assert cancelled > 2


@pytest.mark.parametrize("away", [0, 1])
@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_start_without_one_server_names_it_and_leaves_nothing(on_both, pair, away, how):
    traces = Traces(pair)
    async with RedisProxy(pair[away].url) as proxy:
        urls = [one.url for one in pair]
        urls[away] = proxy.url
        runtime = on_both(count_up, urls=urls)
        if how == "gone":
            pair[away].kill()
        else:
            proxy.pause()
        began = trio.current_time()
        with pytest.raises(NetworkError) as raised:
            async with runtime:
                pytest.fail("it was let in")
        assert trio.current_time() - began < 4  # connect_timeout is 2 s
        assert raised.value.endpoint == proxy.url
        assert runtime.resources.resource_stats().connections.active == 0
        if how == "gone":
            pair[away].start()
        else:
            proxy.resume()
        async with runtime:  # the same one, once it can
            for session in (HERE, THERE):
                result = await runtime.execute(count_up, Work(), session)
                assert result.success, result.error
    await traces.none_is_left()


async def test_error_of_ours_in_one_shard_ends_the_runtime_and_leaves_nothing(
    on_both, pair, monkeypatch
):
    class BugError(Exception):
        pass

    for broken in range(2):
        traces, trouble = Traces(pair), trio.Event()

        async def reclaim(self, broken=broken, trouble=trouble):
            if self._node.protocol.keys.shard != broken:
                await trio.sleep_forever()
            await trouble.wait()
            raise BugError("in a loop")

        monkeypatch.setattr(Maintenance, "reclaim", reclaim)
        with pytest.raises(BugError), trio.fail_after(10):  # noqa: PT012 - the block is the subject
            async with on_both(count_up) as runtime:
                assert (await runtime.execute(count_up, Work(), THERE)).success
                trouble.set()
                await trio.sleep_forever()
        assert not runtime.is_started
        await traces.none_is_left()


@pytest.mark.parametrize("away", [[0], [1], [0, 1]])
@pytest.mark.parametrize("how", ["gone", "silent"])
@pytest.mark.parametrize("leaving", ["stop", "exception"])
async def test_stop_without_servers_answers_everybody_and_leaves_nothing(
    on_both, pair, monkeypatch, away, how, leaving
):
    monkeypatch.setattr(node, "FAREWELL", 0.5)
    monkeypatch.setattr(node, "LAST_WORD", 0.05)
    begun, ended = [], []

    @processor
    async def gated(state: Work, ctx: Context) -> Work:
        begun.append(ctx.session_id)
        await trio.sleep_forever()
        return state

    async def call(session):
        with suppress(AM2ZError, trio.Cancelled):
            ended.append(await runtime.execute(gated, Work(), session))

    async def lock(name):
        with suppress(AM2ZError):
            async with runtime.lock(name, ttl=30):
                begun.append(name)
                await trio.sleep_forever()

    traces = Traces(pair)
    async with RedisProxy(pair[0].url) as one, RedisProxy(pair[1].url) as two:
        proxies, runtime = [one, two], on_both(gated, urls=[one.url, two.url])
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 30
            with suppress(ZeroDivisionError):
                async with runtime:
                    for session in (HERE, THERE):
                        nursery.start_soon(call, session)
                        nursery.start_soon(lock, session)
                    await wait_until(lambda: len(begun) == 4)
                    for number in away:
                        if how == "gone":
                            pair[number].kill()
                        else:
                            proxies[number].pause()
                    if leaving == "exception":
                        raise ZeroDivisionError
        assert len(ended) == 2
        for proxy in proxies:
            proxy.resume()
    if how == "silent":
        await traces.none_is_left()


async def test_twelve_shards_that_are_away_take_one_farewell_in_all(on_both, pair):
    begun = []

    @processor
    async def gated(state: Work, ctx: Context) -> Work:
        begun.append(ctx.session_id)
        await trio.sleep_forever()
        return state

    async with on_both(gated, urls=[pair[0].url], shards=12) as runtime:
        handles = [await runtime.submit(gated, Work(), f"tenant:{n}") for n in range(40)]
        await wait_until(lambda: len(begun) == len(handles))
        pair[0].kill()
        began = trio.current_time()
    assert trio.current_time() - began < 12  # one by one, each adds more than a second
    for handle in handles:
        assert isinstance((await handle.result()).error, RuntimeStoppedError)


async def test_stop_and_start_again_with_a_server_away_and_back(on_both, pair):
    async with on_both(count_up) as runtime:
        pair[1].kill()
        await runtime.stop()
        assert not runtime.is_started
        with pytest.raises(NetworkError, match=pair[1].url):
            await runtime.start()
        assert not runtime.is_started
        pair[1].start()
        for _ in range(2):
            await runtime.start()
            await runtime.start()
            for session in (HERE, THERE):
                result = await runtime.execute(count_up, Work(), session)
                assert result.success, result.error
            await runtime.stop()
            await runtime.stop()


async def test_what_concerns_one_server_needs_that_one_only(on_both, pair, monkeypatch):
    async with on_both(count_up) as runtime, on_both(role="client") as client:
        assert (await runtime.execute(count_up, Work(), HERE)).success
        pair[1].kill()
        for one in (runtime, client):
            monkeypatch.setattr(one._shards[1].node.client._link, "_patience", 0.1)
        runtime.register(later)
        with pytest.raises(NetworkError, match=pair[1].url):
            await runtime.sync_processors()
        assert (await client.execute("later", Work(), HERE)).success, "the other one was told"
        assert (await runtime.session_stats(HERE))["count_up"].completed == 1
        async with client.lock(HERE):
            pass
        await runtime.stop_session(HERE)
        await runtime.clean_session(HERE)
        assert (await client.execute("later", Work(), HERE)).success
        assert isinstance((await client.execute("later", Work(), THERE)).error, NetworkError)
