"""Compositions that mix up their steps (EXE-006 to EXE-008, EXE-031 to EXE-033)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

import am2z.compose
from am2z.context import Context
from am2z.errors import ConfigurationError, ValidationError
from am2z.processor import Processor
from am2z.result import ProcessorResult, Success
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch


def caller(name: str) -> bool:
    """Whether the function that called the one that asks is part of the composition ``name``."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame.f_back if frame is not None else None
    return frame is not None and frame.f_code.co_qualname.startswith(f"{name}.")


@mutant("chain-gives-every-step-the-input", rule="EXE-006")
@contextmanager
def chain_gives_every_step_the_input() -> Iterator[None]:
    """Every step of a chain begins with the chain's own input."""
    run_step = am2z.compose.run_step
    inputs: dict[int, Any] = {}

    def run(ctx: Context, step: Any, state: Any, label: str) -> Any:
        if caller("chain"):
            if label == "0":
                inputs[id(ctx)] = state
            state = inputs[id(ctx)]
        return run_step(ctx, step, state, label)

    with patch(am2z.compose, "run_step", run):
        yield


@contextmanager
def _run_all_for(name: str, run_otherwise: Any) -> Iterator[None]:
    """``run_otherwise`` does what ``_run_all`` does, for one kind of composition."""
    run_all = am2z.compose._run_all

    def run(ctx: Context, work: list[tuple[Any, Any]]) -> Any:
        return run_otherwise(ctx, work) if caller(name) else run_all(ctx, work)

    with patch(am2z.compose, "_run_all", run):
        yield


async def _in_order_of_completion(
    ctx: Context, work: list[tuple[Any, Any]]
) -> list[ProcessorResult[Any]]:
    results: list[ProcessorResult[Any]] = []

    async def run(index: int, step: Any, state: Any) -> None:
        results.append(await am2z.compose.run_step(ctx, step, state, str(index)))

    async with trio.open_nursery() as nursery:
        for index, (step, state) in enumerate(work):
            nursery.start_soon(run, index, step, state)
    return results


async def _one_by_one(ctx: Context, work: list[tuple[Any, Any]]) -> list[ProcessorResult[Any]]:
    return [
        await am2z.compose.run_step(ctx, step, state, str(index))
        for index, (step, state) in enumerate(work)
    ]


@mutant("branches-in-sequence", rule="EXE-007")
@contextmanager
def branches_in_sequence() -> Iterator[None]:
    """The branches of a parallel composition run one after the other."""
    with _run_all_for("parallel", _one_by_one):
        yield


@mutant("merge-in-order-of-completion", rule="EXE-007")
@contextmanager
def merge_in_order_of_completion() -> Iterator[None]:
    """A merge function gets the branches' states as they come."""
    with _run_all_for("parallel", _in_order_of_completion):
        yield


@mutant("batch-in-order-of-completion", rule="EXE-008")
@contextmanager
def batch_in_order_of_completion() -> Iterator[None]:
    """``join`` gets the results of a batch as they come."""
    with _run_all_for("batch", _in_order_of_completion):
        yield


@mutant("route-falls-through", rule="EXE-031")
@contextmanager
def route_falls_through() -> Iterator[None]:
    """A route without a way for the key passes the state on."""
    make = am2z.compose._composition

    def pass_on(name: str, run: Any, *rest: Any, **options: Any) -> Processor[Any]:
        async def run_or_pass(state: Any, ctx: Context) -> Any:
            try:
                return await run(state, ctx)
            except ValidationError as error:
                if error.field != "route":
                    raise
                return Success(state)

        return make(name, run_or_pass, *rest, **options)

    with patch(am2z.compose, "_composition", pass_on):
        yield


@mutant("compositions-do-not-nest", rule="EXE-032")
@contextmanager
def compositions_do_not_nest() -> Iterator[None]:
    """A composition cannot be a step of another one."""
    run_step = am2z.compose.run_step

    async def refuse(ctx: Context, step: Any, state: Any, label: str) -> ProcessorResult[Any]:
        fn = step.fn if isinstance(step, Processor) else None
        if getattr(fn, "__module__", "") == "am2z.compose":
            error = ConfigurationError(f"{step.name!r} is no simple processor")
            return ProcessorResult(success=False, state=state, error=error, metadata=ctx.metadata)
        return await run_step(ctx, step, state, label)

    with patch(am2z.compose, "run_step", refuse):
        yield


@mutant("merge-last-writer-wins", rule="EXE-033")
@contextmanager
def merge_last_writer_wins() -> Iterator[None]:
    """Of two branches that changed one field the last one wins."""
    with edit(
        am2z.compose,
        "_merge_changes",
        "if name in changes and not _same(value, changes[name]):",
        "if False:",
    ):
        yield
