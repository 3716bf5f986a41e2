"""Ask a worker for a greeting: ``python caller.py redis://localhost:6379/0 Ada``.

The worker is ``am2z worker greet --redis redis://localhost:6379/0``, in this folder.
"""

import sys

import trio
from greet import Greeting

from am2z import QueueRuntime


async def main(url: str, name: str) -> None:
    async with QueueRuntime(url, role="client") as runtime:
        result = await runtime.execute("greet", Greeting(name=name))
        print(result.unwrap().text)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    trio.run(main, sys.argv[1], sys.argv[2])
