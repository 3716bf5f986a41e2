"""``am2z diff``: do two runtimes show the same?"""

from __future__ import annotations

import argparse

from am2z.cli.kit import add_run_options, load

__all__ = ["EXAMPLES", "HELP", "NAME", "configure", "run"]

NAME = "diff"
HELP = "run generated programs on two runtimes and show one on which they differ"
EXAMPLES = """
  am2z diff local queue --examples 500          queue: on a Redis server if there is one
  am2z diff local mypkg.testing:my_runtime      a runtime of your own
  am2z diff 'queue[server]'                     one runtime and the model of the specification
  am2z diff local queue --seed 7 --examples 40  the same programs again
  am2z diff local queue --program 'submit x a once(hold); stop a; get a'

exit status:
  0 no difference, 1 one was found (the smallest program that shows it is printed),
  2 the command makes no sense, 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "runtime",
        nargs="+",
        metavar="RUNTIME",
        help="local, queue, queue[fake], queue[server], or module:attribute as for conformance; "
        "one is compared with the model",
    )
    parser.add_argument(
        "--examples", type=int, default=100, metavar="N", help="how many programs (default: 100)"
    )
    add_run_options(parser, seed="draw the programs of that seed")
    parser.add_argument(
        "--program", metavar="TEXT", help="run this one instead, as a difference is printed"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print what was found, and answer the exit status."""
    diff = load("harness.oracle.diff")
    plan = diff.Plan(
        runtimes=tuple(arguments.runtime),
        examples=arguments.examples,
        seed=arguments.seed,
        program=arguments.program,
        redis=arguments.redis,
        timeout_scale=arguments.timeout_scale,
        as_json=arguments.json,
    )
    return int(diff.run(plan))
