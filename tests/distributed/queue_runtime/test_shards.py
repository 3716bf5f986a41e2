"""A namespace on several servers: nobody can tell, but for its being faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import trio

from am2z import (
    AM2ZError,
    ConfigurationError,
    Context,
    NetworkError,
    QueueRuntime,
    RuntimeConfig,
    processor,
)
from am2z.queue.keys import shard_of
from tests.distributed.redis_client.conftest import RedisServer

from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio

SESSIONS = [f"tenant:{n}" for n in range(12)]


@processor
async def count_up(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@processor
async def call_twice(state: Work, ctx: Context) -> Work:
    first = await ctx.call(count_up, state)
    second = await ctx.call("count_up", first.state)
    return second.state


@processor
async def refuse(state: Work, ctx: Context) -> Work:
    raise AM2ZError("no", retryable=False)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    started = [RedisServer(tmp_path_factory.mktemp(f"shard{n}")).start() for n in range(4)]
    yield started
    for one in started:
        one.kill()


@pytest.fixture
def sharded(servers: list[RedisServer], namespace: str) -> Callable[..., QueueRuntime]:
    """Runtimes of this test's namespace, on four servers."""

    def make(*processors, role="both", urls=None, shards=None, **config) -> QueueRuntime:
        urls = [one.url for one in servers] if urls is None else urls
        settings = RuntimeConfig(**({"lease": 2.0, "shutdown_grace": 2.0} | config))
        runtime = QueueRuntime(urls, namespace=namespace, role=role, shards=shards, config=settings)
        return runtime.register(*processors)

    return make


def keys_on(server: RedisServer, namespace: str) -> set[str]:
    with server.admin() as client:
        return {key.decode() for key in client.scan_iter(f"*{namespace}:*")}


async def test_each_session_lives_on_one_server_and_all_are_counted(sharded, servers, namespace):
    async with sharded(role="client") as client, sharded(count_up, role="worker"):
        async with trio.open_nursery() as nursery:
            for name in SESSIONS:
                nursery.start_soon(client.execute, count_up, Work(), name)
        assert await client.active_sessions() == sorted(SESSIONS)
        assert (await client.queue_stats())["count_up"].completed == len(SESSIONS)
        assert (await client.stats()).active_sessions == len(SESSIONS)
        for name in SESSIONS:
            stored = await client.state.get(name, Work)
            assert stored is not None
            assert (stored.state.count, stored.version) == (1, 1)
            assert (await client.session_stats(name))["count_up"].completed == 1
        places = {name: shard_of(name, 4) for name in SESSIONS}
        assert len(set(places.values())) > 1
        for index, server in enumerate(servers):
            found = keys_on(server, namespace)
            assert all(key.startswith(f"{{am2z:{namespace}:{index}}}:") for key in found)
            here = sum(":st:" in key for key in found)
            assert here == sum(place == index for place in places.values())


async def test_calls_stay_in_the_shard_of_who_calls(sharded):
    async with sharded(count_up, call_twice, concurrency=1) as runtime:
        for session in (*SESSIONS[:4], None, None, None, None):
            result = await runtime.execute(call_twice, Work(), session)
            assert result.success, result.error
            assert result.state.count == 2


async def test_one_budget_of_slots_holds_for_all_shards(sharded):
    most, now = 0, 0

    @processor
    async def watched(state: Work, ctx: Context) -> Work:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await trio.lowlevel.checkpoint()
        now -= 1
        return state

    async with sharded(watched, concurrency=2) as runtime:
        results = await runtime.execute_many(watched, [Work()] * 60)
    assert all(result.success for result in results)
    assert most <= 2


async def test_chosen_id_runs_once_wherever_it_lives(sharded):
    async with sharded(count_up) as runtime:
        for name in ("order-1", "order-2", "order-3"):
            one = await runtime.submit(count_up, Work(), execution_id=name)
            two = await runtime.submit(count_up, Work(), execution_id=name)
            assert (await one.result()).state.count == (await two.result()).state.count == 1
        assert (await runtime.queue_stats())["count_up"].completed == 3


async def test_events_of_all_shards_reach_every_handler(sharded):
    seen = []
    async with sharded(role="client") as client, sharded(count_up, role="worker"):
        client.on("queue:completed", lambda event: seen.append(event.session_id))
        for name in SESSIONS:
            await client.execute(count_up, Work(), name)
    assert seen == SESSIONS


async def test_dead_letters_of_all_shards_are_one_list(sharded):
    async with sharded(refuse) as runtime:
        for name in SESSIONS[:6]:
            await runtime.execute(refuse, Work(), name)
        await runtime.execute(refuse, Work())
        letters = await runtime.dead.list()
        assert [letter.session_id for letter in letters[1:]] == SESSIONS[:6][::-1]
        assert [one.failed_at for one in letters] == sorted(
            (one.failed_at for one in letters), reverse=True
        )
        for letter in letters:
            found = await runtime.dead.get(letter.execution_id)
            assert found is not None
            assert (found.failed_at, found.data) == (letter.failed_at, letter.data)
            again = await runtime.dead.retry(letter.execution_id)
            assert again is not None
            handle = await runtime.submit(
                refuse, Work(), letter.session_id, execution_id=again
            )  # the same one: its caller finds it wherever it runs
            assert not (await handle.result()).success
        assert len(await runtime.dead.list()) == len(letters)
        for letter in await runtime.dead.list():
            assert await runtime.dead.drop(letter.execution_id)
        assert await runtime.dead.list() == []


async def test_lock_of_one_name_is_one_lock(sharded):
    order = []
    async with sharded(role="client") as one, sharded(role="client") as two:

        async def hold(runtime, number):
            async with runtime.lock("ledger", ttl=5.0) as lock:
                order.append((lock.fence, number))

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(hold, (one, two)[number % 2], number)
    assert len({fence for fence, _ in order}) == 6
    assert order == sorted(order)


async def test_stopped_session_is_stopped_for_every_runtime(sharded):
    async with sharded(role="client") as client, sharded(count_up, role="worker"):
        for name in SESSIONS[:4]:
            await client.execute(count_up, Work(), name)
            await client.stop_session(name)
            assert (await client.execute(count_up, Work(), name)).error.code == "SESSION_STOPPED"
        assert await client.active_sessions() == []
        await client.clean_session(SESSIONS[0])
        assert (await client.execute(count_up, Work(), SESSIONS[0])).success


async def test_another_number_of_shards_is_refused_with_both_numbers(sharded, servers):
    urls = [one.url for one in servers]
    async with sharded(count_up):
        with pytest.raises(ConfigurationError, match=r"has 4 shard.*was given 2"):
            async with sharded(count_up, urls=urls[:2]):
                pytest.fail("it was let in")


async def test_several_shards_may_share_a_server(sharded, servers, namespace):
    async with sharded(count_up, urls=servers[0].url, shards=3) as runtime:
        for name in SESSIONS:
            assert (await runtime.execute(count_up, Work(), name)).success
        assert await runtime.active_sessions() == sorted(SESSIONS)
    shards = {key.split("}")[0] for key in keys_on(servers[0], namespace) if ":st:" in key}
    assert len(shards) == 3


async def test_sessions_of_other_servers_go_on_while_one_is_away(sharded, tmp_path):
    folders = [tmp_path / str(n) for n in range(2)]
    for folder in folders:
        folder.mkdir()
    pair = [RedisServer(folder, "--appendonly", "yes").start() for folder in folders]
    here = next(name for name in SESSIONS if shard_of(name, 2) == 0)
    there = next(name for name in SESSIONS if shard_of(name, 2) == 1)
    try:
        async with sharded(count_up, urls=[one.url for one in pair]) as runtime:
            assert (await runtime.execute(count_up, Work(), there)).success
            pair[1].kill()
            for _ in range(20):
                assert (await runtime.execute(count_up, Work(), here)).success
            with pytest.raises(NetworkError):
                await runtime.queue_stats()  # a part of the truth would be none
            pair[1].start()
            with trio.fail_after(20):
                while not (await runtime.execute(count_up, Work(), there)).success:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            await wait_until(lambda: runtime._shards[1].worker.running == 0)
    finally:
        for one in pair:
            one.kill()


@pytest.mark.parametrize(
    ("urls", "shards", "match"),
    [
        ("fake://", 0, "from 1 to"),
        ("fake://", 257, "from 1 to"),
        ("fake://", True, "from 1 to"),
        (["fake://", "fake://"], 1, "2 servers for 1 shard"),
        ([], None, "from 1 to"),
    ],
)
async def test_numbers_of_shards_that_make_no_sense_are_refused(urls, shards, match):
    with pytest.raises(ConfigurationError, match=match):
        QueueRuntime(urls, shards=shards)
