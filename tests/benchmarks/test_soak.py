"""The short form of the soak: work of every kind and a killed worker leave nothing behind."""

import shutil
from contextlib import ExitStack

import pytest

from benchmarks.server import redis_server
from benchmarks.soak import Held, Soak, complaints

HELD = Held(50_000_000, 10, 40_000_000, 12, 3_000_000, 20)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not on PATH")
@pytest.mark.timeout(300)
def test_a_short_soak_leaves_nothing_behind():
    with redis_server() as server, ExitStack() as stack:
        soak = Soak(server, stack, window=400)
        soak.live()
        before = soak.held()
        soak.live()
        soak.kill()
        soak.live()
        after = soak.held()
    assert soak.wrong == []
    assert list(complaints(before, after, soak.kills)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_memory", 70_000_000),
        ("client_files", 15),
        ("worker_memory", 60_000_000),
        ("worker_files", 17),
        ("redis_memory", 5_000_000),
        ("keys", 26),
    ],
)
def test_whatever_is_held_more_than_before_is_complained_of(field, value):
    after = HELD._replace(**{field: value})
    [told] = complaints(HELD, after, kills=0)
    assert told.startswith(f"{field} went from ")
    assert list(complaints(HELD, HELD, kills=0)) == []


def test_a_killed_worker_may_leave_its_three_keys():
    assert list(complaints(HELD, HELD._replace(keys=26), kills=1)) == []
