"""``am2z rules``: the catalogue."""

from __future__ import annotations

import argparse
import json

from am2z.cli.kit import load

__all__ = ["EXAMPLES", "HELP", "NAME", "configure", "run"]

NAME = "rules"
HELP = "list the rules that every runtime has to keep"
EXAMPLES = """
  am2z rules
  am2z rules --json | jq -r '.[] | select(.level == "MUST") | .id'
  am2z rules --markdown > docs/spec.md
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument(
        "--markdown", action="store_true", help="everything about each, as a document"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the catalogue."""
    catalogue = load("harness.catalogue").load_catalogue()
    if arguments.json:
        rows = [
            {
                "id": rule.id,
                "level": rule.level,
                "group": rule.group,
                "text": rule.text,
                "seed": " | ".join(rule.seed),
            }
            for rule in catalogue.values()
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif arguments.markdown:
        print(load("harness.specification").specification(catalogue), end="")
    else:
        load("harness.terminal").print_rules(catalogue)
    return 0
