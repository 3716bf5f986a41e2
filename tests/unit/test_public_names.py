"""The public names: which they are, that each is documented, and what importing them costs."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import am2z
import am2z.authoring

# ruff: noqa: SIM905 - a list of names reads best as a text

ROOT = Path(__file__).parents[2]

PUBLIC = """
AM2ZError AppState BusinessError CallDepthExceededError Capability ConfigurationError Context
DeadLetter DeadLetters Delivery ErrorCategory ErrorSeverity Event EventType
ExecutionCancelledError ExecutionHandle
ExecutionMetadata ExecutionTimeoutError Failure LeaseLostError LocalRuntime LocalStateManager
Lock LockLostError NamingUtility NetworkError PayloadTooLargeError PoisonExecutionError Processor
ProcessorBuilder ProcessorExecutionError ProcessorNotFoundError ProcessorResult QueueOptions
QueueRuntime QueueStats RedisStateManager ResourceError ResourceLimits ResourceMonitor
ResourceStats Result RetryPolicy Runtime RuntimeConfig RuntimeCore RuntimeMixin
RuntimeNotStartedError RuntimeStats RuntimeStoppedError SessionManager SessionStoppedError
StateConflictError StateCorruptError StateManager StateMetadata StateNotFoundError Success
ThreadContext UnsupportedCapability ValidationError Versioned batch batch_cleanup chain
cleanup_resources component_loggers create_app_state create_cleanup_error_handler
create_component_logger create_contextual_logger create_processor create_timeout_cleanup
extract_errors_from_results extract_first_error handle_error parallel processor retry_with_backoff
route with_error_handling with_timeout
""".split()


AUTHORING = """
Admission BaseRuntime BaseStateManager ContextHost EventBus EventHandler ForwardingRuntime HeldLock
LocalLocks LockBackend MAX_DEAD Outcome ProcessorRef Registry Request Slot Slots StateRecord StateT
When attempt call_too_deep check_name check_same_work checksum conflict copy_event copy_state
decode_error decode_named_state decode_result decode_state encode_error encode_result encode_state
id_taken new_id refusal retry_id runtime_stopped session_stopped to_result type_name
""".split()


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_public_names_are_these_in_order() -> None:
    assert am2z.__all__ == sorted(am2z.__all__)
    assert am2z.__all__ == PUBLIC, "a new name? Document it, then list it here"


def test_the_names_for_authors_of_runtimes_are_these() -> None:
    assert sorted(am2z.authoring.__all__) == AUTHORING, "a new name? List it here"
    assert all(hasattr(am2z.authoring, name) for name in AUTHORING)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_object_is_there_and_documented(name: str) -> None:
    thing = getattr(am2z, name)
    if name in {"Result", "component_loggers"}:  # an alias, and a mapping: neither can have one
        return
    assert inspect.getdoc(thing), f"{name} needs a docstring"
    if isinstance(thing, type):
        assert thing.__doc__, f"{name} only inherits its docstring"


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "Result"])
def test_every_public_method_is_documented(name: str) -> None:
    thing = getattr(am2z, name)
    if not isinstance(thing, type) or not thing.__module__.startswith("am2z"):
        return
    bare = [
        method
        for method, value in vars(thing).items()
        if not method.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property))
        and not inspect.getdoc(getattr(thing, method))
    ]
    assert not bare, f"{name}: {', '.join(bare)} need a docstring"


def test_dir_shows_the_names_that_load_late() -> None:
    assert set(am2z.__all__) <= set(dir(am2z))
    assert "__version__" in dir(am2z)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        am2z.Nonsense  # noqa: B018


def test_a_star_import_gives_exactly_the_public_names() -> None:
    code = (
        "names = {}; exec('from am2z import *', names); names.pop('__builtins__'); "
        "print(*sorted(names))"
    )
    assert run(code).split() == PUBLIC


def test_importing_am2z_loads_neither_redis_nor_any_test_tool() -> None:
    unwanted = ("redis", "hiredis", "fakeredis", "pytest", "hypothesis", "harness", "am2z.queue")
    code = f"import sys, am2z; print(*[name for name in {unwanted!r} if name in sys.modules])"
    assert run(code) == ""


def test_running_locally_loads_no_redis() -> None:
    code = (
        "import sys, trio, am2z\n"
        "async def main():\n"
        "    async with am2z.LocalRuntime(): pass\n"
        "trio.run(main)\n"
        "print(*[name for name in ('redis', 'fakeredis', 'am2z.queue') if name in sys.modules])"
    )
    assert run(code) == ""


def test_the_queue_runtime_loads_on_first_use_without_fakeredis() -> None:
    code = (
        "import sys, am2z; am2z.QueueRuntime; "
        "print(*[name for name in ('fakeredis', 'pytest', 'hypothesis') if name in sys.modules])"
    )
    assert run(code) == ""
