"""What others write into our keys harms what it hits, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from am2z.queue.wire import Finished, Why

from .protocol_driver import Driver, check
from .spoil import everything, names, spoil, work_off, world


def goes_on(d: Driver) -> None:
    """No script raises, and new work of another processor and session is done."""
    d.add("fresh0", "fresh", session_id="F", reply_to="fresh")
    everything(d)
    d.add("fresh1", "fresh", reply_to="fresh")
    work_off(d)
    ends = d.finished("fresh")
    assert ends.keys() == {"fresh0", "fresh1"}
    assert {end.body for end in ends.values()} == {b"result"}
    d.stop_session("A")
    d.stop_session("A")
    assert d.forget_session("F")


@pytest.mark.parametrize("junk", [b"x y", b"9" * 400])
@pytest.mark.parametrize("how", ["kind", "part", "less"])
def test_garbage_in_any_key_ends_no_script_and_stops_no_other_work(
    driver: Driver, how: str, junk: bytes
) -> None:
    world(driver)
    parts = {
        key: driver.raw.hlen(key) if driver.raw.type(key) == b"hash" and how != "kind" else 1
        for key in names(driver)
    }
    for key, pick in ((key, n) for key, count in parts.items() for n in range(count)):
        world(driver)
        spoil(driver, key, how, junk, pick)
        try:
            goes_on(driver)
        except Exception as error:
            error.add_note(f"{how} {key!r} {pick}")
            raise


@pytest.mark.parametrize("name", ["waiting1", "active", "delayed"])
def test_a_corrupted_execution_is_a_dead_letter_and_its_caller_is_answered(
    driver: Driver, name: str
) -> None:
    world(driver)
    driver.raw.hset(driver.keys.job(name), mapping={"n": "junk", "a": "junk"})
    work_off(driver)
    ends = [e for e in driver.inbox("me") if isinstance(e, Finished) and e.id == name]
    assert [end.why for end in ends] == [Why.CORRUPT]
    assert name in [letter.id for letter in driver.dead()]
    assert driver.dead(name)[0].payload == b"input"
    check(driver)


@pytest.mark.parametrize("name", ["waiting1", "alone1", "active", "delayed", "parent"])
@pytest.mark.parametrize("status", ["w", "y", "a"])
def test_an_execution_that_is_not_where_it_says_has_an_end(
    driver: Driver, name: str, status: str
) -> None:
    world(driver)
    driver.raw.hset(driver.keys.job(name), "t", status)
    work_off(driver)
    [look] = driver.look([name])
    assert look.status in ("D", "F")
    assert not driver.raw.exists(driver.keys.job(name))
    unfinished = [list(counts)[:3] for counts in driver.stats().values()]
    assert unfinished == [[0, 0, 0]] * len(unfinished)


def come_again(driver: Driver, processor: str = "p", **options: Any) -> None:
    """Of 900 that wait the one in the middle ends, stays in its list, and comes again."""
    for n in range(900):
        driver.add(f"a{n}")
    driver.cancel("a400")
    driver.raw.delete(f"{driver.keys.prefix}r:a400")  # as if its time had passed
    driver.add("a400", processor, reply_to="me", **options)


@pytest.mark.parametrize(("processor", "session"), [("q", "S"), ("q", None), ("p", "S")])
def test_an_id_that_came_again_elsewhere_is_not_mistaken_for_a_broken_one(
    driver: Driver, processor: str, session: str | None
) -> None:
    come_again(driver, processor, session_id=session)
    items = [*driver.take(total=1000), *driver.take(processor)]
    assert driver.inbox("me") == []
    assert sorted(item.id for item in items) == sorted(f"a{n}" for n in range(900))
    [again] = (item for item in items if item.id == "a400")
    assert (again.processor, again.session_id) == (processor, session)


def test_an_id_that_came_again_delayed_is_not_mistaken_for_a_broken_one(driver: Driver) -> None:
    come_again(driver, delay=5.0)
    assert len(driver.take(total=1000)) == 899
    assert driver.inbox("me") == []
    driver.advance(5.0)
    assert [item.id for item in driver.take()] == ["a400"]


def test_an_id_that_came_again_and_runs_is_not_mistaken_for_a_broken_one(driver: Driver) -> None:
    come_again(driver)
    early, late = driver.take(total=450), driver.take(total=1000)
    assert "a400" in {item.id for item in early}
    assert len(late) == 450
    [again] = (item for item in early if item.id == "a400")
    driver.done(again)
    assert [end.body for end in driver.finished("me").values()] == [b"result"]
