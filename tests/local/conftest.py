"""The rules of this folder run on ``LocalRuntime``."""

from harness.builtin import LOCAL


def pytest_am2z_runtimes():
    return [LOCAL]
