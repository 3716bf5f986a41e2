"""Events reach whoever asked for them, in order, and one bad handler hurts nobody."""

import logging
from fnmatch import fnmatchcase

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from am2z import bus as bus_module
from am2z.bus import EventBus, Subscription
from am2z.errors import ConfigurationError
from am2z.events import Event


def event(type_: str, **data: object) -> Event:
    return Event(type=type_, time=0.0, data=data)


def types(events: list[Event]) -> list[str]:
    return [each.type for each in events]


names = st.sampled_from(["a:x", "a:y", "b:x", "b", "a:x:z"])
patterns = st.sampled_from(["*", "a:*", "b*", "?:x", "a:x", "nothing", "[ab]:y"])


@given(st.lists(patterns, max_size=4), st.lists(names, max_size=8), st.integers(0, 7))
def test_each_event_reaches_exactly_the_handlers_whose_pattern_it_matches(
    wanted: list[str], sent: list[str], late: int
) -> None:
    bus = EventBus()
    seen: list[list[str]] = [[] for _ in wanted]
    for index, type_ in enumerate(sent):
        if index == late:  # who receives what is remembered, and must not be remembered wrongly
            for place, pattern in enumerate(wanted):
                bus.on(pattern, lambda e, place=place: seen[place].append(e.type))  # type: ignore[misc]
        assert bus.wants(type_) is (
            index >= late and any(fnmatchcase(type_, pattern) for pattern in wanted)
        )
        bus.publish(event(type_))
    for pattern, got in zip(wanted, seen, strict=True):
        assert got == [type_ for type_ in sent[late:] if fnmatchcase(type_, pattern)]


def test_off_undoes_one_on() -> None:
    bus, seen = EventBus(), list[Event]()
    handler = seen.append
    bus.on("a", handler)
    bus.on("a", handler)
    bus.publish(event("a"))
    bus.off("a", handler)
    bus.publish(event("a"))
    bus.off("a", handler)
    bus.publish(event("a"))
    assert len(seen) == 3
    assert not bus.is_listening
    bus.off("a", handler)
    bus.off("never", handler)


def test_a_handler_that_raises_is_logged_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus, seen = EventBus(), list[Event]()

    def crash(_: Event) -> None:
        raise ValueError("broken handler")

    bus.on("*", crash)
    bus.on("*", seen.append)
    with caplog.at_level(logging.ERROR, "am2z.events"):
        bus.publish(event("a"))
    assert types(seen) == ["a"]
    assert "broken handler" in caplog.text


def test_a_handler_may_take_itself_off_while_it_handles() -> None:
    bus, seen = EventBus(), list[str]()

    def once(e: Event) -> None:
        seen.append(e.type)
        bus.off("*", once)

    bus.on("*", once)
    bus.publish(event("a"))
    bus.publish(event("b"))
    assert seen == ["a"]


async def waits(e: Event) -> None: ...


@pytest.mark.parametrize("handler", [None, "x", waits])
def test_what_is_no_plain_function_is_no_handler(handler: object) -> None:
    with pytest.raises(ConfigurationError, match="function of one event"):
        EventBus().on("a", handler)  # type: ignore[arg-type]


def test_an_async_handler_is_told_to_subscribe() -> None:
    with pytest.raises(ConfigurationError, match=r"runtime\.subscribe\(\)"):
        EventBus().on("a", waits)


@pytest.mark.parametrize("pattern", ["", "a\n", 7])
def test_a_pattern_is_a_printable_text(pattern: object) -> None:
    with pytest.raises(ConfigurationError, match="name of a event"):
        EventBus().on(pattern, print)  # type: ignore[arg-type]
    with (
        pytest.raises(ConfigurationError, match="name of a event"),
        EventBus().subscribe((pattern,)),  # type: ignore[arg-type]
    ):
        pass


def test_event_names_from_data_do_not_fill_the_memory() -> None:
    bus = EventBus()
    bus.on("*", lambda _: None)
    for number in range(3000):
        bus.publish(event(f"n{number}"))
    assert len(bus._receivers) <= 1024


# Subscriptions


@pytest.mark.trio
async def test_a_subscription_gives_its_events_in_order_and_ends_with_the_bus() -> None:
    bus = EventBus()
    with bus.subscribe(("a:*", "b")) as events:
        for type_ in ("a:1", "c", "b", "a:2"):
            bus.publish(event(type_))
        bus.close()
        assert [e.type async for e in events] == ["a:1", "b", "a:2"]
        bus.publish(event("b"))
        assert [e.type async for e in events] == []
    assert not bus.is_listening


@pytest.mark.trio
async def test_a_subscription_without_patterns_gives_everything() -> None:
    bus = EventBus()
    with bus.subscribe(()) as events:
        bus.publish(event("a"))
        assert (await anext(events)).type == "a"


@pytest.mark.trio
async def test_who_waits_is_woken_by_the_event_and_by_the_end() -> None:
    bus = EventBus()
    seen: list[str] = []

    async def read(events: Subscription) -> None:
        seen.extend([e.type async for e in events])
        seen.append("end")

    with bus.subscribe(("*",)) as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, events)
            await wait_all_tasks_blocked()
            bus.publish(event("a"))
            await wait_all_tasks_blocked()
            bus.close()
    assert seen == ["a", "end"]


@pytest.mark.trio
async def test_taking_an_event_lets_others_run_and_a_cancelled_taker_loses_none() -> None:
    bus = EventBus()
    with bus.subscribe(("*",)) as events:
        bus.publish(event("a"))
        bus.publish(event("b"))
        with assert_checkpoints():
            assert (await anext(events)).type == "a"
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert scope.cancelled_caught
        assert (await anext(events)).type == "b"
        bus.close()
        with assert_checkpoints(), pytest.raises(StopAsyncIteration):
            await anext(events)


@pytest.mark.trio
async def test_two_readers_of_one_subscription_share_its_events() -> None:
    bus = EventBus()
    seen: list[str] = []

    async def read(events: Subscription) -> None:
        seen.extend([e.type async for e in events])

    with bus.subscribe(("*",)) as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, events)
            nursery.start_soon(read, events)
            for number in range(6):
                bus.publish(event(str(number)))
                await trio.lowlevel.checkpoint()
            bus.close()
    assert sorted(seen) == list("012345")


@pytest.mark.trio
async def test_a_slow_subscriber_loses_its_oldest_events_and_a_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bus_module, "MAX_BUFFERED", 3)
    bus = EventBus()
    with bus.subscribe(("*",)) as events:
        for number in range(6):
            bus.publish(event(str(number)))
        bus.close()
        assert [e.type async for e in events] == ["3", "4", "5"]
    assert caplog.text.count("too slow") == 1


@pytest.mark.trio
async def test_a_left_subscription_gets_nothing_more() -> None:
    bus = EventBus()
    with bus.subscribe(("*",)) as events:
        pass
    bus.publish(event("a"))
    assert [e async for e in events] == []
    assert not bus.wants("a")
