"""What the processors of a program do: each reads from its state what it is to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from am2z import (
    AM2ZError,
    AppState,
    BusinessError,
    Context,
    Failure,
    NetworkError,
    Processor,
    ProcessorResult,
    QueueOptions,
    RetryPolicy,
    ValidationError,
    processor,
)
from harness.audit import look
from harness.oracle.fences import Fences
from harness.oracle.program import NO_SESSION, SESSIONS, Call, Step
from harness.oracle.reading import parse_steps

__all__ = ["EVENT", "Gate", "PassingError", "Piece", "Props", "Role", "make", "make_plain", "piece"]

EVENT = "oracle:note"
"""The type of the events that a program's processors emit."""


class Piece(AppState):
    """What a program works on: a number, a list, and the plan of what is to be done with them."""

    count: int = 0
    trail: list[str] = []  # noqa: RUF012 - msgspec copies it
    plan: str = ""


class PassingError(AM2ZError):
    """An error of an application, which may be gone at the next attempt."""

    code = "PASSING"
    retryable = True


def piece(call: Call, count: int = 0, trail: tuple[str, ...] = ()) -> Piece:
    """The state with which a call begins."""
    return Piece(count=count, trail=list(trail), plan=call.plan)


class Gate:
    """Where a submitted execution holds, each time until it is let on."""

    def __init__(self, arrived: Callable[[], None]) -> None:
        self.is_held = False
        self.is_let_on = False
        """Whether it has its slot and is on its way to the next hold, or to its end."""
        self._arrived = arrived
        self._open = trio.Event()

    def release(self) -> None:
        """Let it go on to its next hold or its end."""
        self.is_held, self.is_let_on = False, True
        self._open.set()

    async def wait(self) -> None:
        """Hold here."""
        self.is_held, self.is_let_on = True, False
        self._open = trio.Event()
        self._arrived()
        try:
            await self._open.wait()
        finally:
            self.is_held = False


@dataclass
class Props:
    """What the processors of a program find around them.

    ``gates`` are by execution id; nothing holds in an execution without one.
    """

    gates: dict[str, Gate] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    fences: Fences = field(default_factory=Fences)
    is_mended: bool = False


@dataclass(frozen=True)
class Role:
    """How a processor does what it is told.

    ``title`` is what it says when asked who it is. With ``after`` it does what takes no time, and
    then that.
    """

    title: str
    props: Props
    holds: bool = True
    before: Callable[[], Awaitable[None]] | None = None
    after: Callable[[], Awaitable[None]] | None = None


def make(
    name: str,
    role: Role,
    *,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[Piece]:
    """A processor of that name."""

    @processor(name=name, state_type=Piece, timeout=timeout, retry=retry, queue=queue)
    async def work(state: Piece, ctx: Context) -> Any:
        return await _act(role, state, ctx)

    return work


def make_plain(name: str, role: Role) -> Processor[Piece]:
    """The same as a plain function, which holds nowhere."""

    @processor(name=name, state_type=Piece)
    def work(state: Piece, ctx: Any) -> Any:
        return _act_in_thread(role, state, ctx)

    return work


async def _act(role: Role, state: Piece, ctx: Context) -> Any:
    look(ctx, state)
    role.props.fences.look(ctx)
    if role.before is not None:
        await role.before()
    plan = state.plan
    for step in parse_steps(plan):
        if (done := _plain(step, state, ctx, role.title)) is not None:
            state = done
        elif step.verb in ("emit", "progress"):
            await _tell_and_wait(step, state, ctx, waits=role.after is None)
        elif role.after is not None:
            continue
        elif step.verb == "hold":
            await _hold(ctx, role.props.gates if role.holds else {})
        elif step.call is not None:
            result = await ctx.call(step.call.name, state.evolve(plan=step.call.plan))
            state = _called(step, state, result, ctx)
        elif _fails(step, ctx, role.props):
            return _failure(step.word, state)
    if role.after is not None:
        await role.after()
    return state.evolve(plan=plan)


def _act_in_thread(role: Role, state: Piece, ctx: Any) -> Any:
    plan = state.plan
    for step in parse_steps(plan):
        if (done := _plain(step, state, ctx, role.title)) is not None:
            state = done
        elif step.verb in ("emit", "progress"):
            _tell(step, state, ctx)
        elif step.call is not None:
            result = ctx.call(step.call.name, state.evolve(plan=step.call.plan))
            state = _called(step, state, result, ctx)
        elif step.verb == "fail" and _fails(step, ctx, role.props):
            return _failure(step.word, state)
    return state.evolve(plan=plan)


async def _tell_and_wait(step: Step, state: Piece, ctx: Context, *, waits: bool) -> None:
    delivery = _tell(step, state, ctx)
    if waits:
        await delivery


async def _hold(ctx: Context, gates: dict[str, Gate]) -> None:
    gate = gates.get(ctx.execution_id) if ctx.call_depth == 0 else None
    if gate is not None:
        await gate.wait()


def _plain(step: Step, state: Piece, ctx: Any, title: str) -> Piece | None:
    """A step that changes the state; ``None`` where it is no such step."""
    match step.verb:
        case "add":
            return state.evolve(count=state.count + step.number)
        case "note":
            state.trail.append(step.word)  # in place: nobody else may see it
        case "who":
            session = ctx.session_id if ctx.session_id in SESSIONS else NO_SESSION
            state.trail.append(f"{title} {session} {ctx.metadata.attempt} {ctx.call_depth}")
        case _:
            return None
    return state


def _tell(step: Step, state: Piece, ctx: Any) -> Any:
    if step.verb == "emit":
        return ctx.emit(EVENT, {"count": state.count})
    return ctx.update_progress(50)


def _called(step: Step, state: Piece, result: ProcessorResult[Piece], ctx: Any) -> Piece:
    """The state after a call."""
    assert step.call is not None
    meta = result.metadata
    assert meta.processor_name == step.call.name, f"a call's result is of {meta.processor_name!r}"
    assert meta.session_id == ctx.session_id, f"a call's result is in {meta.session_id!r}"
    assert meta.execution_id not in ("", ctx.execution_id), "a call's result is its caller's"
    assert type(result.state) is Piece, f"a call's state is {result.state!r:.80}"
    assert result.state.metadata.session_id == ctx.session_id, "a call's state is of no session"
    assert result.success is (result.error is None)
    if result.error is None:
        return state.evolve(count=result.state.count, trail=result.state.trail)
    if not step.survives:
        raise result.error
    return state.evolve(trail=[*state.trail, type(result.error).__name__])


def _fails(step: Step, ctx: Any, props: Props) -> bool:
    if step.word == "broken":
        return not props.is_mended
    return not step.number or ctx.metadata.attempt < step.number


def _failure(kind: str, state: Piece) -> Any:
    """Fail in a way: an exception, a ``Failure``, or what is no answer."""
    match kind:
        case "partial":
            return Failure(BusinessError("the program says no", code="SAYS_NO"), state=state)
        case "torn":
            return Failure(NetworkError("the program's network is torn"), state=state)
        case "nothing":
            return None
        case "strange":
            return state.evolve(plan=object())
        case "validation":
            raise ValidationError("count", "the program refuses it")
        case "network":
            raise NetworkError("the program's network is down")
        case "passing":
            raise PassingError("the program has to wait", context={"for": [1, None]})
        case "group":
            raise ExceptionGroup("of one", [BusinessError("it says no", code="SAYS_NO")])
        case "foreign":
            raise RuntimeError("the program raises")
    raise BusinessError("the program says no", code="SAYS_NO")
