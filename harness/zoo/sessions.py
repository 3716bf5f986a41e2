"""Sessions that leak into each other, do not end, or never were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z.local.sessions import SessionTable
from harness.zoo.mutant import mutant, patch


@mutant("sessions-unsorted", rule="SES-016")
@contextmanager
def sessions_unsorted() -> Iterator[None]:
    """Active sessions are listed in the order in which they came."""
    with patch(SessionTable, "names", lambda self: list(self._sessions)):
        yield
