"""Faults that show only after several operations of one kind or another: for drawn programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from am2z.admission import Request
from am2z.codec import encode_state
from am2z.errors import AM2ZError
from am2z.executor import Outcome
from am2z.local.engine import Engine
from am2z.local.execution import Execution
from am2z.local.runtime import LocalRuntime
from am2z.processor import Processor
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@mutant("second-failure-is-no-letter", rule="ERR-035")
@contextmanager
def second_failure_is_no_letter() -> Iterator[None]:
    """What fails again after a dead letter was retried is forgotten.

    concepts.md, Runtimes: "What failed for good is kept, with its input and its error, so that
    somebody can look at it and run it again".
    """
    right = Engine._bury

    def bury(self: Engine, request: Request[Any], error: AM2ZError) -> None:
        if "~" not in request.execution_id:
            right(self, request, error)

    with patch(Engine, "_bury", bury):
        yield


@mutant("letter-holds-the-partial-state", rule="ERR-027")
@contextmanager
def letter_holds_the_partial_state() -> Iterator[None]:
    """A dead letter keeps the state as the failure left it, and a retry goes on from there.

    ``DeadLetter``: "``state_type`` and ``data`` are the input as it was encoded".
    """
    right = Engine._fail

    def fail(self: Engine, execution: Execution, outcome: Outcome[Any], *metadata: Any) -> Any:
        if outcome.partial is not None:
            execution.request.data = encode_state(outcome.partial)
        return right(self, execution, outcome, *metadata)

    with patch(Engine, "_fail", fail):
        yield


@mutant("calls-know-the-first-of-a-name", rule="REG-012")
@contextmanager
def calls_know_the_first_of_a_name() -> Iterator[None]:
    """Whom a nested call found once is called for ever, whoever was registered since.

    ``RuntimeCore.register``: "The same name again replaces the old one".
    """
    right = "processor = self._registry.find(request.name)\n"
    wrong = (
        "processor = self._registry.find(request.name)\n"
        "    if depth and processor is not None:\n"
        "        known = self.__dict__.setdefault('known_of_calls', {})\n"
        "        processor = known.setdefault(request.name, processor)\n"
    )
    with edit(Engine, "begin", right, wrong):
        yield


@mutant("restart-brings-back-the-forgotten", rule="REG-012")
@contextmanager
def restart_brings_back_the_forgotten() -> Iterator[None]:
    """A restart registers everything anew that was there at the first start.

    ``RuntimeCore.unregister``: "Forget a processor".
    """
    right = LocalRuntime._engine
    stopped: dict[int, dict[str, Processor[Any]]] = {}

    @asynccontextmanager
    async def engine(self: LocalRuntime) -> AsyncIterator[None]:
        known = stopped.setdefault(id(self._registry), {})
        for name, processor in known.items():
            self._registry._processors.setdefault(name, processor)
        unregister = self._registry.unregister

        def keep(name: str) -> bool:
            if (found := self._registry.find(name)) is not None:
                known[name] = found
            return unregister(name)

        with patch(self._registry, "unregister", keep):
            async with right(self):
                yield

    with patch(LocalRuntime, "_engine", engine):
        yield
