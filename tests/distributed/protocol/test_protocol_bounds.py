"""One script does so much and no more, so that no call keeps the server for long."""

from __future__ import annotations

import pytest

from am2z.queue.protocol import Parent, Report, Submission

from .protocol_driver import Driver, check


def test_the_cancelled_of_all_depths_count_for_one_bound(driver: Driver) -> None:
    driver.add("a", "top")
    top = driver.take_one("top")
    for n in range(5):
        driver.add(f"a.{n}", "middle", parent=Parent("a", top.fence, "h"))
    for item in driver.take("middle", total=5):
        for n in range(300):
            driver.add(f"{item.id}.{n}", parent=Parent(item.id, item.fence, "h"))
    driver.cancel("a")
    stats = driver.stats()
    assert stats["middle"].failed + stats["p"].failed == 1_000


def test_so_much_delayed_work_is_promoted_and_no_more(driver: Driver) -> None:
    for n in range(3):
        driver.add(f"a{n}", delay=1.0)
    driver.advance(1.0)
    assert driver.promote(2) == (2, 0.0)
    assert driver.promote(2) == (1, None)
    check(driver)


def test_so_many_leases_are_reclaimed_and_no_more(driver: Driver) -> None:
    for n in range(3):
        driver.add(f"a{n}")
    driver.take(total=3, lease=1.0)
    driver.advance(1.0)
    assert driver.reclaim(2) == (2, 0)
    assert driver.reclaim(2) == (1, 0)
    check(driver)


def test_so_many_expired_sessions_are_named_and_no_more(driver: Driver) -> None:
    for name in "ABC":
        driver.add(name, session_id=name)
        driver.done(driver.take_one())
    driver.advance(1.0)
    assert driver.expired_sessions(1.0, 2) == ["A", "B"]


def test_a_claim_skips_so_many_ids_that_wait_no_longer_and_no_more(driver: Driver) -> None:
    for n in range(1_500):
        driver.add(f"a{n}")
        driver.raw.delete(driver.keys.job(f"a{n}"))
    driver.add("last")
    looks = 0
    while not driver.take():
        looks += 1
        assert driver.raw.exists(f"{driver.keys.prefix}wake:p"), "somebody has to look again"
    assert 1 <= looks <= 3


def test_the_first_that_come_have_woken_everyone(driver: Driver) -> None:
    for n in range(64):
        driver.add(f"a{n}")
    assert driver.raw.llen(f"{driver.keys.prefix}wake:p") == 64
    driver.raw.delete(f"{driver.keys.prefix}wake:p")  # as if workers had taken them
    driver.add("b")
    assert not driver.raw.exists(f"{driver.keys.prefix}wake:p")


def test_a_batch_wakes_so_many_workers_and_no_more(driver: Driver) -> None:
    driver.enqueue_many([Submission(f"a{n}", "p", b"", delay=1.0) for n in range(100)])
    assert driver.raw.llen(f"{driver.keys.prefix}wake:p") == 64


def test_of_a_batch_of_ends_each_is_told_once(driver: Driver) -> None:
    many = [Submission(f"a{n}", "p", b"", reply_to="me") for n in range(1_200)]
    with pytest.raises(ValueError, match="at most 1000"):
        driver.enqueue_many(many)
    driver.enqueue_many(many[:700])
    driver.enqueue_many(many[700:])
    items = [*driver.take(total=1_000), *driver.take(total=1_000)]
    assert len(items) == 1_200
    driver.ack_many([Report(item.id, item.fence, success=True, body=b"") for item in items])
    assert driver.raw.llen(driver.keys.inbox("me")) == 1_200
    check(driver)
