"""A configuration that makes no sense is refused by field and value; results say how it ended."""

import math

import pytest

from am2z import (
    AppState,
    BusinessError,
    ConfigurationError,
    ExecutionMetadata,
    ProcessorResult,
    RuntimeConfig,
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("default_timeout", 0),
        ("default_timeout", math.inf),
        ("lease", -1),
        ("result_ttl", "1"),
        ("shutdown_grace", -0.1),
        ("metrics_interval", 0),
        ("state_ttl", math.nan),
        ("max_call_depth", -1),
        ("max_call_depth", 1.5),
        ("concurrency", 0),
        ("concurrency", True),
        ("max_deliveries", 0),
        ("max_payload_bytes", None),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{field} is .*; give a") as caught:
        RuntimeConfig(**{field: value})  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)


def test_the_settings_may_be_at_their_bounds() -> None:
    config = RuntimeConfig(
        shutdown_grace=0, metrics_interval=0.1, state_ttl=1, max_call_depth=0, concurrency=1
    )
    assert config == RuntimeConfig(
        shutdown_grace=0, metrics_interval=0.1, state_ttl=1, max_call_depth=0, concurrency=1
    )
    with pytest.raises(AttributeError):
        config.concurrency = 2  # type: ignore[misc]


def test_unwrap_gives_the_state_or_raises_the_error() -> None:
    metadata = ExecutionMetadata(processor_name="p", execution_id="e", session_id="s")
    state, error = AppState(), BusinessError("no")
    assert ProcessorResult(success=True, state=state, metadata=metadata).unwrap() is state
    with pytest.raises(BusinessError) as caught:
        ProcessorResult(success=False, state=state, error=error, metadata=metadata).unwrap()
    assert caught.value is error
