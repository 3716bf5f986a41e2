"""The rules behind all others: whether all that is told agrees, on the runtimes of this folder."""

from harness.conformance.behind import *  # noqa: F403 - they are the tests
