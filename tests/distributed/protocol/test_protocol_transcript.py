"""What is in Redis is read by other versions of this program: it changes on purpose only."""

from __future__ import annotations

import os
from pathlib import Path

from .protocol_driver import Driver
from .transcript import transcript

KNOWN = Path(__file__).with_name("transcript.txt")


def test_every_call_answers_and_writes_what_it_did_before(driver: Driver) -> None:
    """After a change on purpose: run it once with ``AM2Z_TRANSCRIPT=write`` and read the diff."""
    now = transcript(driver)
    if os.environ.get("AM2Z_TRANSCRIPT") == "write":
        KNOWN.write_text(now)
    assert now.splitlines() == KNOWN.read_text().splitlines()
