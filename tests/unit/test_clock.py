"""now() reads the clock that applies."""

import time

import pytest
import trio
from trio.testing import MockClock

from am2z.clock import now


def test_inside_a_run_it_is_trios_clock_so_a_mock_clock_moves_it() -> None:
    async def main() -> float:
        before = now()
        await trio.sleep(3600)
        return now() - before

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == pytest.approx(3600)


def test_elsewhere_it_is_the_monotonic_clock() -> None:
    before = time.monotonic()
    assert before <= now() <= time.monotonic()


@pytest.mark.trio
async def test_in_a_worker_thread_it_is_the_monotonic_clock() -> None:
    before = time.monotonic()
    assert before <= await trio.to_thread.run_sync(now) <= time.monotonic()
