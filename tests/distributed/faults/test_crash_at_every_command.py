"""A connection cut at every command, at each of three points: nothing is lost, nothing done twice.

A fixed program runs once undisturbed, and every command of it is counted: by its kind (the script's
name, the command's, what a blocking one waits for) and its number among those. It then runs again
for each of them with one connection cut there: before the command is sent, after it was applied but
before its reply, and after its reply. A program is deterministic up to its cut, so kind and number
name a place that is reached again; what is ``PERIODIC`` comes at least once in every run.
Only how often an idle loop turns depends on the time (``LOOPS``): of these a place may be missed,
though never the first one.

Covered whenever the tests run: each kind at each point, at the first and the last place where it
comes, and a sample of the other places. ``AM2Z_CHAOS=1`` covers each place at each point;
``AM2Z_CUT=ack:3:applied`` runs one of them alone.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import trio

from harness import RedisProxy
from harness.proxy import When
from tests.distributed.redis_client.conftest import RedisServer

from .crash_program import Program, kind_of, script_names

pytestmark = pytest.mark.trio

POINTS: tuple[When, ...] = ("before", "applied", "replied")
AT_ONCE = 12
"""So many programs run at once: one that waits for a lease costs nothing."""
SAMPLE = 12
"""So many further places for each point where not all are covered."""
IS_WHOLE = os.environ.get("AM2Z_CHAOS") == "1"
ONE = os.environ.get("AM2Z_CUT", "")

LOOPS = {
    *("BLPOP in", "BLPOP wake", "LPOP in", "XREAD", "claim", "look", "reclaim", "promote"),
    *("CLIENT UNBLOCK", "CLIENT ID", "CLIENT SETNAME", "PING", "heartbeat"),
}
"""What comes as often as a loop turns, or as connections are needed for it."""

MAY_BE_REFUSED = {
    # The first connection is not tried twice: whoever starts a runtime wants to know at once.
    "enter": {"CLIENT SETNAME", "PING", "CLIENT ID"},
    # A state that is set is not sent again without asking, for somebody may have set another one
    # meanwhile: its caller knows what to do.
    "update": {"state_set"},
    "set": {"state_set"},
}
"""Steps of the program that may end with a ``NetworkError``, and at which commands."""
PERIODIC = {"heartbeat", "reclaim", "promote"}
"""What comes at any time, so that a ``state_set`` may be under way on the same connection."""


class Place(NamedTuple):
    """A command: the ``number``-th of its kind."""

    kind: str
    number: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    one = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield one
    one.kill()


async def run_undisturbed(url: str, name: str) -> Counter[str]:
    """The commands that the program sends, by kind."""
    for number in (1, 2):  # the first one may be told that the server knows no script
        async with RedisProxy(url, scripts=script_names()) as proxy:
            program = Program(url, f"{name}-{number}")
            await program.run(proxy)
            assert program.problems == program.refused == []
    return Counter(map(kind_of, proxy.commands))


async def run_with_cut(url: str, place: Place, when: When) -> tuple[Program, bool]:
    """The program with one connection cut, and whether the place was reached."""
    namespace = f"{place.kind}-{place.number}-{when}".replace(" ", ".")
    async with RedisProxy(url, scripts=script_names()) as proxy:
        cut = proxy.cut(lambda c: kind_of(c) == place.kind, at=place.number, when=when)
        program = Program(url, namespace)
        await program.run(proxy)
    for step, why in program.refused:
        # After a reply the client sends its next command before it has noticed, whatever that is.
        unnoticed = when == "replied" or place.kind in PERIODIC
        beside = unnoticed and step in ("update", "set")
        if place.kind not in MAY_BE_REFUSED.get(step, ()) and not beside:
            program.problems.append(f"{step} was refused: {why}")
    return program, cut.command is not None


def places(counts: Counter[str], rng: random.Random) -> list[Place]:
    """Every place, or those that stand for their kind and a sample of the others."""
    everywhere = [Place(kind, n + 1) for kind in sorted(counts) for n in range(counts[kind])]
    if IS_WHOLE:
        return everywhere
    chosen = {place for place in everywhere if place.number in (1, counts[place.kind])}
    rest = [place for place in everywhere if place not in chosen]
    return sorted({*chosen, *rng.sample(rest, min(SAMPLE, len(rest)))})


@pytest.mark.timeout(900 if IS_WHOLE else 240)
@pytest.mark.parametrize("when", POINTS)
async def test_connection_cut_at_every_command_loses_nothing_and_repeats_nothing(
    server, when, caplog, record_property
):
    caplog.set_level(logging.CRITICAL, "am2z")  # what is lost and found again is told each time
    problems: list[str] = []
    reached: set[Place] = set()
    counts = await run_undisturbed(server.url, when)
    seed = random.randrange(2**32)
    chosen = places(counts, random.Random(seed))
    if ONE:
        kind, number, point = ONE.split(":")
        chosen = [Place(kind, int(number))] if point == when else []
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def try_out(place: Place) -> None:
        async with limiter:
            program, was_reached = await run_with_cut(server.url, place, when)
        if was_reached:
            reached.add(place)
        name = f"AM2Z_CUT='{place.kind}:{place.number}:{when}'"
        problems.extend(f"{name}: {problem}" for problem in program.problems)

    async with trio.open_nursery() as nursery:
        for place in chosen:
            nursery.start_soon(try_out, place)
    record_property("covered", f"{len(reached)} of {counts.total()} commands, seed {seed}")
    assert not problems, "\n".join([f"{len(problems)} problems", *sorted(problems)])
    missed = set(chosen) - reached
    strict = {place for place in missed if place.number == 1 or place.kind not in LOOPS}
    assert not strict, f"the program never came to {strict}"
    assert len(missed) <= len(chosen) / 10


@pytest.mark.timeout(900 if IS_WHOLE else 240)
async def test_connections_that_are_cut_again_and_again_lose_nothing_and_repeat_nothing(
    server, caplog
):
    """Each fault meets the others: one command in thirty is cut, somewhere."""
    caplog.set_level(logging.CRITICAL, "am2z")
    limiter = trio.CapacityLimiter(AT_ONCE)
    problems: list[str] = []
    cuts = 0

    async def cut_for_ever(proxy: RedisProxy, rng: random.Random) -> None:
        nonlocal cuts
        await proxy.saw("presence")  # a runtime that cannot start is another matter
        while True:
            when = rng.choice(POINTS)
            await proxy.cut(lambda _command: rng.random() < 1 / 30, when=when).wait()
            cuts += 1

    async def try_out(seed: int) -> None:
        async with (
            limiter,
            RedisProxy(server.url, scripts=script_names()) as proxy,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(cut_for_ever, proxy, random.Random(seed))
            program = Program(server.url, f"storm-{seed}")
            await program.run(proxy)
            nursery.cancel_scope.cancel()
        problems.extend(f"seed {seed}: {problem}" for problem in program.problems)

    seeds = [random.randrange(2**32) for _ in range(200 if IS_WHOLE else 15)]
    async with trio.open_nursery() as nursery:
        for seed in seeds:
            nursery.start_soon(try_out, seed)
    assert not problems, "\n".join([f"{len(problems)} problems", *sorted(problems)])
    assert cuts > 3 * len(seeds)
