"""What is wrong gets a clear error in time, and hurts nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio

from am2z import (
    ConfigurationError,
    Context,
    NetworkError,
    PayloadTooLargeError,
    ProcessorNotFoundError,
    QueueRuntime,
    ResourceError,
    ResourceLimits,
    RuntimeNotStartedError,
    StateCorruptError,
    ValidationError,
    processor,
)
from am2z.queue.payload import Ending, Job
from am2z.queue.worker import Worker
from tests.distributed.redis_client.conftest import RedisServer

from .apps import Work
from .conftest import wait_until

pytestmark = pytest.mark.trio


@processor
async def one(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1)


@processor
async def large(state: Work, ctx: Context) -> Work:
    return state.evolve(note="x" * state.count)


@pytest.fixture
def special(tmp_path: Path):
    """A server with options of its own."""
    started = []

    def start(*options: str) -> RedisServer:
        started.append(RedisServer(tmp_path, *options).start())
        return started[-1]

    yield start
    for one in started:
        one.kill()


async def enter(runtime: QueueRuntime) -> Exception:
    began = time.monotonic()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the tests look at it
        async with runtime:
            pytest.fail("it was entered")
    assert time.monotonic() - began < 2.5
    return caught.value


async def test_no_server_there_names_the_url_without_its_password(make):
    error = await enter(make(at="redis://app:secret@127.0.0.1:1/0"))
    assert isinstance(error, NetworkError)
    assert "redis://app:***@127.0.0.1:1/0" in str(error)
    assert "secret" not in str(error)


async def test_server_that_never_answers_is_given_up(make):
    with trio.socket.socket() as silent:
        await silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        error = await enter(make(at=f"redis://127.0.0.1:{port}"))
    assert isinstance(error, NetworkError)
    assert f"127.0.0.1:{port}" in str(error)


async def test_refused_password_is_not_shown(make, special):
    server = special("--requirepass", "right")
    error = await enter(make(at=f"unix://:wrong@{server.socket}"))
    assert isinstance(error, NetworkError)
    assert "refused the password" in str(error)
    assert "wrong" not in str(error)
    async with make(one, at=f"unix://:right@{server.socket}") as runtime:
        assert (await runtime.execute(one, Work())).success


async def test_server_that_evicts_keys_is_refused(make, special):
    server = special("--maxmemory-policy", "allkeys-lru")
    error = await enter(make(at=server.url))
    assert isinstance(error, ConfigurationError)
    assert "noeviction" in str(error)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"redis_url": "localhost:6379"}, "no Redis URL"),
        ({"redis_url": "redis://h/notanumber"}, "database"),
        ({"redis_url": 7}, "string"),
        ({"role": "boss"}, "'both', 'client' or 'worker'"),
        ({"namespace": "a b"}, "namespace"),
        ({"namespace": ""}, "namespace"),
        ({"namespace": "a}b"}, "namespace"),
        ({"config": 7}, "RuntimeConfig"),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        QueueRuntime(**arguments)


async def test_runtime_that_was_never_started_says_so(make):
    runtime = make(one)
    for call in (
        lambda: runtime.execute(one, Work()),
        lambda: runtime.submit(one, Work()),
        runtime.start,
        runtime.stats,
        runtime.queue_stats,
        runtime.active_sessions,
        runtime.sync_processors,
        lambda: runtime.session_stats("s"),
        lambda: runtime.stop_session("s"),
        lambda: runtime.clean_session("s"),
    ):
        with pytest.raises(RuntimeNotStartedError, match="async with"):
            await call()
    with pytest.raises(RuntimeNotStartedError):
        runtime.emit("app:x")
    await runtime.stop()
    with pytest.raises(NetworkError, match="async with"):
        await runtime.state.get("s")


async def test_failed_start_leaves_a_runtime_that_can_start_later(make, special, tmp_path):
    runtime = make(one, at=f"unix://{tmp_path}/redis.sock")
    assert isinstance(await enter(runtime), NetworkError)
    special()
    async with runtime:
        assert (await runtime.execute(one, Work())).success


async def test_too_large_a_state_is_refused_and_leaves_no_key(make, eyes):
    async with make(one, role="client", max_payload_bytes=1000) as client:
        before = eyes.keys()
        with pytest.raises(PayloadTooLargeError):
            await client.execute(one, Work(note="x" * 1000), "s")
        with pytest.raises(ValidationError, match="items"):
            await client.submit(one, Work(items=[object()]), "s")  # type: ignore[list-item]
        with pytest.raises(ConfigurationError):
            await client.execute(one, Work(), "\x00")
        assert eyes.keys() == before


async def test_too_large_a_result_is_a_failure_that_commits_nothing(make, eyes):
    async with make(large, max_payload_bytes=1000) as runtime:
        result = await runtime.execute(large, Work(count=1000), "s")
    assert isinstance(result.error, PayloadTooLargeError)
    assert eyes.commits("s") == 0


async def test_processor_that_nobody_serves_is_a_failed_result(make):
    async with make(one) as runtime, make(role="client") as client:
        result = await client.execute("nobody", Work(count=3))
        assert isinstance(result.error, ProcessorNotFoundError)
        assert result.state.count == 3
        runtime.register(large)
        await runtime.sync_processors()
        assert (await client.execute("large", Work())).success
        runtime.unregister("large")
        await runtime.sync_processors()
        with trio.fail_after(1):
            result = await client.execute("large", Work())
        assert isinstance(result.error, ProcessorNotFoundError)


async def test_processor_that_is_registered_late_is_served_at_once(make):
    async with make(role="worker") as worker, make(one, role="client") as client:
        with trio.fail_after(1):
            handle = await client.submit(one, Work())
            worker.register(one)
            assert (await handle.result()).success


async def test_full_queue_refuses_and_keeps_nothing(make, eyes):
    async with make(one, role="client", limits=ResourceLimits(max_queue_size=2)) as client:
        handles = [await client.submit(one, Work()) for _ in range(3)]
        result = await handles[2].result()
        assert isinstance(result.error, ResourceError)
        assert len(eyes.keys("j:*")) == 2
        assert client.resources.resource_stats().queues.max_size == 2


BROKEN_JOBS = {
    "junk": b"\xc1junk",
    "nothing": b"",
    "another shape": b"\x81\xa1a\x01",
    "unknown class": Job("nowhere:Thing", b"\x80").encode(),
    "wrong class": Job("builtins:dict", b"\x80").encode(),
    "broken state": Job(f"{Work.__module__}:Work", b"\xc1").encode(),
}


@pytest.mark.parametrize("kind", BROKEN_JOBS)
async def test_broken_job_fails_alone(make, eyes, kind):
    async with make(one, role="client") as client:
        broken = await client.submit(one, Work(), "s")
        sound = await client.submit(one, Work(), "s")
        eyes.redis.set(eyes.key(f"d:{broken.execution_id}"), BROKEN_JOBS[kind])
        async with make(one, role="worker"):
            with trio.fail_after(2):
                result = await broken.result()
                assert (await sound.result()).success
        assert isinstance(result.error, StateCorruptError | ValidationError)
        assert eyes.commits("s") == 1


async def test_job_whose_keys_are_of_another_kind_fails_alone(make, eyes):
    async with make(one, role="client") as client:
        broken = await client.submit(one, Work())
        sound = await client.submit(one, Work())
        eyes.redis.delete(eyes.key(f"d:{broken.execution_id}"))
        eyes.redis.rpush(eyes.key(f"d:{broken.execution_id}"), "a list")
        async with make(one, role="worker"):
            with trio.fail_after(2):
                assert (await sound.result()).success
                assert isinstance((await broken.result()).error, StateCorruptError)


BROKEN_RESULTS = {
    "junk": ("D", b"\xc1junk"),
    "nothing": ("D", b""),
    "unknown class": ("D", Ending("nowhere:T", b"\x80", b"", 0.0, 0, 1, 0.0).encode()),
    "broken error": ("F", Ending("", b"", b"\xc1", 0.0, 0, 1, 0.0).encode()),
    "contradiction": ("F", Ending("", b"", b"", 0.0, 0, 1, 0.0).encode()),
}


@pytest.mark.parametrize("kind", BROKEN_RESULTS)
async def test_broken_result_is_a_failed_result(make, eyes, kind):
    status, body = BROKEN_RESULTS[kind]
    async with make(one, role="client") as client:
        handle = await client.submit(one, Work(count=7))
        head = f"{handle.execution_id} {status} - 0 1-1 =".encode()
        eyes.redis.rpush(eyes.key(f"in:{client._shards[0].node.runtime_id}"), head + body)
        with trio.fail_after(2):
            result = await handle.result()
    assert isinstance(result.error, StateCorruptError | ValidationError)
    assert (result.success, result.state.count) == (False, 7)


async def test_broken_state_is_told_and_can_be_cleaned(make, eyes):
    async with make(one) as runtime:
        await runtime.execute(one, Work(), "s")
        eyes.redis.hset(eyes.key("st:s"), "data", b"other bytes")
        with pytest.raises(StateCorruptError, match="checksum"):
            await runtime.state.get("s")
        eyes.redis.hdel(eyes.key("st:s"), "data", "sum")
        with pytest.raises(StateCorruptError, match="incomplete"):
            await runtime.state.get("s")
        await runtime.clean_session("s")
        assert await runtime.state.get("s") is None


async def test_unregistered_work_goes_back_to_the_queue(make, eyes, monkeypatch):
    """The processor is unregistered while the claim is under way."""
    monkeypatch.setattr(
        Worker, "_has_room_for_long", lambda _: False
    )  # it claims when it has the news
    async with make(one, large, role="worker") as worker, make(one, role="client") as client:
        await wait_until(lambda: worker._shards[0].worker._idle_scope)
        protocol = worker._shards[0].node.protocol
        claim = protocol.claim

        async def claim_late(*args, **options):
            claims = await claim(*args, **options)
            if claims.items:
                worker.unregister("one")
            return claims

        monkeypatch.setattr(protocol, "claim", claim_late)
        handle = await client.submit(one, Work())
        await wait_until(lambda: "one" not in worker.list_processors())
        key = eyes.key(f"j:{handle.execution_id}")
        await wait_until(lambda: eyes.redis.hmget(key, "t", "n") == [b"w", b"0"])
        worker.register(one)
        monkeypatch.undo()
        with trio.fail_after(2):
            assert (await handle.result()).success
