"""The processors that a program may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from am2z import (
    AM2ZError,
    Processor,
    ProcessorExecutionError,
    QueueOptions,
    RetryPolicy,
    batch,
    chain,
    parallel,
    route,
)
from harness.oracle.program import DOOMED
from harness.oracle.workers import Piece, Props, Role, make, make_plain

__all__ = ["AN_HOUR", "make_again", "make_doomed", "make_processors"]

AN_HOUR = 3600.0
_SOON = 0.001
_THRICE = RetryPolicy(max_attempts=3, backoff=0.0)
_TWICE = RetryPolicy(max_attempts=2, backoff=0.0)
_ONE_AT_A_TIME = QueueOptions(concurrency=1)


def make_processors(props: Props) -> list[Processor[Piece]]:
    """All but ``nobody``."""
    return [
        *(make_again(name, props, title=name) for name in ("once", "thrice", "single")),
        make(
            "later",
            Role("later", props),
            retry=RetryPolicy(max_attempts=2, backoff=AN_HOUR, max_backoff=AN_HOUR),
        ),
        make("wary", Role("wary", props), retry=_wary(props)),
        make_plain("plain", Role("plain", props)),
        make("brief", _brief("brief", props), timeout=_SOON, retry=_TWICE),
        *_compositions(props),
    ]


def make_again(name: str, props: Props, *, title: str) -> Processor[Piece]:
    """One of the processors that can be replaced; ``title`` is what it says of itself."""
    role = Role(title, props)
    match name:
        case "thrice":
            return make(name, role, retry=_THRICE)
        case "single":
            return make(name, role, queue=_ONE_AT_A_TIME)
    return make(name, role)


def make_doomed(before: Callable[[], Awaitable[None]]) -> Processor[Piece]:
    """The processor of ``crash``; it waits for ``before()`` and then does as it is told."""
    return make(DOOMED, Role(DOOMED, Props(), before=before))


def _brief(name: str, props: Props) -> Role:
    return Role(name, props, after=trio.sleep_forever)


def _compositions(props: Props) -> list[Processor[Piece]]:
    def in_place(name: str, retry: RetryPolicy | None = None) -> Processor[Piece]:
        return make(name, Role(name, props, holds=False), retry=retry)

    async def note(state: Piece, _ctx: object) -> Piece:
        return state.evolve(trail=[*state.trail, "r"])

    def split(state: Piece) -> list[Piece]:
        return [Piece(count=one + 1, plan=state.plan) for one in range((state.count + 1) % 3)]

    def join(state: Piece, results: list[Piece]) -> Piece:
        return state.evolve(
            count=state.count + sum(one.count for one in results),
            trail=[*state.trail, *(word for one in results for word in one.trail)],
        )

    def choose(state: Piece) -> int:
        return state.count % 4

    hasty = make("hasty", _brief("hasty", props), timeout=_SOON, retry=_TWICE)
    ways: dict[int, Processor[Piece] | str] = {0: "once", 1: in_place("lane", _TWICE), 3: hasty}
    right = Processor(name="right", fn=note, state_type=Piece)
    return [
        chain("pair", [in_place("first"), "thrice"]),
        parallel("fork", [in_place("left", _THRICE), right]),
        route("way", choose, ways),
        batch("swarm", "thrice", split=split, join=join),
    ]


def _wary(props: Props) -> RetryPolicy:
    def should_retry(error: AM2ZError, attempt: int) -> bool:
        return not isinstance(error, ProcessorExecutionError) or attempt < 2

    async def on_retry(error: AM2ZError, attempt: int) -> None:
        props.hooks.append(f"retry {attempt} {type(error).__name__}")

    def on_exhausted(error: AM2ZError) -> None:
        props.hooks.append(f"exhausted {type(error).__name__}")

    return RetryPolicy(
        max_attempts=4,
        backoff=0.0,
        should_retry=should_retry,
        on_retry=on_retry,
        on_exhausted=on_exhausted,
    )
