"""Runs the suite on one mutant after the other: ``python -m harness.zoo.worker MODULE…``.

Orders come as lines of JSON on the standard input, what was found goes out as lines of JSON; the
worker ends with its input. Each mutant lives in a child of its own, forked before anything ran: no
mutant sees what another one left, and one that spins, blocks or dies takes nobody along.
"""

from __future__ import annotations

import gc
import math
import os
import random
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from importlib import import_module
from typing import Any, BinaryIO, NoReturn

import msgspec

from harness.kit import Kit
from harness.oracle import check as drawn
from harness.outcome import Outcome
from harness.rules import RuleCheck, published_rules
from harness.scale import scaled, set_scale
from harness.zoo import load_mutants
from harness.zoo.mutant import Base, patch
from harness.zoo.trial import BASES, ZooTrial

__all__ = ["HUNG", "Finding", "Order"]

MUTANT_SCALE = 0.2
"""Time limits of rules on a mutant; those of the correct runtimes are what they are for users."""

OTHERS_EFFORT = 0.1
"""The part of their programs and cases that the rules try which do not name the mutant."""

CPU_SECONDS, WALL_SECONDS = 6.0, 30
"""A rule that takes longer hangs in a way that trio cannot end: it spins, or blocks the thread."""

PATIENCE = 3
"""How many rules may hang so, on one mutant, before the others are left out."""

HUNG, STARTED = "hung", "started"

Enter = Callable[[], AbstractContextManager[None]]


class Order(msgspec.Struct, frozen=True):
    """Run the suite on a mutant; on the correct runtime of ``base`` where ``name`` is empty."""

    name: str
    base: Base
    first: str = ""
    seed: int = 0
    rules: tuple[str, ...] = ()
    """Those to ask; all without any."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one rule said; the last of an order ``ends`` it, and speaks of no rule."""

    rule: str = ""
    status: str = ""
    reason: str = ""
    is_lesson: bool = False
    """Whether what was told is what this rule promises to tell."""
    seconds: float = 0.0
    ends: bool = False
    broken: str = ""
    """Why the mutant could not be made."""
    left_out: int = 0
    """How many rules were not asked, because too many before them waited in vain."""


def main(modules: Sequence[str]) -> None:
    """Serve until the input ends."""
    findings = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # whatever a mutant prints is not for whoever reads the findings
    mutants, rules = load_mutants(modules or None), published_rules()
    os.dup2(silence, 2)
    gc.collect()
    gc.freeze()  # what is the same in every child is not gone through in each of them
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        if order.base == "queue":
            import_module("am2z.queue.client.fake")  # here, once, and not in every child
        enter: Enter = mutants[order.name].enter if order.name else nullcontext
        for finding in _survey(order, enter, rules):
            findings.write(msgspec.json.encode(finding) + b"\n")
            findings.flush()


def _survey(order: Order, enter: Enter, checks: dict[str, RuleCheck]) -> Iterator[Finding]:
    """Every rule, the expected one first; in one child after the other, as they fall."""
    asked = [rule_id for rule_id in checks if rule_id in (order.rules or checks)]
    waiting = sorted(asked, key=lambda rule_id: rule_id != order.first)
    patience = PATIENCE
    while waiting and patience > 0:
        running, began = "", False
        with closing(_in_a_child(order, enter, [checks[name] for name in waiting])) as child:
            for finding in child:
                if finding.broken:
                    yield finding
                    return
                began = True
                if finding.status == STARTED:
                    running = finding.rule
                    waiting.remove(running)
                    continue
                running = ""
                yield finding
        if running:
            patience -= 1
            yield Finding(running, HUNG, "its process died of it, or had to be ended")
        elif not began:
            yield Finding(ends=True, broken="its process ended before the first rule")
            return
    yield Finding(ends=True, left_out=len(waiting))


def _in_a_child(
    order: Order, enter: Enter, checks: Iterable[RuleCheck]
) -> Generator[Finding, None, None]:
    """What the rules say in a process of their own, up to the one that it dies of."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        _live(order, enter, checks, writes)
    os.close(writes)
    try:
        with os.fdopen(reads, "rb") as lines:
            for line in lines:
                yield msgspec.json.decode(line, type=Finding)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _live(order: Order, enter: Enter, checks: Iterable[RuleCheck], fd: int) -> NoReturn:
    """The life of a child."""
    try:
        for number in (signal.SIGALRM, signal.SIGPROF, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # How many programs are drawn is a matter of the seed, not of how busy the machine is.
        with os.fdopen(fd, "wb") as out, patch(drawn, "BUDGET", math.inf):
            _run(order, enter, checks, out)
    finally:
        os._exit(0)  # nothing of the parent's is to be closed, flushed or cleaned up twice


def _run(order: Order, enter: Enter, checks: Iterable[RuleCheck], out: BinaryIO) -> None:
    def tell(finding: Finding) -> None:
        out.write(msgspec.json.encode(finding) + b"\n")
        out.flush()

    if order.name:
        set_scale(scaled(MUTANT_SCALE))
    changed = enter()
    try:
        changed.__enter__()
    except Exception as error:
        tell(Finding(ends=True, broken=f"{type(error).__name__}: {error}"))
        return
    for check in checks:
        tell(Finding(check.rule.id, STARTED))
        signal.alarm(WALL_SECONDS)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        tell(_finding(_ask(order, check), check))


def _ask(order: Order, check: RuleCheck) -> Outcome:
    # The order in which trio runs tasks is chance, but not here: the same seed, the same matrix.
    scheduler: Any = import_module("trio._core._run")
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    for chance in (random, scheduler._r):
        chance.seed(f"{order.seed}:{check.rule.id}")
    kit = Kit(
        BASES[order.base],
        f"zoo-{check.rule.id.lower()}",
        seed=order.seed,
        effort=1.0 if order.name in ("", *check.rule.mutants) else OTHERS_EFFORT,
        replay=lambda _: f"am2z zoo {order.name} --seed {order.seed}",
    )
    return ZooTrial(kit, check, order.base).outcome()


def _finding(outcome: Outcome, check: RuleCheck) -> Finding:
    told = " ".join(outcome.lesson.split())
    return Finding(
        outcome.rule,
        outcome.status,
        outcome.reason,
        told.startswith(check.rule.id) and " ".join(check.rule.text.split()) in told,
        outcome.seconds,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
