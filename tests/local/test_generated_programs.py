"""The rules that are asked with generated programs, on the runtimes of this folder."""

from harness.conformance.generated import *  # noqa: F403 - they are the tests
