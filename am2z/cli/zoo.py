"""``am2z zoo``: does the suite find what is wrong?"""

from __future__ import annotations

import argparse

from am2z.cli.kit import load

__all__ = ["EXAMPLES", "HELP", "NAME", "configure", "run"]

NAME = "zoo"
HELP = "run the conformance suite on runtimes that are wrong on purpose, and say what it finds"
EXAMPLES = """
  am2z zoo                              every mutant; prints which rule found which
  am2z zoo --json > matrix.json         the same, for programs
  am2z zoo --quick                      whether every mutant is found, and not what else finds it
  am2z zoo commit-forgotten --seed 42   one mutant

exit status:
  0 every mutant is found by the rule that names it, every MUST finds one, and the correct runtimes
  pass; 1 not so; 2 the command makes no sense; 130 interrupted, 143 terminated

"by" names the rules that found a mutant among those that it was asked: those that name it, and up
to ten others of the same group (STA, say) that name another mutant of the same runtime, drawn by
the seed. --whole asks every mutant every rule, --quick only the rules that name it. The correct
runtimes are always asked every rule.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("mutant", nargs="*", metavar="MUTANT", help="only these")
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--whole",
        action="store_true",
        help="ask each mutant every rule, and not only those close to what it breaks",
    )
    asked.add_argument(
        "--quick", action="store_true", help="ask each mutant only the rules that name it"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes at once (default: twice the cores)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of the rules that draw (default: 0)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the zoo, print the matrix, and answer the exit status."""
    runner = load("harness.zoo.runner")
    plan = runner.Plan(
        mutants=tuple(arguments.mutant),
        jobs=runner.JOBS if arguments.jobs is None else arguments.jobs,
        seed=arguments.seed,
        as_json=arguments.json,
        whole=arguments.whole,
        quick=arguments.quick,
    )
    return int(runner.run(plan))
