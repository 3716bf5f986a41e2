"""``am2z_strict_runtime``: asks of processors that they survive whatever is legal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sized
from contextlib import asynccontextmanager
from typing import Any

import trio

from am2z import AppState, ConfigurationError, Processor, ResourceLimits, RuntimeConfig
from harness.strict.effects import Effects
from harness.strict.hostilities import Hostilities, look
from harness.strict.runtime import StrictRuntime
from harness.strict.surroundings import Surroundings

__all__ = ["Strict"]


class Strict:
    """What the fixture ``am2z_strict_runtime`` gives: ``check``, ``effects``, and a runtime.

    One line is a whole test::

        def test_charging_survives_everything(am2z_strict_runtime):
            am2z_strict_runtime.check(charge, Order(total=49.0), effects=gateway.charges)
    """

    def __init__(self, seed: int, replay: str = "") -> None:
        self.effects = Effects()
        self._seed = seed
        self._replay = replay

    def check(
        self,
        processor: Processor[Any],
        *states: AppState,
        calls: Collection[Processor[Any]] = (),
        effects: Sized | None = None,
        ignore: Collection[str] = (),
        shared: Collection[str] = (),
        fails: bool = False,
        real_time: bool = False,
        config: RuntimeConfig | None = None,
    ) -> None:
        """Run a processor under every legal hostility, on each state. Runs trio by itself.

        ``calls`` are the processors that it calls by name. ``effects`` is where its outside effects
        are counted: a list that a fake appends to, or anything with a length (default:
        ``self.effects``). ``ignore`` names fields of the state that may differ from run to run,
        ``shared`` variables outside that it may change. ``fails`` says that it is meant to fail on
        these states. Time is virtual: a wait takes none, and ends when all threads that are at work
        are done; with ``real_time`` it is the clock on the wall.

        Raises ``BrokenAssumption``, an ``AssertionError`` that names each assumption and how to do
        without it, and ``ConfigurationError`` where it is called with something else than these.
        """
        __tracebackhide__ = True
        if not isinstance(processor, Processor) or not states:
            raise ConfigurationError(
                "check() takes a processor and at least one state: "
                "am2z_strict_runtime.check(charge, Order(total=49.0))"
            )
        if _inside_trio():
            raise ConfigurationError(
                "check() runs trio by itself: call it in a plain `def` test; in an async one write "
                "`async with am2z_strict_runtime(charge) as runtime:`"
            )
        outside = self.effects if effects is None else effects
        found = Hostilities(
            [processor, *calls], states, outside, ignore, shared, fails, real_time, config
        )
        found.run(self._seed)
        found.journal.raise_if_any(self._replay)

    @asynccontextmanager
    async def __call__(
        self,
        *processors: Processor[Any],
        ignore: Collection[str] = (),
        shared: Collection[str] = (),
        config: RuntimeConfig | None = None,
        limits: ResourceLimits | None = None,
    ) -> AsyncIterator[StrictRuntime]:
        """A ``StrictRuntime`` with these processors, which treats each execution in its own way.

        Which way is chance, from the seed. The end of the block raises ``BrokenAssumption`` where
        something was found; outside effects are those recorded in ``effects``. ::

            async with am2z_strict_runtime(charge, pack) as runtime:
                assert (await runtime.execute(charge, Order(total=49.0))).success
        """
        __tracebackhide__ = True
        runtime = StrictRuntime(config=config, limits=limits, seed=self._seed, ignore=ignore)
        runtime.register(*processors)
        around = Surroundings(processors, shared)
        async with runtime:
            yield runtime
        look(runtime.journal, "each execution was treated in its own way", around, self.effects)
        runtime.journal.raise_if_any(self._replay)


def _inside_trio() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True
