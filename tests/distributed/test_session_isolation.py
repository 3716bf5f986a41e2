"""The rules of the group `sessions`, on the runtimes of this folder."""

from harness.conformance.sessions import *  # noqa: F403 - they are the tests
