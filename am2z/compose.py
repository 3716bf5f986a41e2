"""Processors made of processors. Each composition is a processor itself, so they nest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import trio

from am2z.codec import copy_state, encode_mapping
from am2z.context import Context
from am2z.errors import AM2ZError, ConfigurationError, ValidationError
from am2z.executor import run_step
from am2z.policy import QueueOptions, RetryPolicy
from am2z.processor import Processor
from am2z.result import Failure, ProcessorResult, Success
from am2z.state import AppState, StateT

__all__ = ["batch", "chain", "parallel", "route"]

Step = Processor[Any] | str
K = TypeVar("K")


@overload
def chain(
    name: str,
    processors: Iterable[Processor[StateT]],
    *,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[StateT]: ...
@overload
def chain(
    name: str,
    processors: Iterable[Step],
    *,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[Any]: ...
def chain(
    name: str,
    processors: Iterable[Step],
    *,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[Any]:
    """One step after the other, each on the state that the one before made.

    The first failure ends it: the caller gets the state as it was before the failed step,
    ``metadata.completed_steps`` counts those that were done, and ``error.failed_processor`` names
    the one that failed. Nothing of a failed chain is committed.

    Example: ``chain("checkout", [reserve, charge, "ship"])``.
    """
    steps = _check_steps(name, processors)

    async def run(state: StateT, ctx: Context) -> Success[StateT] | Failure[StateT]:
        for index, step in enumerate(steps):
            result = await run_step(ctx, step, state, str(index))
            if result.error is not None:
                return _failure(result.error, step, state, index)
            state = result.state
        return Success(state)

    return _composition(name, run, steps, timeout, retry, queue)


@overload
def parallel(
    name: str,
    processors: Iterable[Processor[StateT]],
    *,
    merge: Callable[[StateT, list[StateT]], StateT] | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[StateT]: ...
@overload
def parallel(
    name: str,
    processors: Iterable[Step],
    *,
    merge: Callable[[Any, list[Any]], Any] | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[Any]: ...
def parallel(
    name: str,
    processors: Iterable[Step],
    *,
    merge: Callable[[Any, list[Any]], Any] | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[Any]:
    """Every branch on a copy of the same state, at the same time; then one merged state.

    ``merge(state, results)`` makes the new state from the old and what the branches made, in their
    order. Without it the fields that a branch changed win, in order, and two branches that changed
    one field differently are an error. One failed branch fails the whole; the others are cancelled.
    """
    steps = _check_steps(name, processors)

    async def run(state: StateT, ctx: Context) -> Success[StateT] | Failure[StateT]:
        results = await _run_all(ctx, [(step, state) for step in steps])
        for step, result in zip(steps, results, strict=True):
            if result is not None and result.error is not None:
                done = sum(r is not None and r.success for r in results)
                return _failure(result.error, step, state, done)
        states = [result.state for result in results if result is not None]
        return Success((merge or _merge_changes)(copy_state(state), states))

    return _composition(name, run, steps, timeout, retry, queue)


@overload
def route(
    name: str,
    choose: Callable[[StateT], K],
    routes: Mapping[K, Processor[StateT]],
    *,
    fallback: Processor[StateT] | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[StateT]: ...
@overload
def route(
    name: str,
    choose: Callable[[Any], K],
    routes: Mapping[K, Step],
    *,
    fallback: Step | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[Any]: ...
def route(
    name: str,
    choose: Callable[[Any], K],
    routes: Mapping[K, Step],
    *,
    fallback: Step | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[Any]:
    """The step that ``choose(state)`` names, or ``fallback`` where no route has that key.

    Without a fallback an unknown key is a ``ValidationError``.

    Example: ``route("pay", lambda s: s.method, {"card": charge_card, "bill": send_bill})``.
    """
    table = dict(routes)
    steps = _check_steps(name, [*table.values(), *([fallback] if fallback is not None else [])])

    async def run(state: StateT, ctx: Context) -> Success[StateT] | Failure[StateT]:
        key = choose(copy_state(state))
        step = table.get(key, fallback)
        if step is None:
            known = ", ".join(sorted(map(repr, table)))
            raise ValidationError(
                "route", f"{name!r} has no way for {key!r} (it knows {known}) and no fallback"
            )
        result = await run_step(ctx, step, state, "0")
        if result.error is not None:
            return _failure(result.error, step, result.state, 0)
        return Success(result.state)

    return _composition(name, run, steps, timeout, retry, queue)


def batch(
    name: str,
    processor: Step,
    *,
    split: Callable[[StateT], Sequence[Any]],
    join: Callable[[StateT, list[Any]], StateT],
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    queue: QueueOptions | None = None,
) -> Processor[StateT]:
    """One processor on each of the states that ``split(state)`` gives, at the same time.

    ``join(state, results)`` makes the new state from the old and the results, in the order of the
    split. One failed item fails the whole; the others are cancelled.
    """
    steps = _check_steps(name, [processor])

    async def run(state: StateT, ctx: Context) -> Success[StateT] | Failure[StateT]:
        items = split(copy_state(state))
        results = await _run_all(ctx, [(processor, item) for item in items])
        for result in results:
            if result is not None and result.error is not None:
                done = sum(r is not None and r.success for r in results)
                return _failure(result.error, processor, state, done)
        states = [result.state for result in results if result is not None]
        return Success(join(copy_state(state), states))

    return _composition(name, run, steps, timeout, retry, queue, state_type=AppState)


async def _run_all(ctx: Context, work: list[tuple[Step, Any]]) -> list[ProcessorResult[Any] | None]:
    """Every piece of work at once; the first failure cancels the rest (which stay ``None``)."""
    results: list[ProcessorResult[Any] | None] = [None] * len(work)

    async def run(index: int, step: Step, state: AppState) -> None:
        results[index] = result = await run_step(ctx, step, state, str(index))
        if result.error is not None:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for index, (step, state) in enumerate(work):
            nursery.start_soon(run, index, step, state)
    return results


def _failure(error: AM2ZError, step: Step, state: StateT, completed_steps: int) -> Failure[StateT]:
    if error.failed_processor is None:
        error.failed_processor = step if isinstance(step, str) else step.name
    return Failure(error, state=state, completed_steps=completed_steps)


def _merge_changes(state: StateT, results: list[StateT]) -> StateT:
    """The fields that some branch changed; a clear error where two changed one differently."""
    changes: dict[str, Any] = {}
    for index, result in enumerate(results):
        for name in state.__struct_fields__:
            value = getattr(result, name, None)
            if name == "metadata" or _same(value, getattr(state, name)):
                continue
            if name in changes and not _same(value, changes[name]):
                raise ValidationError(
                    name,
                    f"branch {index} and an earlier one changed it differently; give parallel() a "
                    "merge function that says which wins",
                )
            changes[name] = value
    return state.evolve(**changes)


def _same(value: object, other: object) -> bool:
    """Whether two values are the same on the wire; NaN, for one, is unequal to itself."""
    return value == other or encode_mapping({"": value}) == encode_mapping({"": other})


def _check_steps(name: str, processors: Iterable[Step]) -> tuple[Step, ...]:
    steps = tuple(processors)
    if not steps:
        raise ConfigurationError(f"{name!r} has no steps; give it at least one processor")
    for step in steps:
        if not isinstance(step, Processor | str):
            raise ConfigurationError(
                f"{name!r}: {step!r} is neither a processor nor the name of one; "
                "decorate the function with @processor"
            )
    return steps


def _composition(
    name: str,
    run: Callable[[StateT, Context], Awaitable[Success[StateT] | Failure[StateT]]],
    steps: tuple[Step, ...],
    timeout: float | None,
    retry: RetryPolicy | None,
    queue: QueueOptions | None,
    state_type: type[AppState] | None = None,
) -> Processor[StateT]:
    first = next((step for step in steps if isinstance(step, Processor)), None)
    known = state_type or (first.state_type if first is not None else AppState)
    return Processor(
        name=name,
        fn=run,
        state_type=known,  # type: ignore[arg-type]  # the annotation of `run` says StateT
        timeout=timeout,
        retry=retry,
        queue=queue or QueueOptions(),
        dependencies=tuple(step for step in steps if isinstance(step, Processor)),
    )
