"""The line in front of a lock: who is in it, for how long, and who is woken."""

from __future__ import annotations

import math

import pytest

from am2z.queue.wire import LockFree

from .protocol_driver import Driver


def ask(driver: Driver, owner: str, *, wait: float = 3.0, runtime: str = "me") -> bool:
    taken, _ = driver.lock_acquire("l", owner, 30.0, runtime_id=runtime, wait=wait)
    return taken


def line(driver: Driver) -> list[str]:
    return [owner.decode() for owner in driver.raw.lrange(f"{driver.keys.prefix}lq:l", 0, -1)]


def waiters(driver: Driver) -> set[str]:
    return {owner.decode() for owner in driver.raw.hkeys(f"{driver.keys.prefix}lw:l")}


def test_whoever_asks_again_keeps_the_one_place_it_has(either: Driver) -> None:
    assert ask(either, "holder")
    for owner in ("a", "b", "a", "a", "b"):
        assert not ask(either, owner)
    assert line(either) == ["a", "b"]
    assert waiters(either) == {"a", "b"}


def test_the_lock_is_free_for_who_is_first_in_line_and_nobody_else(either: Driver) -> None:
    assert ask(either, "holder")
    assert not ask(either, "a")
    assert not ask(either, "b")
    assert either.lock_release("l", "holder")
    assert either.inbox() == [LockFree("a")]
    assert either.lock_acquire("l", "b", 30.0, wait=3.0) == (False, math.inf)
    assert not ask(either, "passer-by", wait=0.0)
    assert line(either) == ["a", "b"], "who keeps no place is in no line"
    assert ask(either, "a")
    assert line(either) == ["b"]
    assert waiters(either) == {"b"}


def test_a_waiter_that_leaves_is_in_no_line_and_passes_its_turn_on(either: Driver) -> None:
    assert ask(either, "holder")
    for owner in ("a", "b", "c"):
        assert not ask(either, owner)
    assert not either.lock_release("l", "b")
    assert line(either) == ["a", "c"]
    assert either.inbox() == [], "the lock is not free"
    assert either.lock_release("l", "holder")
    assert either.inbox() == [LockFree("a")]
    assert not either.lock_release("l", "a")  # it was woken, and does not want the lock any more
    assert either.inbox() == [LockFree("c")]
    assert waiters(either) == {"c"}


def test_a_waiter_that_is_silent_for_too_long_leaves_the_line(either: Driver) -> None:
    assert ask(either, "holder")
    assert not ask(either, "dead", wait=1.0)
    assert not ask(either, "a", runtime="other")
    either.advance(1.0)
    assert either.lock_release("l", "holder")
    assert either.inbox() == []
    assert either.inbox("other") == [LockFree("a")]
    assert line(either) == ["a"]
    assert waiters(either) == {"a"}
    either.advance(60.0)
    assert ask(either, "b"), "nobody alive is before it"
    assert line(either) == []
    assert waiters(either) == set()


def test_a_waiter_that_was_away_stands_behind_those_who_were_not(either: Driver) -> None:
    assert ask(either, "holder")
    assert not ask(either, "away", wait=1.0)
    assert not ask(either, "a")
    either.advance(2.0)
    assert not ask(either, "away")
    assert line(either) == ["a", "away"]


@pytest.mark.parametrize("name", ["a:b", "{x}", "%", "ü *"])
def test_locks_of_any_names_are_apart(either: Driver, name: str) -> None:
    assert ask(either, "holder")
    taken, _ = either.lock_acquire(name, "holder of another", 30.0)
    assert taken
    assert either.lock_release(name, "holder of another")
    assert not ask(either, "a")


def test_everything_about_locks_has_a_time_to_live(either: Driver) -> None:
    assert ask(either, "holder")
    assert not ask(either, "a")
    assert either.lock_release("l", "holder")
    assert [key for key in either.left() if key.startswith(("l", "in"))] == []


def test_who_has_a_lock_and_asks_again_has_it_for_the_new_time(driver: Driver) -> None:
    _, fence = driver.lock_acquire("l", "one", 30.0)
    assert driver.lock_acquire("l", "one", 600.0) == (True, fence)
    assert driver.raw.pttl(f"{driver.keys.prefix}lock:l") > 60_000


def test_a_line_that_redis_lost_forms_again(driver: Driver) -> None:
    assert ask(driver, "holder")
    assert not ask(driver, "a")
    driver.raw.delete(f"{driver.keys.prefix}lq:l")
    assert not ask(driver, "a")
    assert line(driver) == ["a"]


def test_a_lock_without_a_time_to_live_is_not_free(driver: Driver) -> None:
    assert ask(driver, "holder")
    driver.raw.persist(f"{driver.keys.prefix}lock:l")
    assert driver.lock_acquire("l", "a", 30.0) == (False, 0.001)


def test_who_waits_without_an_inbox_is_told_nothing(driver: Driver) -> None:
    assert ask(driver, "holder")
    assert not ask(driver, "a", runtime="")
    assert driver.lock_release("l", "holder")
    assert not driver.raw.exists(f"{driver.keys.prefix}in:")
    assert ask(driver, "a")
