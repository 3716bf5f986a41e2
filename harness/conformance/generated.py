"""Rules about whatever anybody does: generated programs, and histories of concurrent clients.

They stand in the groups of what they are about; what is common to them is how
they are checked. Programs and clients are drawn from the seed of the run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack

import trio

from am2z import (
    Capability,
    LockLostError,
    Processor,
    Runtime,
    StateConflictError,
    StateNotFoundError,
)
from harness.conformance._processors import make, within
from harness.kit import Kit
from harness.oracle.check import agree_with_the_model, assert_linearizable
from harness.oracle.draw import EXECUTIONS, FAILURES, LIVES, OUTLIVING, REGISTRY, STATES
from harness.oracle.history import History
from harness.oracle.linearizable import LockSpec, RegisterSpec
from harness.rules import rule
from harness.states import TestState

__all__ = [
    "test_lock_histories_are_linearizable",
    "test_programs_of_ends_agree_with_the_model",
    "test_programs_of_executions_agree_with_the_model",
    "test_programs_of_failures_agree_with_the_model",
    "test_programs_of_registrations_agree_with_the_model",
    "test_programs_of_states_agree_with_the_model",
    "test_programs_survive_the_runtime_they_began_in",
    "test_state_histories_are_linearizable",
]

EXAMPLES, QUICK_EXAMPLES = 10, 20
"""Programs for each rule; the second where a runtime is in this process and waits take no time."""


async def _agrees(kit: Kit, theme: Sequence[str]) -> None:
    is_quick = kit.supports(Capability.VIRTUAL_TIME)
    await agree_with_the_model(kit, theme, QUICK_EXAMPLES if is_quick else EXAMPLES)


@rule("EXE-045")
async def test_programs_of_executions_agree_with_the_model(kit: Kit) -> None:
    await _agrees(kit, EXECUTIONS)


@rule("SES-020")
async def test_programs_of_ends_agree_with_the_model(kit: Kit) -> None:
    await _agrees(kit, LIVES)


@rule("ERR-035")
async def test_programs_of_failures_agree_with_the_model(kit: Kit) -> None:
    await _agrees(kit, FAILURES)


@rule("REG-012")
async def test_programs_of_registrations_agree_with_the_model(kit: Kit) -> None:
    await _agrees(kit, REGISTRY)


@rule("STA-026")
async def test_programs_of_states_agree_with_the_model(kit: Kit) -> None:
    await _agrees(kit, STATES)


@rule("STA-028")
async def test_programs_survive_the_runtime_they_began_in(kit: Kit) -> None:
    await _agrees(kit, OUTLIVING)


class _Clients:
    """Tasks that do at the same time what they draw, on every runtime of the namespace."""

    def __init__(self, kit: Kit, *processors: Processor[TestState]) -> None:
        self._kit = kit
        self._processors = processors
        self.history = History()
        self.runtimes: list[Runtime] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> _Clients:
        number = 2 if self._kit.supports(Capability.MULTI_WORKER) else 1
        for _ in range(number):
            manager = self._kit.runtime(*self._processors)
            self.runtimes.append(await self._stack.enter_async_context(manager))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.__aexit__(*exc_info)  # type: ignore[arg-type]  # three, as they came

    def runtime(self, client: int) -> Runtime:
        return self.runtimes[client % len(self.runtimes)]


async def _put(state: TestState, _ctx: object) -> TestState:
    return state.evolve(processed=True)


put = make("put", _put)


@rule("STA-027")
async def test_state_histories_are_linearizable(kit: Kit) -> None:
    async def work(client: int) -> None:
        runtime, name = clients.runtime(client), f"client {client}"
        known = 0
        for turn in range(10):
            value = 100 * client + 10 * turn
            kinds = ("get", "set", "set-if", "set-if", "add", "add", "add", "commit", "delete")
            kind = kit.rng.choice(kinds)
            call, asked = _asked(runtime, kind, value, known)
            refused = {StateConflictError: "conflict", StateNotFoundError: "absent"}
            answer = await clients.history.record(name, call, asked, refused)
            if kind in ("set", "set-if") and answer != "conflict":
                known = answer
            elif kind == "get":
                known = answer[0]

    async with _Clients(kit, put) as clients:
        with within(kit, "the end of 60 operations of six clients"):
            async with trio.open_nursery() as nursery:
                for client in range(6):
                    nursery.start_soon(work, client)
    assert_linearizable(clients.history.operations, RegisterSpec(), "the state of a session")


def _asked(
    runtime: Runtime, kind: str, value: int, known: int
) -> tuple[tuple[object, ...], Awaitable[object]]:
    """An operation as the specification names it, and the runtime's own."""
    new = TestState(count=value)
    match kind:
        case "get":
            return ("get",), _get(runtime)
        case "set":
            return ("set", value), runtime.state.set("a", new)
        case "set-if":
            return (
                ("set-if", value, known),
                runtime.state.set("a", new, expected_version=known),
            )
        case "add":
            return ("add", 1), _add(runtime)
        case "delete":
            return ("delete",), _delete(runtime)
    return ("commit", value), _commit(runtime, new)


async def _get(runtime: Runtime) -> tuple[int, int | None]:
    found = await runtime.state.get("a", TestState)
    return (0, None) if found is None else (found.version, found.state.count)


async def _add(runtime: Runtime) -> int:
    def add(state: TestState) -> TestState:
        return state.evolve(count=state.count + 1)

    return (await runtime.state.update("a", add)).count


async def _delete(runtime: Runtime) -> str:
    await runtime.state.delete("a")
    return "done"


async def _commit(runtime: Runtime, state: TestState) -> str:
    (await runtime.execute(put, state, "a")).unwrap()
    return "done"


@rule("RES-029")
async def test_lock_histories_are_linearizable(kit: Kit) -> None:
    lost: list[LockLostError] = []

    async def work(client: int) -> None:
        runtime, name = clients.runtime(client), f"client {client}"
        for _ in range(6):
            try:
                with trio.move_on_after(kit.timeout if kit.rng.random() < 0.8 else 0.0):
                    async with clients.history.holding(name, runtime, "ledger"):
                        for _ in range(kit.rng.randrange(3)):
                            await trio.lowlevel.checkpoint()
            except LockLostError as error:
                lost.append(error)

    async with _Clients(kit) as clients:
        with within(kit, "24 turns of four clients"):
            async with trio.open_nursery() as nursery:
                for client in range(4):
                    nursery.start_soon(work, client)
    assert_linearizable(clients.history.operations, LockSpec(), "a lock")
    assert not lost, f"a lock was lost though its runtime was well: {lost[0]}"
