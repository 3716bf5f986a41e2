"""``am2z conformance``: does a runtime behave?"""

from __future__ import annotations

import argparse
from pathlib import Path

from am2z.cli.kit import add_run_options, load

__all__ = ["EXAMPLES", "HELP", "NAME", "configure", "run"]

NAME = "conformance"
HELP = "run the conformance suite and say for each runtime whether it behaves"
EXAMPLES = """
  am2z conformance                              local, queue[fake], and queue[server] if there is
                                                a Redis server
  am2z conformance local --report report        one runtime; write a report to look at
  am2z conformance mypkg.testing:my_runtime     a runtime of your own
  am2z conformance local -k STA-004 --seed 42   one rule again, with the same seed

exit status:
  0 every verdict is CONFORMANT, 1 at least one is not, 2 the command makes no sense,
  130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "runtime",
        nargs="*",
        metavar="RUNTIME",
        help="local, queue[fake], queue[server], or module:attribute of a RuntimeUnderTest or of "
        "a function that makes a runtime",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write report.html, report.json, junit.xml and badge.svg there",
    )
    add_run_options(parser, seed="repeat a run")
    parser.add_argument(
        "-k",
        dest="keyword",
        metavar="EXPR",
        help="only the rules that match, as in pytest; the verdict is INCOMPLETE then",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the suite, print the report, and answer the exit status."""
    runner = load("harness.runner")
    plan = runner.Plan(
        runtimes=tuple(arguments.runtime),
        report=arguments.report,
        seed=arguments.seed,
        redis=arguments.redis,
        timeout_scale=arguments.timeout_scale,
        keyword=arguments.keyword,
    )
    return int(runner.run(plan))
