"""Events across runtimes: what a caller may rely on, and what garbage in the stream does."""

from __future__ import annotations

import re

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from am2z import (
    BusinessError,
    Context,
    PoisonExecutionError,
    RetryPolicy,
    SessionStoppedError,
    processor,
)
from am2z.bus import EventBus
from am2z.codec import encode_mapping
from am2z.queue.stream import EventReader

from .apps import Work
from .conftest import wait_until

LETTERS = {
    "processor:active": "a",
    "processor:progress": "p",
    "app:told": "p",
    "processor:retrying": "r",
    "processor:completed": "c",
    "queue:completed": "C",
    "processor:failed": "f",
    "queue:failed": "F",
}
GRAMMAR = re.compile(r"ap*(rap*)*(cC|fF)")


@processor(retry=RetryPolicy(max_attempts=3, backoff=0.01))
async def lively(state: Work, ctx: Context) -> Work:
    ctx.update_progress(10)
    ctx.emit("app:told", {"attempt": ctx.metadata.attempt})
    if ctx.metadata.attempt <= state.count:
        raise RuntimeError("again")
    return state.evolve(note="done")


@processor
async def wrong(state: Work, ctx: Context) -> Work:
    raise BusinessError("no")


def spelled(events, execution_id):
    return "".join(LETTERS[e.type] for e in events if e.execution_id == execution_id)


def _of_executions(events):
    return [(event.type, event.execution_id) for event in events if event.execution_id]


@pytest.mark.trio
async def test_events_of_an_execution_are_there_when_its_result_is(make):
    seen, others = [], []
    async with make(lively, wrong, role="worker") as worker, make(role="client") as client:
        client.on("*", seen.append)
        worker.on("*", others.append)
        for state, expected in ((Work(), "appcC"), (Work(count=2), "apprapprappcC")):
            result = await client.execute("lively", state)
            assert spelled(seen, result.metadata.execution_id) == expected
        result = await client.execute("lively", Work(count=9))
        assert spelled(seen, result.metadata.execution_id) == "apprapprappfF"
        result = await client.execute("wrong", Work())
        assert spelled(seen, result.metadata.execution_id) == "afF"
        assert seen[-1].data["error"].message == "no"
        handle = await client.submit("lively", Work())
        await handle.result()
        assert spelled(seen, handle.execution_id) == "appcC"
        # the other runtime sees the same, in the same order
        with trio.fail_after(2):
            await wait_until(lambda: _of_executions(others)[-1:] == _of_executions(seen)[-1:])
        assert _of_executions(others) == _of_executions(seen)


@pytest.mark.trio
async def test_result_waits_for_the_events_of_its_execution(make, monkeypatch):
    seen = []
    async with make(lively, role="worker"), make(role="client") as client:
        events = client._shards[0].events
        hand_on = events._read

        async def slow():
            await trio.sleep(0.02)
            await hand_on()

        monkeypatch.setattr(events, "_read", slow)
        client.on("*", seen.append)
        for _ in range(3):
            result = await client.execute("lively", Work())
            assert spelled(seen, result.metadata.execution_id) == "appcC"


@pytest.mark.trio
async def test_events_obey_their_grammar_while_many_run(make):
    seen = []
    async with make(lively) as one, make(lively) as two, make(role="client") as client:
        client.on("*", seen.append)
        states = [Work(count=n % 4) for n in range(100)]
        results = await client.execute_many("lively", states)
        for result in results:
            assert GRAMMAR.fullmatch(spelled(seen, result.metadata.execution_id))
        times = [event.time for event in seen]
        assert times == sorted(times)
        assert one.is_started is two.is_started is True


@pytest.mark.trio
async def test_subscriber_gets_events_in_order_until_the_runtime_ends(make):
    got = []

    async def read(events):
        async for event in events:
            got.append(event.type)  # noqa: PERF401 - one by one, as they come

    async with (
        trio.open_nursery() as nursery,
        make(lively) as runtime,
        runtime.subscribe("processor:*") as events,
    ):
        await runtime.execute("lively", Work(), "s")
        nursery.start_soon(read, events)
        await wait_until(lambda: len(got) == 3)
    assert got == ["processor:active", "processor:progress", "processor:completed"]


@pytest.mark.trio
async def test_late_listener_sees_what_comes_after_and_nothing_before(make):
    seen = []
    async with make(lively) as runtime:
        early = await runtime.execute("lively", Work())
        runtime.on("*", seen.append)
        late = await runtime.execute("lively", Work())
        assert {e.execution_id for e in seen} == {late.metadata.execution_id}
        assert early.success


@pytest.mark.trio
async def test_dropped_work_has_one_event_only(make):
    seen = []
    async with make(lively, role="client") as client:
        client.on("*", seen.append)
        handle = await client.submit("lively", Work(), "s")
        await client.stop_session("s")
        assert isinstance((await handle.result()).error, SessionStoppedError)
        assert spelled(seen, handle.execution_id) == "F"
        assert isinstance(seen[-1].data["error"], SessionStoppedError)
        sessions = [(e.type, e.session_id) for e in seen if e.type.startswith("session")]
        assert sessions == [("session:created", "s"), ("session:stopped", "s")]


@pytest.mark.trio
async def test_events_of_work_that_was_taken_back_obey_the_grammar(make, eyes):
    seen = []

    @processor
    async def lost(state: Work, ctx: Context) -> Work:
        eyes.take_back(ctx.execution_id)
        await trio.sleep_forever()

    async with make(lost, lease=0.3, max_deliveries=2) as runtime:
        runtime.on("*", seen.append)
        with trio.fail_after(5):
            result = await runtime.execute("lost", Work())
    assert spelled(seen, result.metadata.execution_id) == "arafF"
    failed = next(event for event in seen if event.type == "processor:failed")
    assert isinstance(failed.data["error"], PoisonExecutionError)


@pytest.mark.trio
async def test_event_of_a_runtime_reaches_every_runtime_once(make):
    here, there = [], []
    async with make() as one, make(role="client") as two:
        one.on("app:*", here.append)
        two.on("app:*", there.append)
        async with two.subscribe("app:*"):
            await one.emit("app:hello", {"n": 1})
            await wait_until(lambda: there)
            await one.emit("app:bye")
            await wait_until(lambda: len(there) == 2)
        assert [(e.type, dict(e.data)) for e in here] == [("app:hello", {"n": 1}), ("app:bye", {})]
        assert [e.type for e in there] == [e.type for e in here]


@pytest.mark.trio
async def test_handler_that_raises_hurts_nobody(make, caplog):
    seen = []

    def broken(event):
        raise KeyError("mine")

    async with make(lively) as runtime:
        runtime.on("*", broken)
        runtime.on("*", seen.append)
        result = await runtime.execute("lively", Work())
    assert spelled(seen, result.metadata.execution_id) == "appcC"
    assert "raised" in caplog.text


@pytest.mark.trio
async def test_metrics_are_collected_from_all_processes(make):
    async with make(lively, role="worker"), make(role="client", metrics_interval=0.03) as client:
        await client.execute("lively", Work(), "s")
        async with client.subscribe("metrics:collected") as events:
            async for event in events:
                if event.data["completed"]:  # else it was counted before, and told after
                    break
    assert event.data["completed"] == 1
    assert event.data["queues"]["lively"]["completed"] == 1


GARBAGE = [
    {"t": "active"},
    {"x": "y"},
    {"t": "failed", "i": "e", "p": "p", "y": "unheard-of"},
    {"t": "failed", "i": "%zz", "p": "p"},
    {"t": "custom", "i": "e", "n": "app:x", "d": b"\xff\x00"},
    {"t": "custom", "i": "e", "n": "app:x", "d": encode_mapping({"d": [1, 2]})},
    {"t": "custom", "i": "e", "n": "app:x", "d": encode_mapping({"d": 7})},
    {"t": "failed", "i": "e", "d": encode_mapping({"e": 7})},
    {"t": "failed", "i": "e", "d": encode_mapping({"e": b"junk"})},
    {"t": "retrying", "i": "e", "a": "-1"},
    {"t": "\udc80".encode("utf-8", "surrogateescape")},
]


@pytest.mark.trio
async def test_garbage_in_the_stream_is_skipped(make, eyes):
    seen = []
    async with make(lively) as runtime:
        runtime.on("*", seen.append)
        await runtime.execute("lively", Work())
        for fields in GARBAGE:
            eyes.redis.xadd(eyes.key("events"), fields)
        result = await runtime.execute("lively", Work())
    assert spelled(seen, result.metadata.execution_id) == "appcC"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.binary(max_size=9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
TOLD = st.fixed_dictionaries({}, optional={"d": VALUES, "e": VALUES, "o": VALUES})
FIELDS = st.fixed_dictionaries(
    {"t": st.sampled_from(["active", "failed", "dropped", "custom", "created", "new"])},
    optional={
        "i": st.binary(max_size=9),
        "s": st.binary(max_size=9),
        "a": st.binary(max_size=3),
        "n": st.binary(max_size=5),
        "y": st.sampled_from([b"poison", b"stopped", b"?"]),
        "d": TOLD.map(encode_mapping) | st.binary(max_size=20),
    },
)


class _Node:
    runtime_id = "me"

    class log:  # noqa: N801
        @staticmethod
        def warning(*args: object) -> None:
            """Nobody reads this."""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fields=FIELDS)
def test_no_entry_of_the_stream_stops_its_reader(fields):
    reader = EventReader(_Node(), EventBus())  # type: ignore[arg-type]
    raw = [
        part if isinstance(part, bytes) else part.encode() for kv in fields.items() for part in kv
    ]
    reader.hand_on(b"1-1", raw)
    assert reader._position == (1, 1)
