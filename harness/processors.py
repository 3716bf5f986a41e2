"""Processors for tests: they count, wait, fail, or do what you tell them."""

from __future__ import annotations

from typing import Any, Literal

import trio

from am2z import BusinessError, Context, Processor, ValidationError, create_processor
from harness.states import TestState

__all__ = [
    "create_counter_processor",
    "create_delay_processor",
    "create_error_processor",
    "create_test_processor",
]


def create_test_processor(name: str, handler: Any = None) -> Processor[TestState]:
    """A processor that runs ``handler(state, ctx)``, or marks the state as processed without one.

    The handler may leave out its annotations: the state is a ``TestState``.
    """
    return create_processor(name).with_state_type(TestState).process(handler or _mark(name))


def create_delay_processor(name: str, delay: float) -> Processor[TestState]:
    """A processor that takes ``delay`` seconds of trio's clock and then marks the state."""

    async def wait(state: TestState, _ctx: Context) -> TestState:
        await trio.sleep(delay)
        return state.evolve(processed=True, message=f"waited {delay:g} s")

    return create_test_processor(name, wait)


def create_error_processor(
    name: str, kind: Literal["validation", "business"] = "validation"
) -> Processor[TestState]:
    """A processor that always fails, with a ``ValidationError`` or a ``BusinessError``.

    Raises ``ValueError`` for another ``kind``.
    """
    if kind not in ("validation", "business"):
        raise ValueError(f"kind is {kind!r}; give 'validation' or 'business'")

    async def fail(_state: TestState, _ctx: Context) -> TestState:
        if kind == "validation":
            raise ValidationError("count", f"{name} refuses every value")
        raise BusinessError(f"{name} refuses every order")

    return create_test_processor(name, fail)


def create_counter_processor(name: str) -> Processor[TestState]:
    """A processor that adds one to ``count``."""

    async def count(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(count=state.count + 1)

    return create_test_processor(name, count)


def _mark(name: str) -> Any:
    async def mark(state: TestState, _ctx: Context) -> TestState:
        return state.evolve(processed=True, message=f"processed by {name}")

    return mark
