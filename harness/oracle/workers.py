"""The processors of a program: each reads from its state what it is to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from am2z import (
    AppState,
    BusinessError,
    Context,
    Failure,
    NetworkError,
    Processor,
    QueueOptions,
    RetryPolicy,
    ValidationError,
    chain,
    processor,
)
from harness.audit import look
from harness.oracle.program import DOOMED, Call, Step
from harness.oracle.reading import parse_steps

__all__ = ["AN_HOUR", "EVENT", "Gate", "Gates", "Piece", "make_doomed", "make_processors", "piece"]

AN_HOUR = 3600.0
EVENT = "oracle:note"
"""The type of the events that a program's processors emit."""


class Piece(AppState):
    """What a program works on: a number, a list, and the plan of what is to be done with them."""

    count: int = 0
    trail: list[str] = []  # noqa: RUF012 - msgspec copies it
    plan: str = ""


def piece(call: Call, count: int = 0, trail: tuple[str, ...] = ()) -> Piece:
    """The state with which a call begins."""
    return Piece(count=count, trail=list(trail), plan=call.plan)


class Gate:
    """Where a submitted execution holds, each time until it is let on."""

    def __init__(self, arrived: Callable[[], None]) -> None:
        self.is_held = False
        self._arrived = arrived
        self._open = trio.Event()

    def release(self) -> None:
        """Let it go on to its next hold or its end."""
        self.is_held = False
        self._open.set()

    async def wait(self) -> None:
        """Hold here."""
        self.is_held = True
        self._open = trio.Event()
        self._arrived()
        try:
            await self._open.wait()
        finally:
            self.is_held = False


Gates = dict[str, Gate]
"""By execution id; nothing holds in an execution without one."""


def make_processors(gates: Gates) -> list[Processor[Piece]]:
    """The processors that a program may name, all but ``nobody``."""
    return [
        _processor("once", gates),
        _processor("thrice", gates, retry=RetryPolicy(max_attempts=3, backoff=0.0)),
        _processor(
            "later",
            gates,
            retry=RetryPolicy(max_attempts=2, backoff=AN_HOUR, max_backoff=AN_HOUR),
        ),
        _processor("single", gates, queue=QueueOptions(concurrency=1)),
        chain("pair", [_processor("first", {}), "thrice"]),
    ]


def make_doomed(before: Callable[[], Awaitable[None]]) -> Processor[Piece]:
    """The processor of ``crash``; it waits for ``before()`` and then does as it is told."""
    return _processor(DOOMED, {}, before=before)


def _processor(
    name: str,
    gates: Gates,
    *,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
    before: Callable[[], Awaitable[None]] | None = None,
) -> Processor[Piece]:
    @processor(name=name, state_type=Piece, retry=retry, queue=queue)
    async def work(state: Piece, ctx: Context) -> Piece | Failure[Piece]:
        look(ctx, state)
        if before is not None:
            await before()
        plan = state.plan
        for step in parse_steps(plan):
            if step.verb == "fail":
                if step.word == "partial":
                    return Failure(_error("business"), state=state)
                if not step.number or ctx.metadata.attempt < step.number:
                    raise _error(step.word)
            else:
                state = await _do(step, state, ctx, gates)
        return state.evolve(plan=plan)

    return work


async def _do(step: Step, state: Piece, ctx: Context, gates: Gates) -> Piece:
    match step.verb:
        case "add":
            return state.evolve(count=state.count + step.number)
        case "note":
            state.trail.append(step.word)  # in place: nobody else may see it
        case "emit":
            ctx.emit(EVENT, {"count": state.count})
        case "progress":
            ctx.update_progress(50)
        case "hold":
            gate = gates.get(ctx.execution_id) if ctx.call_depth == 0 else None
            if gate is not None:
                await gate.wait()
        case "call":
            return await _call(step, state, ctx)
    return state


async def _call(step: Step, state: Piece, ctx: Context) -> Piece:
    assert step.call is not None
    result = await ctx.call(step.call.name, state.evolve(plan=step.call.plan))
    meta = result.metadata
    assert meta.processor_name == step.call.name, f"a call's result is of {meta.processor_name!r}"
    assert meta.session_id == ctx.session_id, f"a call's result is in {meta.session_id!r}"
    assert meta.execution_id not in ("", ctx.execution_id), "a call's result is its caller's"
    assert result.state.metadata.session_id == ctx.session_id, "a call's state is of no session"
    assert result.success is (result.error is None)
    if result.error is None:
        return state.evolve(count=result.state.count, trail=result.state.trail)
    if not step.survives:
        raise result.error
    return state.evolve(trail=[*state.trail, type(result.error).__name__])


def _error(kind: str) -> Exception:
    match kind:
        case "business":
            return BusinessError("the program says no", code="SAYS_NO")
        case "validation":
            return ValidationError("count", "the program refuses it")
        case "network":
            return NetworkError("the program's network is down")
    return RuntimeError("the program raises")
