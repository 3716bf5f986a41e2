"""``LocalRuntime`` beside what it cannot do without: the copy by value and the bare call.

A program of its own (``python -m benchmarks.local``): its memory and its clock are nobody else's.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import trio

from am2z import AppState, Context, LocalRuntime, create_app_state, processor
from am2z.codec import decode_state, encode_state
from benchmarks.sampling import Sampler

__all__ = ["main"]

MOST = 4 * 1024 * 1024
LEAK_WARM_UP = 20_000


class Load(AppState):
    """What an execution carries."""

    text: str = ""


@processor
async def noop(state: Load, ctx: Context) -> Load:
    return state


@processor
async def waiting(state: Load, ctx: Context) -> Load:
    await trio.lowlevel.checkpoint()
    return state


async def _seconds(do: Callable[[], Awaitable[Any]], times: int) -> float:
    began = time.process_time()  # what others do on the machine meanwhile does not count
    for _ in range(times):
        await do()
    return (time.process_time() - began) / times


async def _measure(times: int) -> dict[str, float]:
    """Microseconds of each, the best of seven interleaved tries: the others were disturbed."""
    state = create_app_state(Load, "s", text="x" * 100)
    context: Any = None
    bare: Any = noop.fn

    async def copy() -> None:  # one for the processor, one for its caller
        decode_state(Load, encode_state(state, MOST))
        decode_state(Load, encode_state(state, MOST))

    async def empty() -> None:
        pass

    async with (
        LocalRuntime().register(noop, waiting) as runtime,
        LocalRuntime().register(noop) as heard,
    ):
        heard.on("*", lambda _event: None)
        ways: dict[str, Callable[[], Awaitable[Any]]] = {
            "empty": empty,
            "copy": copy,
            "bare": lambda: bare(state, context),
            "execute": lambda: runtime.execute(noop, Load(text="x" * 100)),
            "execute what waits": lambda: runtime.execute(waiting, Load(text="x" * 100)),
            "execute in a session": lambda: runtime.execute(noop, Load(text="x" * 100), "s"),
            "execute with a listener": lambda: heard.execute(noop, Load(text="x" * 100)),
        }
        found = dict.fromkeys(ways, float("inf"))
        for _ in range(7):
            for name, do in ways.items():
                found[name] = min(found[name], await _seconds(do, times))
    loop = found.pop("empty")
    return {name: (seconds - loop) * 1e6 for name, seconds in found.items()}


async def _leaks(executions: int) -> dict[str, float]:
    """What is held after so many executions beyond what was held after a warm-up."""

    def held() -> tuple[int, int]:
        gc.collect()
        return sys.getallocatedblocks(), psutil.Process().memory_info().rss

    async with LocalRuntime().register(noop) as runtime:
        for _ in range(LEAK_WARM_UP):
            await runtime.execute(noop, Load(text="x"))
        blocks, memory = held()
        for _ in range(executions):
            await runtime.execute(noop, Load(text="x"))
        more_blocks, more_memory = held()
    return {"blocks": more_blocks - blocks, "memory": more_memory - memory}


async def _sample(executions: int, path: str) -> None:
    sampler = Sampler()
    async with LocalRuntime().register(noop) as runtime:
        for _ in range(executions // 10):
            await runtime.execute(noop, Load(text="x" * 100))
        sampler.start()
        for _ in range(executions):
            await runtime.execute(noop, Load(text="x" * 100))
        sampler.stop()
    sampler.write(path, executions)


def main() -> None:
    """``measure TIMES``, ``leaks EXECUTIONS`` or ``sample EXECUTIONS FILE``; prints JSON."""
    what, number, *rest = sys.argv[1:]
    ways: dict[str, Callable[..., Awaitable[Any]]] = {
        "measure": _measure,
        "leaks": _leaks,
        "sample": _sample,
    }
    print(json.dumps(trio.run(ways[what], int(number), *rest)))


if __name__ == "__main__":
    main()
