"""``docs/faults.md`` says which test holds what: each complaint has one, and it exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def rows():
    """The rows of every table that says what is held by which test; others are of rules."""
    names_tests = False
    for line in (ROOT / "docs" / "faults.md").read_text().splitlines():
        if not line.startswith("|"):
            names_tests = False
        elif "held by" in line:
            names_tests = True
        elif names_tests and line.startswith("| "):
            yield line.strip("|").split("|")


ROWS = list(rows())


def names_of_tests():
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name


def test_every_complaint_and_every_figure_is_there():
    assert len(ROWS) >= 24 + 5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_every_test_that_the_page_names_exists(row):
    named = re.findall(r"`(test_\w+)`", row[-1])
    assert named, "nothing holds this"
    assert set(named) <= set(names_of_tests())
