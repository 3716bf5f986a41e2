"""``am2z diff``: programs on two runtimes, or on one and the model, and what differs."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Sequence

import trio

from am2z import ConfigurationError, NetworkError
from harness.kit import Kit
from harness.lesson import leaves, one_line
from harness.oracle.compare import compare, unlike_the_model
from harness.oracle.crash import Crashes
from harness.oracle.model import Planned, Seen, script, sensible
from harness.oracle.plan import Plan
from harness.oracle.play import play
from harness.oracle.program import Program
from harness.oracle.reading import parse
from harness.oracle.search import Search
from harness.oracle.sides import Sides
from harness.oracle.telling import Finding, Telling
from harness.redis import remove_namespace
from harness.scale import scaled, set_scale
from harness.seed import seed_of
from harness.servers import Servers, choose
from harness.subject import RuntimeUnderTest

__all__ = ["Plan", "run"]


def run(plan: Plan) -> int:
    """Look for a difference, print what was found, and answer the exit status.

    Raises ``ConfigurationError`` for what makes no sense.
    """
    if not 1 <= len(plan.runtimes) <= 2:
        raise ConfigurationError("name two runtimes, or one to compare with the model")
    if plan.examples < 1:
        raise ConfigurationError(f"--examples is {plan.examples}; give at least 1")
    before = None
    if plan.timeout_scale is not None:
        if not 0 < plan.timeout_scale < 1e6:
            raise ConfigurationError(
                f"--timeout-scale is {plan.timeout_scale}; give a number above 0"
            )
        before = set_scale(plan.timeout_scale)
    servers = Servers(choose(plan.redis or os.environ.get("AM2Z_REDIS") or "auto"))
    try:
        return _Diff(plan, servers).run()
    finally:
        servers.close()
        if before is not None:
            set_scale(before)


class _Diff:
    def __init__(self, plan: Plan, servers: Servers) -> None:
        self.plan = plan
        self.servers = servers
        self.sides = Sides(plan.runtimes, servers)
        self.seed = seed_of(plan.seed)
        self.telling = Telling(plan, self.sides, self.seed)

    def run(self) -> int:
        began = time.monotonic()
        if self.plan.program is not None:
            program = parse(self.plan.program)
            self.sides.refuse_what_cannot_be_done(program)
            _say_what_is_left_out(program)
            finding = self._judge(program)
            return self.telling.report(program, program, finding, 1, time.monotonic() - began)
        self.telling.begin()
        with self.telling.progress() as on_example:
            search = Search(
                self._judge,
                themes=self.sides.themes(),
                seed=self.seed,
                examples=self.plan.examples,
                patience=scaled(120.0),
                on_example=on_example,
            )
            found = search.run()
        seconds = time.monotonic() - began
        if found is None:
            return self.telling.report(None, None, None, search.tried, seconds)
        return self.telling.report(search.first, *found, search.tried, seconds)

    def _judge(self, program: Program) -> Finding | None:
        planned = script(program)
        runs = [
            self._observe(subject, spec, planned)
            for subject, spec in zip(self.sides.subjects, self.sides.specs, strict=True)
        ]
        self.telling.operations += len(planned) - 1
        if len(runs) == 1:
            differences = unlike_the_model(planned, runs[0])
        else:
            differences = compare(planned, runs[0], runs[1])
        return Finding(planned, runs, differences) if differences else None

    def _observe(
        self, subject: RuntimeUnderTest, spec: str, planned: Sequence[Planned]
    ) -> list[Seen]:
        namespace = f"am2z-diff-{uuid.uuid4().hex[:10]}"
        kit = Kit(subject, namespace, find_redis=self.servers.url)
        ops = [entry.op for entry in planned if entry.op is not None]
        crashes = any(op.verb == "crash" for op in ops)
        crash = Crashes(spec, kit.env) if crashes else None

        async def observe() -> list[Seen]:
            with trio.fail_after(scaled(60.0 + 10.0 * len(ops))):
                return await play(kit, ops, crash)

        try:
            return trio.run(observe)
        except Exception as error:
            first = next(leaves(error))
            if isinstance(first, NetworkError | ConfigurationError):
                raise first from None
            # Without a runtime nothing is seen; the other side shows what there was to see.
            seen: list[Seen] = [{} for _ in planned]
            seen[-1] = {"raised": one_line(first)}
            return seen
        finally:
            kit.close()
            if self.servers.is_running:
                remove_namespace(self.servers.url(), namespace)


def _say_what_is_left_out(program: Program) -> None:
    done = sensible(program).ops
    rest = iter(done)
    wanted = next(rest, None)
    senseless: list[str] = []
    for op in program:
        if op is wanted:
            wanted = next(rest, None)
        else:
            senseless.append(str(op))
    if senseless:
        print(
            f"am2z: makes no sense there, and is left out: {'; '.join(senseless)}",
            file=sys.stderr,
        )
