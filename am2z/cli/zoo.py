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
  am2z zoo commit-forgotten --seed 42   one mutant

exit status:
  0 every mutant is found by the rule that names it, every MUST finds one, and the correct runtimes
  pass; 1 not so; 2 the command makes no sense; 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("mutant", nargs="*", metavar="MUTANT", help="only these")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="ask mutants on a queue every rule, and not only those that one of them is for",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="processes at once (default: 2)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of the rules that draw (default: 0)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the zoo, print the matrix, and answer the exit status."""
    runner = load("harness.zoo.runner")
    plan = runner.Plan(
        mutants=tuple(arguments.mutant),
        jobs=arguments.jobs,
        seed=arguments.seed,
        as_json=arguments.json,
        whole=arguments.whole,
    )
    return int(runner.run(plan))
