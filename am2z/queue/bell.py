"""A bell: tells the one task that waits for it that there is something to do."""

from __future__ import annotations

import trio

__all__ = ["Bell"]


class Bell:
    """An event that ends with its hearing. Rung while nobody waits, it is heard by who comes next.

    Example::

        bell = Bell()
        bell.ring()
        await bell.wait()  # at once; a second wait would wait for another ring
    """

    __slots__ = ("_lot", "_rang")

    def __init__(self) -> None:
        self._rang = False
        self._lot = trio.lowlevel.ParkingLot()

    def ring(self) -> None:
        """Wake who waits, or who will wait next."""
        if not self._rang:
            self._rang = True
            self._lot.unpark_all()

    async def wait(self) -> None:
        """Return once it has been rung since the last time."""
        if self._rang:
            await trio.lowlevel.checkpoint()
        else:
            await self._lot.park()
        self._rang = False
