"""How one execution is delivered: the legal hostilities, each as a function of a ``Deliveries``."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from am2z.authoring import Outcome
from harness.strict.copies import Hold

if TYPE_CHECKING:
    from harness.strict.deliveries import Deliveries

__all__ = [
    "Plan",
    "any_of",
    "cancelled_at",
    "duplicated_at",
    "once",
    "redelivered",
    "reordered",
    "retried",
]

Plan = Callable[["Deliveries"], Awaitable[Outcome[Any]]]

PATIENCE = 0.5
"""Seconds for which a copy is held back at the longest."""


async def once(to: Deliveries) -> Outcome[Any]:
    """As if nothing were hostile."""
    return await to.deliver("it ran once, undisturbed")


async def redelivered(to: Deliveries) -> Outcome[Any]:
    """A worker dies when all is done and nothing is committed; another begins anew."""
    why = "a worker died after it, before the result was kept, and another ran it again"
    first = await to.deliver(why)
    return to.compare(first, await to.deliver(why), why)


async def retried(to: Deliveries) -> Outcome[Any]:
    """It succeeded, that was lost on its way, and the next attempt begins."""
    why = "its success was lost on the way, and it was tried again"
    first = await to.deliver(why)
    if first.error is not None or not to.may_retry:
        return first
    return to.compare(first, await to.deliver(why, later=1), why)


def cancelled_at(n: int) -> Plan:
    """Cancelled at its n-th checkpoint, and then run again."""

    async def plan(to: Deliveries) -> Outcome[Any]:
        why = f"it was cancelled at its checkpoint {n}, and then run again"
        outcome = await to.deliver(why, cancel_at=n)
        return outcome if outcome.error is None else await to.deliver(why)

    return plan


def duplicated_at(n: int) -> Plan:
    """The first copy is away at its n-th checkpoint; a second runs; then the first goes on.

    What the first makes is dropped: its fence is the smaller one.
    """

    async def plan(to: Deliveries) -> Outcome[Any]:
        why = f"an older copy of it, away since its checkpoint {n}, went on beside the new one"
        hold = Hold(n, PATIENCE)

        async def older() -> None:
            await to.deliver(why, hold=hold)
            hold.reached.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(older)
            await hold.reached.wait()
            outcome = await to.deliver(why)
            hold.release()
        return outcome

    return plan


def reordered(rng: random.Random) -> Plan:
    """It begins when it likes, and waits a little longer at each checkpoint."""

    async def plan(to: Deliveries) -> Outcome[Any]:
        why = "others ran at the same time, in another order"
        await to.line_up(rng.uniform(0, 0.01))
        pauses = random.Random(rng.random())  # noqa: S311 - to be repeatable, not secret
        return await to.deliver(why, pauses=pauses)

    return plan


def any_of(rng: random.Random) -> Plan:
    """One of them, by chance."""

    async def plan(to: Deliveries) -> Outcome[Any]:
        plans = [
            redelivered,
            retried,
            cancelled_at(rng.randint(1, 12)),
            duplicated_at(rng.randint(1, 6)),
        ]
        chosen = rng.randint(0, len(plans))
        if chosen == len(plans):
            return await reordered(rng)(to)
        await to.line_up(rng.uniform(0, 0.005))
        return await plans[chosen](to)

    return plan
