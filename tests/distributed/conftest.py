"""The rules of this folder run on ``QueueRuntime``: without a server, and on a real one."""

from harness.builtin import QUEUE_FAKE, QUEUE_SERVER


def pytest_am2z_runtimes():
    return [QUEUE_FAKE, QUEUE_SERVER]
