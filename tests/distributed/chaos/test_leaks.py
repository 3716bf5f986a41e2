"""Thousands of sessions come and go, and leave nothing behind: in the process, or in Redis.

The memory is compared with what it was after a warm-up of the same shape, when caches are full.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from am2z.queue.client import sync_client

from .leak_program import Held

ROOT = Path(__file__).parents[3]
TIMEOUT = 300.0
"""Seconds; on a machine with nothing else to do either takes a twentieth of it."""


def run_program(*args: str) -> tuple[dict[str, Held], float]:
    """What ``leak_program`` held at its moments, and the seconds that its executions took."""
    module = f"{__package__}.leak_program"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT - 10,
        check=True,
    )
    found = json.loads(run.stdout)
    seconds = found.pop("seconds")
    return {name: Held(**held) for name, held in found.items()}, seconds


def check_what_is_left(record_property, executions: int, *url: str) -> dict[str, Held]:
    moments, seconds = run_program(str(executions), *url)
    outside, before, after, closed = (
        moments[name] for name in ("outside", "before", "after", "closed")
    )
    figures = (
        f"{executions} executions in {seconds:.1f} s; before and after: memory "
        f"{before.memory / 2**20:.1f} and {after.memory / 2**20:.1f} MB, blocks {before.blocks} "
        f"and {after.blocks}, descriptors {before.descriptors} and {after.descriptors}, tasks "
        f"{before.tasks} and {after.tasks}, keys {len(before.keys)} and {len(after.keys)}"
    )
    print("leaks:", figures)
    record_property("leaks", figures)
    assert after.is_like(before), figures
    assert after.keys == before.keys
    assert (closed.descriptors, closed.tasks) == (outside.descriptors, outside.tasks)
    return moments


@pytest.mark.timeout(TIMEOUT)
def test_a_thousand_sessions_on_a_queue_leave_nothing_behind(server, record_property):
    with sync_client(server.url) as redis:
        redis.flushall()
    moments = check_what_is_left(record_property, 20_000, server.url)
    assert not [key for key in moments["closed"].keys if key.startswith("served:")]


@pytest.mark.timeout(TIMEOUT)
def test_a_hundred_thousand_local_executions_leave_nothing_behind(record_property):
    check_what_is_left(record_property, 100_000)
