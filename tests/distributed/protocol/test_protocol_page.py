"""The page of the checks tells of the scripts as they are.

After a change of a script, ``python -m tests.distributed.protocol.mutate SCRIPT`` writes its
section anew; ``harmless.py`` is the place for a check that no test can miss.
"""

from __future__ import annotations

import re
from pathlib import Path

from .checks_page import NOTHING, PAGE, sections, stale
from .mutants import NAMED, texts

WRITE = "python -m tests.distributed.protocol.mutate"


def test_every_script_is_on_the_page_of_checks() -> None:
    assert sections(PAGE.read_text()).keys() == texts().keys(), WRITE


def test_no_check_can_be_removed_unnoticed() -> None:
    assert NOTHING not in PAGE.read_text()


def test_the_page_of_checks_is_about_the_scripts_as_they_are() -> None:
    assert stale(PAGE.read_text()) == [], f"{WRITE} {' '.join(stale(PAGE.read_text()))}"


def test_every_test_that_the_page_of_checks_names_exists() -> None:
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)", PAGE.read_text()))
    assert {name for name in named if f"def {name}(" not in here} == set()


def test_every_check_that_is_named_by_hand_is_still_in_its_script() -> None:
    scripts = texts()
    assert [(name, text) for name, text, _ in NAMED if text not in scripts.get(name, "")] == []
