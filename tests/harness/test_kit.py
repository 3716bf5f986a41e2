"""What the kit does around one rule: limits, leak checks, declarations, the story of a failure."""

from contextlib import asynccontextmanager

import pytest
import trio

from am2z import (
    Capability,
    LocalRuntime,
    ResourceLimits,
    RuntimeConfig,
    UnsupportedCapability,
)
from harness import TestState, Undecided, create_counter_processor
from harness.outcome import Status
from tests.harness.conftest import make_local, make_rule

counter = create_counter_processor("counter")


async def count_once(kit):
    async with kit.runtime(counter) as runtime:
        result = await runtime.execute(counter, TestState(count=1))
    assert result.state.count == 2


def test_a_rule_that_holds_and_leaves_nothing_passes(check):
    outcome = check(count_once)
    assert (outcome.status, outcome.reason, outcome.lesson) == (Status.PASS, "", "")
    assert outcome.rule == "STA-004"
    assert outcome.seconds > 0


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


@pytest.mark.parametrize(
    ("wants", "told"),
    [
        ({"config": RuntimeConfig(concurrency=1)}, "this rule sets concurrency=1, but make(env)"),
        ({"limits": ResourceLimits(max_queue_size=1)}, "this rule sets max_queue_size=1, but"),
    ],
)
@pytest.mark.parametrize("holds", [True, False])
def test_a_rule_whose_settings_nobody_took_is_undecided(check, wants, told, holds):
    @asynccontextmanager
    async def make(_env):
        async with LocalRuntime() as runtime:
            yield runtime

    async def body(kit):
        async with kit.runtime(counter, **wants) as runtime:
            await runtime.execute(counter, TestState())
        assert holds

    outcome = check(body, make=make)
    assert outcome.status is Status.UNDECIDED
    assert told in outcome.reason


def test_a_rule_that_sets_nothing_asks_for_no_settings(check):
    @asynccontextmanager
    async def make(_env):
        async with LocalRuntime() as runtime:
            yield runtime

    async def body(kit):
        async with kit.runtime(counter, config=RuntimeConfig(), limits=ResourceLimits()) as runtime:
            await runtime.execute(counter, TestState())

    assert check(body, make=make).status is Status.PASS
