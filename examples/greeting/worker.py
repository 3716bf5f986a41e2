"""Serve the greeting from a process of its own: ``python worker.py redis://localhost:6379/0``."""

import sys

import trio
from greet import greet

from am2z import QueueRuntime


async def main(url: str) -> None:
    async with QueueRuntime(url, role="worker").register(greet):
        print("serving", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1])
    except KeyboardInterrupt:
        print("stopped")
