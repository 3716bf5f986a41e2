"""``am2z explain``: one rule, in full."""

from __future__ import annotations

import argparse

from am2z.cli.kit import load

__all__ = ["EXAMPLES", "HELP", "NAME", "configure", "run"]

NAME = "explain"
HELP = "explain a rule: what it asks, why, and what to look at when it is broken"
EXAMPLES = """
  am2z explain STA-004
  am2z explain sta-004 exe-001
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("rule", nargs="+", metavar="RULE", help="its id, such as STA-004")


def run(arguments: argparse.Namespace) -> int:
    """Print the rules; raises ``ConfigurationError`` for an unknown one."""
    catalogue = load("harness.catalogue").load_catalogue()
    rules = [catalogue.find(rule_id) for rule_id in arguments.rule]
    for rule in rules:
        load("harness.terminal").print_rule(rule)
    return 0
