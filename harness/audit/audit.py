"""The audit of one rule: its runtimes, and what was found."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, cast

import trio

from am2z import Processor, ResourceLimits, Runtime, RuntimeConfig, RuntimeNotStartedError
from harness.audit.figures import figure_errors
from harness.audit.ledger import Ledger
from harness.audit.watched import Watched

__all__ = ["Audit"]

_MOST = 8
"""How many findings are told; the others are most often their consequences."""


class Audit:
    """Watches the runtimes of one rule. ``findings`` are lines that begin with the law's rule."""

    def __init__(
        self, patience: float, ignored: Collection[str] = (), *, has_server: bool = False
    ) -> None:
        self._patience = patience
        self._has_server = has_server
        self._ignored = frozenset(ignored)
        self._ledgers: list[Ledger] = []
        self.findings: list[str] = []

    def watch(
        self, runtime: Runtime, config: RuntimeConfig, limits: ResourceLimits
    ) -> tuple[Runtime, Ledger]:
        """The runtime, so that all that it answers is looked at, and where that is written down."""
        ledger = Ledger(runtime, config, limits, self.say, is_first=not self._ledgers)
        if self._ledgers:
            self._ledgers[0].is_alone = False
        self._ledgers.append(ledger)
        try:
            runtime.on("*", ledger.take)
        except Exception:
            ledger.is_first = False  # without events there is nothing to compare with
        return cast("Runtime", Watched(runtime, ledger)), ledger

    def register(self, ledger: Ledger, processors: Collection[Processor[Any]]) -> None:
        """These processors are the runtime's."""
        ledger.register(processors)

    def say(self, law: str, text: str) -> None:
        """Note what is not as the law says."""
        line = f"{law}: {text}"
        if law not in self._ignored and line not in self.findings and len(self.findings) < _MOST:
            self.findings.append(line)

    async def settle(self, ledger: Ledger) -> None:
        """Look at the books of a runtime whose rule is done with it, while it still lives.

        What is still on its way has a while to come.
        """
        found: list[tuple[str, str]] = []
        with trio.move_on_after(self._patience):
            pause, breath = 0.001, 0.02
            while found := await self._look(ledger):
                if self._has_server and breath < 0.1:
                    # Where trio's time is not the server's: a while that is one for both.
                    await trio.to_thread.run_sync(time.sleep, breath)
                    breath *= 2
                else:
                    await trio.sleep(pause)
                    pause *= 2
        for law, text in found:
            self.say(law, text)

    async def _look(self, ledger: Ledger) -> list[tuple[str, str]]:
        found = [*ledger.errors()]
        try:
            found += await figure_errors(ledger)
        except RuntimeNotStartedError:
            pass  # a rule may have stopped it
        except Exception as error:
            found.append(("LIF-004", f"asked for its figures, it raised {error!r:.200}"))
        return found
