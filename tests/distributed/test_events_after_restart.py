"""Whoever listened before a restart hears nothing a second time after it."""

from unittest.mock import patch

import trio

from am2z import QueueRuntime
from am2z.queue.stream import EventReader
from harness import TestState, create_counter_processor


def test_what_was_told_before_a_restart_is_not_told_again():
    async def long_ago(_self):
        return (0, 0)  # a slow answer to TIME puts the beginning too early; this is the worst

    async def scenario():
        runtime = QueueRuntime("fake://", namespace="am2z-test-restart")
        seen = []
        runtime.on("*", lambda event: seen.append((event.type, event.execution_id)))
        async with runtime.register(create_counter_processor("counter")):
            await runtime.execute("counter", TestState())
            await runtime.stop()
            with patch.object(EventReader, "_beginning", long_ago):
                await runtime.start()
                await runtime.execute("counter", TestState())
        return seen

    seen = trio.run(scenario)
    assert seen.count(("runtime:started", "")) == 2
    assert seen.count(("runtime:stopped", "")) == 2
    executions = [one for one in seen if one[1]]
    assert len(executions) == len(set(executions)) == 6
