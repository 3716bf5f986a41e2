"""What was accepted outlives the process that accepted it, however that ended."""

import subprocess
import sys
from pathlib import Path

import trio
from sqlite_runtime import SqliteRuntime

from am2z import AppState, Context, processor


class Bill(AppState):
    total: float = 0.0


@processor
async def pay(state: Bill, ctx: Context) -> Bill:
    return state.evolve(total=state.total + 1)


CHILD = """
import os, sys
from pathlib import Path
import trio
sys.path.insert(0, sys.argv[2])
from test_restart import Bill, pay
from sqlite_runtime import SqliteRuntime

async def main():
    async with SqliteRuntime(Path(sys.argv[1])).register(pay) as runtime:
        await runtime.submit(pay, Bill(total=48.0), "customer-7", execution_id="bill-7", delay=0.05)
        os._exit(9)

trio.run(main)
"""


def test_work_of_a_killed_process_is_done_by_the_next(tmp_path):
    file = tmp_path / "work.db"
    command = [sys.executable, "-c", CHILD, str(file), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 9

    async def main():
        async with SqliteRuntime(file).register(pay) as runtime:
            handle = await runtime.submit(
                pay, Bill(total=48.0), "customer-7", execution_id="bill-7"
            )
            assert (await handle.result()).unwrap().total == 49.0
            assert (await runtime.state.get("customer-7", Bill)).version == 1

    trio.run(main)
