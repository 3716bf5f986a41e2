"""What others write into our keys harms what it hits, and nothing else."""

from __future__ import annotations

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


@pytest.mark.parametrize(("processor", "session"), [("q", "S"), ("q", None), ("p", "S")])
def test_an_id_that_came_again_elsewhere_is_not_mistaken_for_a_broken_one(
    driver: Driver, processor: str, session: str | None
) -> None:
    for n in range(900):
        driver.add(f"a{n}")
    driver.cancel("a400")
    driver.raw.delete(f"{driver.keys.prefix}r:a400")  # as if its time had passed
    driver.add("a400", processor, session_id=session, reply_to="me")
    items = [*driver.take(total=1000), *driver.take(processor)]
    assert driver.inbox("me") == []
    assert sorted(item.id for item in items) == sorted(f"a{n}" for n in range(900))
    [again] = (item for item in items if item.id == "a400")
    assert (again.processor, again.session_id) == (processor, session)
