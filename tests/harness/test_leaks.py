"""What a runtime leaves behind is found and named."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from functools import partial

import pytest
import redis
import trio

from am2z import Capability, LocalRuntime
from harness.leaks import ProcessSnapshot
from harness.outcome import Status
from tests.harness.conftest import make_local
from tests.harness.test_kit import count_once, count_wrongly


async def start_idle_threads(number):
    together = threading.Barrier(max(1, number))
    async with trio.open_nursery() as nursery:
        for _ in range(number):
            nursery.start_soon(trio.to_thread.run_sync, together.wait)


def leaving(leak):
    """A maker of runtimes that leave something behind when they are closed."""

    @asynccontextmanager
    async def make(env):
        async with LocalRuntime(config=env.config, limits=env.limits) as runtime:
            leak()
            yield runtime

    return make


def test_a_system_task_that_is_left_is_named(check, hurry):
    def leak():
        trio.lowlevel.spawn_system_task(trio.sleep_forever, name="heart")

    outcome = check(count_once, make=leaving(leak))
    assert outcome.status is Status.FAIL
    assert outcome.reason == "left behind: task 'heart' still runs"


def test_a_system_task_that_is_about_to_end_is_no_leak(check):
    def leak():
        trio.lowlevel.spawn_system_task(trio.sleep, 0.01)

    assert check(count_once, make=leaving(leak)).status is Status.PASS


def test_a_thread_that_is_left_is_named(check, hurry):
    done = threading.Event()

    def leak():
        threading.Thread(target=done.wait, name="pump", daemon=True).start()

    outcome = check(count_once, make=leaving(leak))
    done.set()
    assert outcome.reason == "left behind: thread 'pump' still runs"


def test_an_idle_thread_of_trio_is_no_leak(check):
    async def body(_kit):
        await trio.to_thread.run_sync(lambda: None)

    assert check(body).status is Status.PASS


@pytest.mark.parametrize("idle", [0, 2])
def test_a_busy_thread_of_trio_is_a_leak(check, hurry, idle):
    """Also where the thread was there before, idle."""
    trio.run(start_idle_threads, idle)
    begun, done = threading.Event(), threading.Event()

    def work():
        begun.set()
        done.wait()

    async def body(_kit):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.to_thread.run_sync, work, abandon_on_cancel=True))
            await trio.to_thread.run_sync(begun.wait)
            nursery.cancel_scope.cancel()

    outcome = check(body)
    done.set()
    assert outcome.status is Status.FAIL
    assert "thread" in outcome.reason


def test_a_socket_that_is_left_is_named(check, hurry):
    held = []
    outcome = check(count_once, make=leaving(lambda: held.append(socket.socket())))
    held[0].close()
    assert outcome.status is Status.FAIL
    assert "socket" in outcome.reason
    assert "is still open" in outcome.reason


def test_a_file_that_is_left_is_named(check, hurry, tmp_path):
    held = []
    path = tmp_path / "log"
    outcome = check(count_once, make=leaving(lambda: held.append(path.open("w"))))
    held[0].close()
    assert str(path) in outcome.reason


def test_a_child_process_that_is_left_is_named(check, hurry):
    held = []

    def leak():
        held.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

    outcome = check(count_once, make=leaving(leak))
    held[0].communicate()
    assert f"child process {held[0].pid} still runs" in outcome.lesson


def test_what_the_kit_itself_starts_in_the_middle_of_a_rule_is_no_leak(check):
    held = []

    def find_redis():
        held.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return "fake://"

    async def body(kit):
        assert kit.env.redis_url == "fake://"

    outcome = check(body, kit={"find_redis": find_redis})
    held[0].communicate()
    assert outcome.status is Status.PASS


def test_descriptors_are_listed_where_the_system_can():
    snapshot = ProcessSnapshot()
    with contextlib.closing(os.fdopen(os.open(os.devnull, os.O_RDONLY))) as extra:
        assert snapshot.leaks(0) == [f"descriptor {extra.fileno()} is still open (/dev/null)"]
    assert snapshot.leaks(0) == []


# --- what is left behind on a server


@pytest.fixture
def check_on_server(check, am2z_redis_url):
    """Run a rule on a runtime that writes keys of these names, and keeps them."""

    def run(*keys, body=count_once, **declared):
        @asynccontextmanager
        async def make(env):
            with redis.Redis.from_url(env.redis_url) as client:
                for key in keys:
                    client.set(f"{{am2z:{env.namespace}:0}}:{key}", "x")
                client.set(f"{{am2z:{env.namespace}:0}}:short", "x", ex=60)
            async with make_local(env) as runtime:
                yield runtime

        found = check(body, make=make, kit={"find_redis": lambda: am2z_redis_url}, **declared)
        with redis.Redis.from_url(am2z_redis_url) as client:
            assert client.keys("*am2z-test-kit*") == []
        return found

    return run


def test_a_key_that_nothing_will_ever_remove_is_named(check_on_server):
    outcome = check_on_server("st:one", "j:7", permanent_keys=("*:st:*",))
    assert outcome.status is Status.FAIL
    assert outcome.reason == "left behind: Redis key '{am2z:am2z-test-kit:0}:j:7' has no TTL"
    assert "st:one" not in outcome.lesson


def test_keys_that_may_stay_and_keys_with_a_ttl_are_no_leak(check_on_server):
    assert check_on_server("st:one", permanent_keys=("*:st:*",)).status is Status.PASS


def test_keys_are_not_judged_where_nothing_is_said_about_them(check_on_server):
    assert check_on_server("j:7").status is Status.PASS


def test_a_namespace_is_emptied_after_a_failure_too(check_on_server):
    assert check_on_server("j:7", body=count_wrongly).status is Status.FAIL


@pytest.mark.parametrize(("durable", "expected"), [(True, Status.PASS), (False, Status.FAIL)])
def test_a_rule_may_leave_work_with_a_durable_runtime_only(check_on_server, durable, expected):
    async def body(kit):
        kit._check_capabilities = lambda runtime: None
        kit.leave_work()
        await count_once(kit)

    lacks = {} if durable else {Capability.DURABLE: "no"}
    supports = {Capability.DURABLE} if durable else ()
    outcome = check_on_server("j:7", body=body, permanent_keys=(), supports=supports, lacks=lacks)
    assert outcome.status is expected
