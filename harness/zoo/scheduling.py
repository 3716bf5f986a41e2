"""Runtimes that let the wrong one run, or too many (EXE-013 to EXE-015, EXE-036)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import am2z.slots
from am2z.slots import Slots, _Line
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch


@mutant("last-in-first-out", rule="EXE-013")
@contextmanager
def last_in_first_out() -> Iterator[None]:
    """Who came last to the line of a processor goes first."""
    with edit(Slots, "_next", "best.waiting.popleft()", "best.waiting.pop()"):
        yield


@contextmanager
def _full_when(is_full: Any) -> Iterator[None]:
    def full(self: _Line) -> bool:
        limit = self.options.concurrency
        return limit is not None and bool(is_full(self.active, limit))

    with patch(_Line, "full", property(full)):
        yield


@mutant("concurrency-ignored", rule="EXE-014")
@contextmanager
def concurrency_ignored() -> Iterator[None]:
    """A processor's own limit is not asked for."""
    with _full_when(lambda active, limit: False):
        yield


@mutant("concurrency-off-by-one", rule="EXE-014")
@contextmanager
def concurrency_off_by_one() -> Iterator[None]:
    """One more than its limit of a processor runs at once."""
    with _full_when(lambda active, limit: active > limit):
        yield


@contextmanager
def _line_before(key: Any) -> Iterator[None]:
    def before(line: _Line, other: _Line) -> bool:
        return bool(key(line) < key(other))

    with patch(am2z.slots, "_before", before):
        yield


@mutant("priority-ignored", rule="EXE-015")
@contextmanager
def priority_ignored() -> Iterator[None]:
    """Who came first goes first, whatever the priorities."""
    with _line_before(lambda line: line.waiting[0][0]):
        yield


@mutant("priority-upside-down", rule="EXE-015")
@contextmanager
def priority_upside_down() -> Iterator[None]:
    """The lower priority goes first."""
    with _line_before(lambda line: (line.options.priority, line.waiting[0][0])):
        yield


@mutant("resuming-blocks-everyone", rule="EXE-036")
@contextmanager
def resuming_blocks_everyone() -> Iterator[None]:
    """Who comes back from a call goes first, even where its own processor is at its limit."""
    with patch(Slots, "_somebody_resumes", lambda self: bool(self._resuming)):
        yield
