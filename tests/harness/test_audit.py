"""What is found behind a rule that itself looks at nothing."""

from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from am2z import BusinessError, LocalRuntime, QueueStats
from am2z.local.engine import Engine
from harness import TestState, create_counter_processor, create_error_processor
from harness.outcome import Status
from tests.harness.conftest import make_local, make_rule

counter = create_counter_processor("counter")
refusing = create_error_processor("refusing")


@pytest.fixture
def judge(check):
    """``check`` where waits take no time: what never comes is waited for at no cost."""

    def run(body, **declared):
        return check(body, rule=make_rule(clock="virtual"), **declared)

    return run


async def look_at_nothing(kit):
    async with kit.runtime(counter, refusing) as runtime:
        await runtime.execute(counter, TestState(count=1), "a")
        await runtime.execute(refusing, TestState(count=1), "a")
        handle = await runtime.submit(counter, TestState(count=1))
        await handle.result()


def making(cls):
    """How a kit gets a runtime of a class."""

    @asynccontextmanager
    async def make(env):
        async with cls(config=env.config, limits=env.limits) as runtime:
            yield runtime

    return make


def test_a_conformant_runtime_has_nothing_to_hide(judge):
    outcome = judge(look_at_nothing)
    assert (outcome.status, outcome.lesson) == (Status.PASS, "")


def lying(**lies):
    """A runtime whose results have other fields."""

    class Lying(LocalRuntime):
        async def execute(self, processor, state, session_id=None):
            result = await super().execute(processor, state, session_id)
            fields = {name: lie(result) for name, lie in lies.items()}
            meta = {k: fields.pop(k) for k in [*fields] if hasattr(result.metadata, k)}
            metadata = msgspec.structs.replace(result.metadata, **meta)
            return msgspec.structs.replace(result, metadata=metadata, **fields)

    return Lying


@pytest.mark.parametrize(
    ("lies", "law", "word"),
    [
        ({"execution_time": lambda _: 99.0}, "EXE-049", "execution_time=99.0"),
        ({"execution_time": lambda _: -1.0}, "EXE-049", "execution_time=-1.0"),
        ({"session_id": lambda _: "b"}, "EXE-049", "session 'b'"),
        ({"processor_name": lambda _: "other"}, "EXE-049", "processor 'other'"),
        ({"attempt": lambda _: 2}, "EXE-049", "attempt 2 of 1"),
        ({"started_at": lambda _: 77.0}, "EXE-049", "started_at=77.0"),
        ({"success": lambda one: not one.success}, "EXE-049", "success=False"),
        ({"state": lambda _: TestState(count=2)}, "EXE-049", "of session ''"),
        (
            {"error": lambda one: one.error and BusinessError("so")},
            "EVT-023",
            "processor:failed tells of",
        ),
    ],
)
def test_a_field_that_lies_is_found_and_its_law_is_named(judge, lies, law, word):
    outcome = judge(look_at_nothing, make=making(lying(**lies)))
    assert outcome.status is Status.FAIL
    assert outcome.reason.startswith(f"{law}: "), outcome.reason
    assert word in outcome.lesson


def test_figures_that_do_not_add_up_are_found(judge):
    class Forgetful(LocalRuntime):
        async def queue_stats(self):
            stats = await super().queue_stats()
            return {**stats, "counter": QueueStats(completed=1, active=1)}

    outcome = judge(look_at_nothing, make=making(Forgetful))
    assert outcome.status is Status.FAIL
    assert "RES-030: 'counter': 1 completed, events told of 2" in outcome.lesson


def test_figures_that_are_late_have_a_while_to_come(judge):
    class Late(LocalRuntime):
        asked = 0

        async def queue_stats(self):
            Late.asked += 1
            return await super().queue_stats() if Late.asked > 3 else {}

    assert judge(look_at_nothing, make=making(Late)).status is Status.PASS
    assert Late.asked > 3


def test_an_event_without_its_data_is_one_finding_and_no_crash(judge, monkeypatch):
    def tell(self, execution, event, data):
        request = execution.request
        self.publish(event, request.execution_id, request.session_id, request.name, {})

    monkeypatch.setattr(Engine, "_tell", tell)
    outcome = judge(look_at_nothing)
    assert outcome.status is Status.FAIL
    assert "EVT-023: an event 'processor:active' says attempt=None" in outcome.lesson


def test_a_law_that_is_declared_broken_is_not_told_by_every_rule(judge):
    lie = making(lying(attempt=lambda _: 2))
    outcome = judge(look_at_nothing, make=lie, known_failures={"EXE-049": "counts from two"})
    assert "EXE-049" not in outcome.reason


def test_what_is_found_stands_beside_the_failure_of_the_rule(judge):
    async def fail(kit):
        await look_at_nothing(kit)
        raise AssertionError("the rule's own words")

    outcome = judge(fail, make=making(lying(attempt=lambda _: 2)))
    assert outcome.reason == "the rule's own words"
    assert "and also: EXE-049" in outcome.lesson


def test_an_unfinished_program_is_no_finding(judge):
    async def leave_early(kit):
        async with kit.runtime(counter) as runtime:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runtime.execute, counter, TestState())
                nursery.cancel_scope.cancel()
            await runtime.submit(counter, TestState(), delay=3600.0)

    assert judge(leave_early, make=make_local).status is Status.PASS
