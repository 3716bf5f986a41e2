"""Rules over generated programs and recorded histories: what the suite asks of a runtime."""

from __future__ import annotations

import bisect
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

import trio

from harness.builtin import BUILTIN
from harness.kit import Kit
from harness.lesson import is_crash, leaves, one_line
from harness.oracle.compare import Difference, show, text, unlike_the_model
from harness.oracle.linearizable import UNKNOWN, Operation, Spec, Verdict, linearize
from harness.oracle.model import CLOSING, script
from harness.oracle.play import play
from harness.oracle.program import Program
from harness.oracle.search import Search
from harness.scale import scaled
from harness.story import Counterexample

__all__ = ["agree_with_the_model", "assert_linearizable", "replay_line"]


BUDGET = 8.0
"""Seconds after which a rule draws no further program: a busy machine must not change verdicts."""


async def agree_with_the_model(kit: Kit, verbs: Sequence[str], examples: int) -> None:
    """Run generated programs; raise a ``Counterexample`` for the smallest that breaks the law."""
    parts: dict[str, Kit] = {}

    def judge(program: Program) -> list[Difference] | None:
        part = parts[str(program)] = kit.apart()
        return trio.from_thread.run(_judge, part, program) or None

    search = Search(
        judge,
        themes=[verbs],
        seed=kit.rng.getrandbits(32),
        examples=kit.share(examples),
        patience=scaled(6.0),
        budget=scaled(BUDGET),
    )
    # The search is a plain function, in a thread; its programs run in the trio that we are in.
    found = await trio.to_thread.run_sync(search.run)
    if found is not None:
        program, differences = found
        kit.tell_of(parts[str(program)])
        raise _counterexample(kit, program, differences)


async def _judge(kit: Kit, program: Program) -> list[Difference]:
    planned = script(program)
    try:
        seen = await play(kit, [entry.op for entry in planned if entry.op is not None])
    except Exception as error:
        found = list(leaves(error))
        if any(map(is_crash, found)):
            raise
        first = next((leaf for leaf in found if isinstance(leaf, AssertionError)), found[0])
        return [Difference(0, "the runtime as a whole", "raised", (one_line(first),), "nothing")]
    if differences := unlike_the_model(planned, seen):
        return differences
    # What the program did not look at, and other laws speak of.
    return [
        Difference(len(planned), CLOSING, "beside it", (one,), "nothing") for one in kit.findings
    ]


def _counterexample(
    kit: Kit, program: Program, differences: Sequence[Difference]
) -> Counterexample:
    first = differences[0]
    reason = (
        f"`{first.title}` shows what no program may: {first.path} is {text(first.values[0])}, "
        f"where the model has {text(first.expected)}"
    )
    again = [f"again: {replay_line([kit.name], program)}"] if kit.name in BUILTIN else []
    return Counterexample(
        "\n".join([reason, *show(differences, [kit.name]), *again]),
        program="\n".join(program.lines()),
        expected=_one_side(differences, lambda one: one.expected),
        actual=_one_side(differences, lambda one: one.values[0]),
    )


def _one_side(differences: Sequence[Difference], side: Callable[[Difference], object]) -> str:
    return "\n".join(f"{one.title}: {one.path} = {text(side(one))}" for one in differences)


def replay_line(runtimes: Sequence[str], program: Program) -> str:
    """The command that runs one program again."""
    return shlex.join(["am2z", "diff", *runtimes, "--program", str(program)])


def assert_linearizable(history: Sequence[Operation], spec: Spec, what: str) -> None:
    """Raise a ``Counterexample`` for the shortest beginning of a history that has no order.

    Raises ``Undecided`` where that cannot be found out within bounds.
    """
    if linearize(history, spec).is_linearizable:
        return
    ends = sorted(operation.returned for operation in history if operation.returned is not None)
    # What has no order has none however it goes on: so the first bad moment can be halved for.
    first = bisect.bisect_left(
        ends, True, key=lambda end: not linearize(_until(history, end), spec).is_linearizable
    )
    beginning = _until(history, ends[first])
    verdict = linearize(beginning, spec)
    reason = (
        f"{what}: {len(history)} operations of concurrent clients were recorded, and the first "
        f"{len(beginning)} have no order in which one after the other could have given these "
        "answers"
    )
    raise Counterexample(
        "\n".join([reason, *verdict.lines()]),
        program="\n".join(map(str, _told(beginning, verdict))),
        expected="an order of the operations that real time does not forbid",
        actual="none",
    )


def _until(history: Sequence[Operation], end: int) -> list[Operation]:
    """What had begun by then; what had not ended by then has no answer yet."""

    return [
        operation
        if operation.returned is not None and operation.returned <= end
        else replace(operation, answer=UNKNOWN, returned=None)
        for operation in history
        if operation.invoked < end
    ]


def _told(history: Sequence[Operation], verdict: Verdict) -> list[Operation]:
    """The last operations of a history: where it goes wrong."""
    last = {id(one) for one in (*verdict.order[-8:], *verdict.stuck)}
    return sorted((one for one in history if id(one) in last), key=lambda one: one.invoked)
