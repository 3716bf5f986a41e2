"""``python -m benchmarks``: the command line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks import load, plot, profiling, record, soak, table
from benchmarks.driver import ROOT
from benchmarks.figures import slower, summarize_run
from benchmarks.growth import AXES, measure_axis
from benchmarks.imports import import_costs
from benchmarks.install import install
from benchmarks.recovery import recovery
from benchmarks.rounds import FULL, QUICK, rounds
from benchmarks.server import redis_server
from benchmarks.subjects import SUBJECTS, chosen

DOCS = ROOT / "docs" / "benchmarks"
EXAMPLES = f"""
  python -m benchmarks all              everything that `nox -s bench` does (about an hour)
  python -m benchmarks all --quick      the same in small (about ten minutes)
  python -m benchmarks compare am2z saq bullmq --quick
                                        some subjects side by side
  python -m benchmarks growth backlog   what a job costs as something grows
  python -m benchmarks local            LocalRuntime, and what an import costs
  python -m benchmarks profile drain    where each microsecond goes (drain, local)
  python -m benchmarks load             more and more callers at once
  python -m benchmarks soak --minutes 30
                                        a mixed load with kills, and what it leaves behind
  python -m benchmarks recovery         how long a job waits whose worker was killed
  python -m benchmarks report           write the page and the plots again

subjects: {", ".join(subject.name for subject in SUBJECTS)}
growth:   {", ".join(axis.name for axis in AXES)}

It wants redis-server on PATH, and for the peers a package index, and npm for BullMQ on Node. Each
peer is installed into .bench/ the first time. Results go to docs/benchmarks (--into: elsewhere).
A ratio that fell by over 20 % since the last recorded run is told, at the end and on the page; with
--strict the exit status is 1 then.
"""


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Measures AM2Z beside its peers.", epilog=EXAMPLES,
        formatter_class=shape,
    )  # fmt: skip
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    quick = argparse.ArgumentParser(add_help=False)
    quick.add_argument("--quick", action="store_true", help="small numbers and few rounds")
    quick.add_argument("--into", type=Path, default=DOCS, metavar="DIR", help="where results go")
    quick.add_argument("--strict", action="store_true", help="fail if something became slower")
    quick.add_argument("--rounds", type=int, metavar="N", help="how many rounds (3 at least)")
    for name in ("all", "compare"):
        command = what.add_parser(name, parents=[quick])
        command.add_argument("subjects", nargs="*", metavar="SUBJECT")
    command = what.add_parser("growth", parents=[quick])
    command.add_argument("axes", nargs="*", metavar="AXIS", help="default: all")
    for name in ("local", "report"):
        what.add_parser(name, parents=[quick])
    command = what.add_parser("profile")
    command.add_argument("which", choices=("drain", "local"))
    command.add_argument("--jobs", type=int, default=100_000, metavar="N")
    command.add_argument("--name", metavar="NAME", help="write docs/benchmarks/profile-NAME.md")
    what.add_parser("load", parents=[quick])
    command = what.add_parser("soak")
    command.add_argument("--minutes", type=float, default=30.0, metavar="M")
    what.add_parser("recovery")
    return parser


class Session:
    """One call of the command."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._file = arguments.into / "results.json"
        self._found = record.read(self._file)
        self._form = "quick" if arguments.quick else "full"

    def compare(self, names: list[str]) -> None:
        """The subjects side by side, and the local runtime."""
        subjects, missing = [], {}
        for subject in chosen(names):
            problem = install(subject, _say)
            if problem is None:
                subjects.append(subject)
            else:
                missing[subject.name] = problem
                _say(f"{subject.name} cannot be installed and is left out: {problem}")
        plan = QUICK if self._arguments.quick else FULL
        if self._arguments.rounds:
            plan = plan._replace(rounds=self._arguments.rounds)
        load_before = os.getloadavg()[0]
        with redis_server() as server:
            measured = rounds(subjects, server, plan, _say)
            about = record.machine(server.version, load_before)
        run = summarize_run({name: found for name, found in measured.rounds.items() if found})
        own = self._found.get("local", {}) if self._arguments.what != "all" else self._local()
        self._found = record.results(
            self._found, self._form, about, run, measured.settings,
            {**measured.failures, **missing}, own, record.all_ratios(run, own),
        )  # fmt: skip
        if self._arguments.what == "all" and not self._arguments.quick:
            self._found["recovery"] = round(recovery(_say), 1)

    def local(self) -> None:
        """The local runtime alone."""
        self._found["local"] = self._local()

    def _local(self) -> dict[str, float]:
        quick = self._arguments.quick
        found = _program("measure", 500 if quick else 5_000)
        found |= import_costs(5 if quick else 21)
        left = _program("leaks", 100_000)
        found |= {"leaked blocks": left["blocks"], "leaked memory": left["memory"] / 1024}
        for name, value in found.items():
            _say(f"  {name:24} {value:9.2f}")
        return found

    def growth(self, names: list[str]) -> None:
        """The axes."""
        known = {axis.name: axis for axis in AXES}
        kept = self._found.setdefault("growth", {})
        with redis_server() as server:
            for name in names or list(known):
                points = measure_axis(
                    known[name], server, quick=self._arguments.quick,
                    repeats=1 if self._arguments.quick else 3, tell=_say,
                )  # fmt: skip
                kept[name] = [[point.x, round(point.worker, 1), round(point.redis, 1)]
                              for point in points]  # fmt: skip
                _say(f"  {name}: {known[name].bend(points):.2f} times at the end")

    def report(self) -> int:
        """Write the page and the plots; 1 if something became slower and that is forbidden."""
        run, growth = record.run_of(self._found), record.growth_of(self._found)
        own = self._found.get("local", {})
        ratios = record.all_ratios(run, own)
        record.write(self._file, self._found)
        folder = self._arguments.into
        before = record.baseline(self._found)
        text = table.page(self._found, run, growth, ratios, before)
        (folder / "README.md").write_text(text)
        try:
            if run:
                plot.overview(run, folder / "overview.svg")
            for axis in AXES:
                if axis.name in growth:
                    plot.growth(axis, growth[axis.name], folder / f"growth-{axis.name}.svg")
        except ModuleNotFoundError as error:
            _say(f"no plots: {error.name} is not installed")
        _say("\n".join(table.verdicts(run)))
        fallen = slower(ratios, before)
        for name, (was, now) in fallen.items():
            _say(f"⚠ SLOWER {name}: {was:.2f} → {now:.2f} times as good")
        _say(f"written to {folder}")
        return 1 if fallen and self._arguments.strict else 0


def _program(what: str, number: int) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.local", what, str(number)]
    run = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(run.stdout)
    return found


def _profile(arguments: argparse.Namespace) -> None:
    ways = {"drain": ("One drained job", profiling.drain),
            "local": ("One local execution", profiling.local)}  # fmt: skip
    title, profile = ways[arguments.which]
    text = profiling.profile_page(title, profile(arguments.jobs))
    if arguments.name:
        (DOCS / f"profile-{arguments.name}.md").write_text(text)
    _say(text)


def main() -> int:
    """Run the command line; the exit status."""
    arguments = _parser().parse_args()
    # Whatever was started ends with us, also when somebody sends us home.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if arguments.what == "profile":
        _profile(arguments)
        return 0
    if arguments.what == "soak":
        return soak.soak(arguments.minutes * 60, _say)
    if arguments.what == "recovery":
        recovery(_say)
        return 0
    if arguments.what == "load":
        load.load(_say, quick=arguments.quick)
        return 0
    session = Session(arguments)
    try:
        if arguments.what in ("all", "compare"):
            session.compare(arguments.subjects)
        if arguments.what == "local":
            session.local()
        if arguments.what in ("all", "growth"):
            session.growth(getattr(arguments, "axes", []))
    except (ValueError, KeyError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return session.report()


if __name__ == "__main__":
    sys.exit(main())
