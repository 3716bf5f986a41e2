"""``am2z report``: the page, JUnit's file and the badges, once more."""

from __future__ import annotations

import argparse
from pathlib import Path

from am2z.cli.kit import load

__all__ = ["EXAMPLES", "HELP", "NAME", "configure", "run"]

NAME = "report"
HELP = "make report.html, junit.xml and the badges of a report.json again"
EXAMPLES = """
  am2z report report/report.json
  am2z zoo --json > report/zoo.json && am2z report report/report.json
  am2z report --zoo zoo.json report/report.json     with the kill matrix from somewhere else
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("report", type=Path, metavar="FILE", help="a report.json, or its folder")
    parser.add_argument(
        "--zoo",
        type=Path,
        metavar="FILE",
        help="what `am2z zoo --json` printed (default: zoo.json beside the report, if it is there)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the files; raises ``ConfigurationError`` where one given is not what it should be."""
    report: Path = arguments.report
    if report.is_dir():
        report /= "report.json"
    for written in load("harness.publish").publish(report, arguments.zoo):
        print(written)
    return 0
