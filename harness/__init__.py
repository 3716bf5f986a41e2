"""The conformance kit and the test helpers of AM2Z.

- **Test your own processors** on every runtime: ``on_every_runtime``, ``setup_test_runtime``,
  ``cleanup_test_runtime``, ``TestState``, ``create_test_processor`` and its family,
  ``TestEventCollector``, ``wait_for_condition``; under everything that may happen to them: the
  fixture ``am2z_strict_runtime`` (``StrictRuntime``, ``Effects``, ``BrokenAssumption``)
- **Prove your own runtime**: ``RuntimeUnderTest``, ``Environment`` and, in your test file,
  ``from harness.conformance import *``
- **Servers**: ``ensure_redis_connection``, ``cleanup_redis``, ``TEST_REDIS_CONFIG``, and
  ``RedisProxy`` to cut the line, slow it down or freeze it

Names are loaded when they are first used, so that the pytest plugin costs nothing where it is not
needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from am2z import Capability as Capability
    from harness.collector import TestEventCollector as TestEventCollector
    from harness.limits import TEST_RESOURCE_LIMITS as TEST_RESOURCE_LIMITS
    from harness.processors import create_counter_processor as create_counter_processor
    from harness.processors import create_delay_processor as create_delay_processor
    from harness.processors import create_error_processor as create_error_processor
    from harness.processors import create_test_processor as create_test_processor
    from harness.proxy import RedisProxy as RedisProxy
    from harness.redis import TEST_REDIS_CONFIG as TEST_REDIS_CONFIG
    from harness.redis import cleanup_redis as cleanup_redis
    from harness.redis import ensure_redis_connection as ensure_redis_connection
    from harness.rules import rule as rule
    from harness.states import TestState as TestState
    from harness.states import create_test_state as create_test_state
    from harness.strict import BrokenAssumption as BrokenAssumption
    from harness.strict import Effects as Effects
    from harness.strict import StrictRuntime as StrictRuntime
    from harness.subject import Environment as Environment
    from harness.subject import RuntimeUnderTest as RuntimeUnderTest
    from harness.testing import cleanup_test_runtime as cleanup_test_runtime
    from harness.testing import on_every_runtime as on_every_runtime
    from harness.testing import setup_test_runtime as setup_test_runtime
    from harness.waiting import wait_for_condition as wait_for_condition

_HOME = {
    "Capability": "am2z",
    "BrokenAssumption": "harness.strict",
    "Effects": "harness.strict",
    "Environment": "harness.subject",
    "RuntimeUnderTest": "harness.subject",
    "RedisProxy": "harness.proxy",
    "StrictRuntime": "harness.strict",
    "TEST_REDIS_CONFIG": "harness.redis",
    "TEST_RESOURCE_LIMITS": "harness.limits",
    "TestEventCollector": "harness.collector",
    "TestState": "harness.states",
    "Undecided": "harness.outcome",
    "cleanup_redis": "harness.redis",
    "cleanup_test_runtime": "harness.testing",
    "create_counter_processor": "harness.processors",
    "create_delay_processor": "harness.processors",
    "create_error_processor": "harness.processors",
    "create_test_processor": "harness.processors",
    "create_test_state": "harness.states",
    "ensure_redis_connection": "harness.redis",
    "on_every_runtime": "harness.testing",
    "rule": "harness.rules",
    "setup_test_runtime": "harness.testing",
    "wait_for_condition": "harness.waiting",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - the map is the list


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
