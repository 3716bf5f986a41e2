"""The job of RQ, in a module that its worker can import."""

from __future__ import annotations

from benchmarks.peers.line import Counter

counter = Counter(())


def noop(text: str) -> None:
    """Do nothing."""
    counter.add()
