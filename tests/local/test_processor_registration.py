"""The rules of the group `registration`, on the runtimes of this folder."""

from harness.conformance.registration import *  # noqa: F403 - they are the tests
