"""The page that tells of each check of the scripts which test misses it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from .harmless import HARMLESS
from .mutants import Mutant, mutants, texts

PAGE = Path(__file__).parents[3] / "docs" / "script-checks.md"
NOTHING = "**nothing**"

_HEAD = """\
# Every check of every script, and the test that misses it

{} times one check was removed from one of the [scripts](protocol.md#scripts), and the fast tests
of the protocol were run: {} times one of them failed. Of the others the table says why no test can
tell. A script that others include is changed for all of them.

After a change of some scripts, `python -m tests.distributed.protocol.mutate SCRIPT…` writes their
sections anew, and `--new` tries only what is not here yet; without a name it is the whole page, in
about ten minutes. The tests are those of `tests/distributed/protocol/`. One of them holds what a
fixed program of calls answers, writes and costs: a check that only saves a command is missed there.
"""
_TABLE = "| line | becomes | caught by |\n|---|---|---|\n"
_NONE = "No check of its own: the pieces that it includes have them.\n"
_SECTION = re.compile(r"^## `(\w+)`\n\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


class Row(NamedTuple):
    """One check, and what notices that it is gone."""

    mutant: Mutant
    verdict: str

    def __str__(self) -> str:
        return f"{start(self.mutant)}{self.verdict} |\n"


def start(mutant: Mutant) -> str:
    """What a row says before its verdict."""
    return f"| {_cell(mutant.code)} | {_cell(mutant.after)} | "


def _cell(text: str) -> str:
    return f"`{text.strip()}`".replace("|", "\\|") if text.strip() else "(gone)"


def verdict(mutant: Mutant, test: str) -> str:
    """The name of the test that failed, or why none can."""
    if test:
        return f"`{test.rpartition('::')[2].partition('[')[0]}`" if "::" in test else test
    return HARMLESS.get((mutant.script, mutant.code, mutant.after.strip()), NOTHING)


def _rows(body: str) -> list[str]:
    return [line for line in body.splitlines() if line.startswith("| `")]


def _verdict(row: str) -> str:
    return row.removesuffix(" |").rpartition(" | ")[2]


def sections(page: str) -> dict[str, str]:
    """The body of each script's section."""
    return {found[1]: found[2].strip() + "\n" for found in _SECTION.finditer(page)}


def update(page: str, scripts: list[str], rows: list[Row]) -> str:
    """The page with the sections of some scripts anew, and without those of scripts that went."""
    bodies = sections(page)
    for name in scripts:
        found = "".join(str(row) for row in rows if row.mutant.script == name)
        bodies[name] = _TABLE + found if found else _NONE
    bodies = {name: bodies[name] for name in texts() if name in bodies}
    verdicts = [_verdict(line) for body in bodies.values() for line in _rows(body)]
    caught = sum(1 for text in verdicts if text.startswith("`"))
    head = _HEAD.format(len(verdicts), caught)
    return head + "".join(f"\n## `{name}`\n\n{body}" for name, body in bodies.items())


def known(page: str, every: list[Mutant]) -> dict[Mutant, str]:
    """The verdicts of those changes that the page names a test for."""
    rows = {
        (name, row.removesuffix(f"{_verdict(row)} |")): _verdict(row)
        for name, body in sections(page).items()
        for row in _rows(body)
    }
    found = {mutant: rows.get((mutant.script, start(mutant)), "") for mutant in every}
    return {mutant: text for mutant, text in found.items() if text.startswith("`test_")}


def stale(page: str) -> list[str]:
    """The scripts whose section does not say what their text says."""
    bodies = sections(page)
    return [
        name
        for name, text in texts().items()
        if [start(mutant) for mutant in mutants(name, text)]
        != [line.removesuffix(f"{_verdict(line)} |") for line in _rows(bodies.get(name, ""))]
    ]
