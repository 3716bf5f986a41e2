"""What the kit does around one rule: limits, leak checks, declarations, the story of a failure."""

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

from am2z import Capability, LocalRuntime, UnsupportedCapability
from harness import TestState, Undecided, create_counter_processor, scale
from harness.outcome import Status
from tests.harness.conftest import make_local, make_rule

counter = create_counter_processor("counter")


@pytest.fixture
def hurry(monkeypatch):
    """Limits in hundredths, for rules that run into them."""
    monkeypatch.setattr(scale, "_scale", 0.02)


async def count_once(kit):
    async with kit.runtime(counter) as runtime:
        result = await runtime.execute(counter, TestState(count=1))
    assert result.state.count == 2


def leaving(leak):
    """A maker of runtimes that leave something behind when they are closed."""

    @asynccontextmanager
    async def make(env):
        async with LocalRuntime(config=env.config, limits=env.limits) as runtime:
            leak()
            yield runtime

    return make


def test_a_rule_that_holds_and_leaves_nothing_passes(check):
    outcome = check(count_once)
    assert (outcome.status, outcome.reason, outcome.lesson) == (Status.PASS, "", "")
    assert outcome.rule == "STA-004"
    assert outcome.seconds > 0


# --- what is left behind


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


def test_a_busy_thread_of_trio_is_a_leak(check, hurry):
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


# --- how a rule fails


async def count_wrongly(kit):
    async with kit.runtime(counter) as runtime:
        result = await runtime.execute(counter, TestState(count=1))
        assert result.state.count == 3


def test_a_failure_reads_like_a_lesson(check):
    outcome = check(count_wrongly)
    assert outcome.status is Status.FAIL
    lines = outcome.lesson.splitlines()
    assert lines[0].startswith("STA-004  MUST  on mine: ")
    story = outcome.lesson
    for part in (
        "The law.",
        "The reason.",
        "Look at the lock.",
        "> assert result.state.count == 3",
        "tests/harness/test_kit.py:",
        "processor:active processor=counter",
        "processor:completed processor=counter",
        "am2z conformance -k STA-004    (seed 7)",
    ):
        assert part in story
    assert "assert 2 == 3" in outcome.reason


def test_an_assertion_without_words_is_told_by_its_source(check):
    source = "async def body(kit):\n    assert kit.name == 'yours'\n"
    names = {}
    exec(compile(source, __file__, "exec"), names)
    outcome = check(names["body"])
    assert outcome.status is Status.FAIL
    assert outcome.reason


def test_an_error_out_of_the_runtime_is_a_failure_with_its_place(check):
    @asynccontextmanager
    async def make(_env):
        raise ConnectionError("the wire is cut")
        yield

    outcome = check(count_once, make=make)
    assert outcome.status is Status.FAIL
    assert outcome.reason == "ConnectionError: the wire is cut"
    assert "in make" in outcome.lesson


def test_a_rule_that_hangs_is_ended_and_the_place_is_named(check, hurry):
    async def body(kit):
        async with kit.runtime(counter):
            await trio.sleep_forever()

    outcome = check(body)
    assert outcome.reason == "the rule was not done within 0.6 s"
    assert "body" in outcome.lesson.partition("what the tasks did then")[2]


def test_several_errors_at_once_are_all_told_and_the_assertion_first(check):
    async def fail(error):
        raise error

    async def body(_kit):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, OSError("second"))
            nursery.start_soon(fail, AssertionError("first"))

    outcome = check(body)
    assert outcome.reason == "first"
    assert "and also: OSError: second" in outcome.lesson


@pytest.mark.parametrize("error", [Undecided("budget spent"), pytest.skip.Exception("no idea")])
def test_a_rule_may_say_that_it_could_not_decide(check, error):
    async def body(_kit):
        raise error

    outcome = check(body)
    assert outcome.status is Status.UNDECIDED
    assert str(error) in outcome.reason


def test_ctrl_c_is_not_taken_for_a_failure(check):
    async def body(kit):
        async with kit.runtime():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(body)


# --- what the author of a runtime declares


DURABLE = make_rule("EXE-001", requires=("DURABLE",))


def test_a_rule_for_a_capability_that_is_declared_lacking_is_skipped_with_the_reason(check):
    outcome = check(count_wrongly, rule=DURABLE)
    assert outcome.status is Status.SKIP
    assert outcome.reason == "lacks durable: lives in memory"


def test_a_rule_for_a_capability_that_nothing_is_said_of_is_not_run(check):
    outcome = check(count_once, rule=DURABLE, supports=(), lacks={})
    assert outcome.status is Status.NOT_RUN
    assert "neither to support nor to lack durable" in outcome.reason


def test_a_declared_lack_that_is_refused_when_asked_for_is_believed(check):
    async def probe(kit):
        async with kit.runtime():
            raise UnsupportedCapability("not durable")

    assert check(count_wrongly, rule=DURABLE, probe=probe).status is Status.SKIP


def test_a_declared_lack_that_is_there_when_asked_for_is_a_failure(check):
    outcome = check(count_wrongly, rule=DURABLE, probe=count_once)
    assert outcome.status is Status.FAIL
    assert "did not raise UnsupportedCapability" in outcome.lesson


def test_a_probe_that_fails_otherwise_is_a_failure(check):
    outcome = check(count_wrongly, rule=DURABLE, probe=count_wrongly)
    assert outcome.status is Status.FAIL
    assert "assert 2 == 3" in outcome.reason


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"supports": (), "lacks": {Capability.PRIORITY: "no"}}, "declared to lack"),
        ({"supports": {Capability.DURABLE}, "lacks": {}}, "declared to support"),
    ],
)
def test_a_declaration_that_the_runtime_itself_denies_is_a_failure(check, declared, words):
    outcome = check(count_once, **declared)
    assert outcome.status is Status.FAIL
    assert words in outcome.reason


# --- what a rule gets


def test_the_random_numbers_of_a_rule_depend_on_the_seed_and_the_rule_only(check):
    drawn = []

    async def body(kit):
        drawn.append(kit.rng.random())

    check(body)
    check(body)
    check(body, rule=make_rule("STA-005"))
    assert drawn[0] == drawn[1] != drawn[2]


def test_runtimes_of_one_rule_share_a_namespace(check):
    seen = []

    @asynccontextmanager
    async def make(env):
        seen.append(env.namespace)
        async with make_local(env) as runtime:
            yield runtime

    async def body(kit):
        async with kit.runtime(), kit.runtime():
            pass

    check(body, make=make)
    assert seen == ["am2z-test-kit"] * 2


def test_limits_scale_with_one_option(check, hurry):
    seen = []

    async def body(kit):
        seen.extend((kit.timeout, kit.limit, kit.grace))

    check(body)
    assert seen == pytest.approx([0.1, 0.6, 0.02])


def test_a_runtime_without_events_can_still_be_checked(check):
    class Deaf(LocalRuntime):
        def on(self, event_type, handler):
            raise NotImplementedError("deaf")

    @asynccontextmanager
    async def make(env):
        async with Deaf(config=env.config) as runtime:
            yield runtime

    assert check(count_once, make=make).status is Status.PASS
    assert "no events of r1: runtime.on raised" in check(count_wrongly, make=make).lesson


def test_descriptors_are_listed_where_the_system_can():
    from harness.leaks import ProcessSnapshot

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
