"""Runs the zoo: hands the mutants out to workers, and puts together what they find."""

from __future__ import annotations

import difflib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from am2z import ConfigurationError
from harness.catalogue import Catalogue, Rule, load_catalogue
from harness.rules import published_rules
from harness.zoo import load_mutants
from harness.zoo.matrix import Control, Fate, Matrix
from harness.zoo.mutant import Base, Mutant
from harness.zoo.worker import Finding, Order

__all__ = ["Plan", "run", "survey"]

CLEAN, NOT_CLEAN = 0, 1

JOBS = 2 * (os.cpu_count() or 1)
"""How many processes work at once: much of the time of a rule on a queue is waiting."""

OTHERS = 10
"""So many rules are asked of a mutant that do not name it: enough to see whether rules overlap."""

_PARTS: Mapping[Base, int] = {"local": 1, "queue": 6}
"""In how many pieces the rules are asked of a correct runtime: in one it would be done last."""

_ENDS = (signal.SIGINT, signal.SIGTERM)
"""The signals that end a run and every process of it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asked for."""

    mutants: tuple[str, ...] = ()
    """Names; all without any."""
    jobs: int = JOBS
    seed: int = 0
    as_json: bool = False
    whole: bool = False
    """Ask each mutant every rule, and not only those that are close to what it breaks."""
    quick: bool = False
    """Ask each mutant only the rules that name it."""
    rules: tuple[str, ...] = ()
    """Ask these rules only; all without any."""
    modules: tuple[str, ...] = ()
    """Where the mutants are kept; the zoo's own without any."""


def run(plan: Plan) -> int:
    """Run the zoo, print the matrix, and answer the exit status.

    Raises ``ConfigurationError`` for a mutant that is not there, and where a signal ends it, with
    all its processes, ``KeyboardInterrupt`` or ``SystemExit`` with 128 and the signal's number.
    """
    matrix = survey(plan, Console(stderr=True, highlight=False))
    if plan.as_json:
        print(json.dumps(matrix.to_dict(), indent=2))
    else:
        matrix.print(Console(highlight=False))
    return CLEAN if matrix.is_clean else NOT_CLEAN


def survey(plan: Plan, console: Console) -> Matrix:
    """Run the zoo and answer the matrix; how far it is shows on ``console``."""
    zoo, catalogue = load_mutants(plan.modules or None), load_catalogue()
    # Where the suite cannot be loaded, this says so once and not for every mutant.
    rules = tuple(rule for rule in published_rules() if rule in (plan.rules or catalogue))
    chosen = [_find(zoo, name) for name in dict.fromkeys(plan.mutants)] or [*zoo.values()]
    if plan.jobs < 1:
        raise ConfigurationError(f"{plan.jobs} jobs can do nothing; give at least 1")
    used = {mutant.base for mutant in chosen}
    controls = {base: _control(base, rules, plan.seed) for base in _PARTS if base in used}
    visits = {m.name: Order(m.name, m.base, m.rule, plan.seed, _asked(plan, zoo, catalogue, m))
              for m in chosen}  # fmt: skip
    orders = [*itertools.chain(*controls.values()), *visits.values()]
    orders.sort(key=lambda order: order.base != "queue")  # the long ones must not come last
    began = time.monotonic()
    found = trio.run(_survey, plan, orders, console)
    whole = len(chosen) == len(zoo) and not plan.modules
    return Matrix(
        tuple(Fate(m, found[visits[m.name]]) for m in chosen),
        tuple(
            Control(base, tuple(itertools.chain(*(found[part] for part in parts))))
            for base, parts in controls.items()
        ),
        catalogue if whole else _named_by(catalogue, chosen),
        plan.seed,
        time.monotonic() - began,
        tuple(disagreements(zoo, catalogue)) if whole else (),
    )


def disagreements(zoo: Mapping[str, Mutant], catalogue: Mapping[str, Rule]) -> list[str]:
    """What the catalogue promises and the zoo has not, and the other way round.

    More than one rule may name a mutant; the zoo's own word says which of them is meant for it.
    """
    lines = [
        f"{rule.id} names {name}, which is not in the zoo"
        for rule in catalogue.values()
        for name in rule.mutants
        if name not in zoo
    ]
    lines += [
        f"{mutant.name} is to be killed by {mutant.rule}, which does not name it"
        for mutant in zoo.values()
        if mutant.rule not in catalogue or mutant.name not in catalogue[mutant.rule].mutants
    ]
    return lines


def _control(base: Base, rules: tuple[str, ...], seed: int) -> list[Order]:
    """The orders that together ask every rule of a correct runtime."""
    parts = (rules[first :: _PARTS[base]] for first in range(_PARTS[base]))
    return [Order("", base, "", seed, part) for part in parts if part]


def _asked(
    plan: Plan, zoo: Mapping[str, Mutant], catalogue: Catalogue, mutant: Mutant
) -> tuple[str, ...]:
    """The rules that a mutant is asked: those that name it, and of the same group as many of those
    that name another one of the same base as ``OTHERS`` says, drawn by the seed.
    """
    if plan.rules or plan.whole:
        return plan.rules
    named = {rule.id for rule in catalogue.values() if mutant.name in rule.mutants} | {mutant.rule}
    near = {m.name for m in zoo.values() if m.base == mutant.base}
    group = mutant.rule.partition("-")[0]
    others = [
        rule.id
        for rule in catalogue.values()
        if rule.group == group and rule.id not in named and near.intersection(rule.mutants)
    ]
    number = 0 if plan.quick else min(OTHERS, len(others))
    lot = random.Random(f"{plan.seed}:{mutant.name}")  # noqa: S311 - no secret
    asked = named.union(lot.sample(others, number))
    return tuple(rule_id for rule_id in catalogue if rule_id in asked)


def _find(zoo: Mapping[str, Mutant], name: str) -> Mutant:
    if name in zoo:
        return zoo[name]
    near = difflib.get_close_matches(name, zoo, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "`am2z rules` names the rules"
    raise ConfigurationError(f"there is no mutant {name!r}; {hint}")


def _named_by(catalogue: Catalogue, chosen: Iterable[Mutant]) -> dict[str, Rule]:
    names = {mutant.rule for mutant in chosen}
    return {rule_id: rule for rule_id, rule in catalogue.items() if rule_id in names}


async def _survey(
    plan: Plan, orders: list[Order], console: Console
) -> dict[Order, tuple[Finding, ...]]:
    found: dict[Order, tuple[Finding, ...]] = {}
    waiting = deque(orders)
    bars = Bars(
        TextColumn("zoo"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        disable=plan.as_json or not console.is_terminal,
    )
    task = bars.add_task("", total=len(orders))

    async def work() -> None:
        while waiting:
            async with _worker(plan.modules) as worker:
                while waiting:
                    order = waiting.popleft()
                    bars.update(task, description=order.name or f"control {order.base}")
                    found[order] = await worker.run(order)
                    bars.advance(task)
                    if not worker.lives:
                        break

    received: list[int] = []

    async def listen(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        async for number in signals:
            received.append(number)
            scope.cancel()

    # Not by an exception out of anywhere: a worker that was started is to be ended for certain.
    with trio.open_signal_receiver(*_ENDS) as signals, bars:
        async with trio.open_nursery() as listening:
            listening.start_soon(listen, signals, listening.cancel_scope)
            async with trio.open_nursery() as nursery:
                for _ in range(min(plan.jobs, len(orders))):
                    nursery.start_soon(work)
            listening.cancel_scope.cancel()
    if received:
        raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(128 + received[0])
    return found


class _Worker:
    """A process that runs the suite on what it is told."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._findings = process.stdin, process.stdout
        self._buffer = bytearray()
        self.lives = True

    async def run(self, order: Order) -> tuple[Finding, ...]:
        """Everything that was found on one mutant."""
        found: list[Finding] = []
        try:
            await self._orders.send_all(msgspec.json.encode(order) + b"\n")
            while not found or not found[-1].ends:
                found.append(msgspec.json.decode(await self._line(), type=Finding))
        except (trio.BrokenResourceError, EOFError):
            self.lives = False
            found.append(Finding(ends=True, broken="the worker's own process ended"))
        return tuple(found)

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            piece = await self._findings.receive_some()
            if not piece:
                raise EOFError
            self._buffer += piece
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line


@asynccontextmanager
async def _worker(modules: tuple[str, ...]) -> AsyncIterator[_Worker]:
    """A worker, ended with the block together with whatever it started."""
    home = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH", ""))))
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "harness.zoo.worker", *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for us, and its whole group can be ended
    )
    try:
        yield _Worker(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                await trio.aclose_forcefully(pipe)
