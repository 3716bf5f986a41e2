"""ResourceLimits says what is allowed."""

import math
from typing import Any

import msgspec
import pytest

from am2z.errors import ConfigurationError
from am2z.limits import ResourceLimits


def test_the_defaults_are_those_of_the_contract() -> None:
    assert msgspec.structs.asdict(ResourceLimits()) == {
        "max_connections": 50,
        "max_memory_mb": 1024.0,
        "max_queue_size": 10_000,
        "session_ttl": 86_400.0,
        "memory_threshold": 0.8,
        "connection_threshold": 0.9,
    }


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("max_connections", 0, "whole number of at least 1"),
        ("max_connections", 1.5, "whole number of at least 1"),
        ("max_connections", True, "whole number of at least 1"),
        ("max_queue_size", -1, "whole number of at least 1"),
        ("max_queue_size", "10", "whole number of at least 1"),
        ("max_memory_mb", 0, "more than 0"),
        ("max_memory_mb", math.nan, "more than 0"),
        ("max_memory_mb", None, "math.inf for no limit"),
        ("session_ttl", 0, "number of seconds"),
        ("session_ttl", math.inf, "number of seconds"),
        ("memory_threshold", 0, "at most 1"),
        ("memory_threshold", 1.01, "at most 1"),
        ("connection_threshold", math.nan, "at most 1"),
        ("connection_threshold", "0.5", "at most 1"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_and_told_what_is_allowed(
    name: str, value: Any, advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=advice) as caught:
        ResourceLimits(**{name: value})
    assert caught.value.message.startswith(f"{name} is {value!r}")


def test_the_edges_are_allowed() -> None:
    ResourceLimits(
        max_connections=1,
        max_memory_mb=math.inf,
        max_queue_size=1,
        session_ttl=1,
        memory_threshold=1,
        connection_threshold=1,
    )


def test_limits_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        ResourceLimits().max_connections = 5  # type: ignore[misc]
