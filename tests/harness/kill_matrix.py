"""Writes what the zoo found into docs/kill-matrix.md.

am2z zoo --json > matrix.json
python -m tests.harness.kill_matrix matrix.json
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.catalogue import GROUPS, load_catalogue
from harness.zoo import load_mutants

PAGE = Path(__file__).parents[2] / "docs" / "kill-matrix.md"
BEGIN, END = "<!-- from am2z zoo --json -->", "<!-- end -->"


def table(matrix: Mapping[str, Any]) -> str:
    """A row for each group of rules, and one for all of them."""
    rules, zoo = load_catalogue(), load_mutants()
    fates = defaultdict(list)
    for fate in matrix["mutants"]:
        fates[fate["expected"][:3]].append(fate)
    rows = []
    for group, title in GROUPS.items():
        musts = [r for r in rules.values() if r.group == group and r.level == "MUST"]
        rows.append((f"{group} {title}", len(musts), *_figures(fates[group], zoo)))
    total = ("**all**", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))
    head = (
        "| rules of group | MUST rules | mutants for them | … of a queue | killed by the rule that "
        "names them | … and by others too |\n|---|--:|--:|--:|--:|--:|\n"
    )
    return head + "".join(f"| {' | '.join(map(str, row))} |\n" for row in (*rows, total))


def _figures(fates: list[Mapping[str, Any]], zoo: Mapping[str, Any]) -> tuple[int, ...]:
    named = [fate for fate in fates if fate["expected"] in fate["by"]]
    return (
        len(fates),
        sum(zoo[fate["name"]].base == "queue" for fate in fates if fate["name"] in zoo),
        len(named),
        sum(len(fate["by"]) > 1 for fate in named),
    )


def replaced(page: str, made: str) -> str:
    """The page with another table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text())
    PAGE.write_text(replaced(PAGE.read_text(), table(found)))
