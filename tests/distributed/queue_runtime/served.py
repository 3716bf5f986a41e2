"""What ``am2z worker`` serves in its tests. The board is named by the environment."""

from __future__ import annotations

import os
import signal
from functools import cache

from am2z import Context, processor

from .apps import Board, Work


@cache
def board() -> Board:
    return Board(os.environ["BOARD_URL"], os.environ["BOARD_NAME"])


@processor
async def add(state: Work, ctx: Context) -> Work:
    return state.evolve(count=state.count + 1, note=str(os.getpid()))


@processor
async def gate(state: Work, ctx: Context) -> Work:
    """Says that it runs, and where, and waits until the test opens its gate."""
    board().write(f"begun {os.getpid()}")
    await board().wait(state.note)
    board().write(f"ended {os.getpid()}")
    return state.evolve(count=state.count + 1)


@processor
async def crash_once(state: Work, ctx: Context) -> Work:
    """Takes its process along, the first time."""
    board().write(f"crash {os.getpid()}")
    if len(board().lines("crash")) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return state.evolve(count=state.count + 1)


some = [add, gate]
number = 7
