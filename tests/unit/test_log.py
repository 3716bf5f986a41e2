"""Loggers of the standard library, with a context that cannot break or betray anything."""

import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am2z.errors import ConfigurationError
from am2z.log import component_loggers, create_component_logger, create_contextual_logger


class Catcher(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()  # formats, so that a broken message fails the test
        self.records.append(record)


def test_a_component_logger_is_the_standard_logger_of_that_name() -> None:
    assert create_component_logger("worker") is logging.getLogger("am2z.worker")


def test_a_level_is_set_only_where_it_is_given() -> None:
    logger = create_component_logger("test_level", level="DEBUG")
    assert logger.level == logging.DEBUG
    assert create_component_logger("test_level").level == logging.DEBUG
    assert create_component_logger("test_level", level=logging.ERROR).level == logging.ERROR


@pytest.mark.parametrize("level", ["LOUD", 1.5])
def test_an_unknown_level_is_refused(level: Any) -> None:
    with pytest.raises(ConfigurationError, match="give one of logging's"):
        create_component_logger("test_level", level=level)


@pytest.mark.parametrize("component", ["", "."])
def test_a_component_without_a_name_is_refused(component: str) -> None:
    with pytest.raises(ConfigurationError, match="give it a name"):
        create_component_logger(component)


def test_the_components_of_the_library_are_there_and_read_only() -> None:
    assert set(component_loggers) == {
        "local_runtime",
        "queue_runtime",
        "processor",
        "worker",
        "replies",
        "events",
        "connection",
        "maintenance",
        "resources",
        "cleanup",
    }
    for name, logger in component_loggers.items():
        assert logger is logging.getLogger(f"am2z.{name}")
        assert logger.handlers == []
    with pytest.raises(TypeError):
        component_loggers["mine"] = logging.getLogger()  # type: ignore[index]


def test_an_application_that_configures_nothing_hears_nothing() -> None:
    code = "from am2z.log import *; create_contextual_logger('worker', {'a': 1}).error('loud')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_the_context_stands_behind_the_message_and_on_the_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = create_contextual_logger("worker", {"session_id": "s 1", "attempt": 2})
    log.warning("took %d items", 3)
    (record,) = caplog.records
    assert record.getMessage() == "took 3 items session_id='s 1' attempt=2"
    assert (record.session_id, record.attempt) == ("s 1", 2)  # type: ignore[attr-defined]
    assert record.name == "am2z.worker"


def test_a_context_name_that_logging_uses_itself_is_set_aside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    create_contextual_logger("worker", {"name": "n", "message": "m", "args": "a"}).warning("hello")
    (record,) = caplog.records
    assert record.getMessage() == "hello name=n message=m args=a"
    assert (record.name, record.ctx_name, record.ctx_message) == ("am2z.worker", "n", "m")  # type: ignore[attr-defined]


def test_what_the_call_gives_as_extra_wins_over_the_context(
    caplog: pytest.LogCaptureFixture,
) -> None:
    create_contextual_logger("worker", {"a": 1, "b": 2}).warning("x", extra={"b": 3})
    (record,) = caplog.records
    assert (record.a, record.b) == (1, 3)  # type: ignore[attr-defined]


def test_secrets_of_the_context_reach_neither_message_nor_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = {"password": "hunter2", "url": "redis://:hunter2@db", "in": {"token": "hunter2"}}
    create_contextual_logger("connection", context).error("failed")
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(vars(caplog.records[0]))


def test_the_context_is_that_of_the_moment_of_creation(caplog: pytest.LogCaptureFixture) -> None:
    context = {"step": 1}
    log = create_contextual_logger("worker", context)
    context["step"] = 2
    log.warning("x")
    assert caplog.messages == ["x step=1"]


def test_without_a_context_the_message_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    create_contextual_logger("worker", {}).warning("100% done")
    assert caplog.messages == ["100% done"]


def test_a_record_names_the_line_that_logged_and_not_the_library(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = create_contextual_logger("worker", {"a": 1})
    log.warning("one")
    log.log(logging.WARNING, "two")
    try:
        int("x")
    except ValueError:
        log.exception("three")
    assert {record.filename for record in caplog.records} == {"test_log.py"}
    assert caplog.records[2].exc_info is not None


def test_a_message_below_the_level_costs_no_formatting() -> None:
    class Loud:
        def __repr__(self) -> str:
            raise AssertionError("formatted though nobody listens")

    log = create_contextual_logger("worker", {"x": Loud()})
    log.debug("quiet")
    assert "_suffix" not in vars(log)


@given(st.text(), st.dictionaries(st.text(), st.text()), st.text())
def test_no_message_argument_or_context_can_break_a_log_call(
    message: str, context: dict[str, str], argument: str
) -> None:
    logger = logging.getLogger("am2z.test_any")
    catcher = Catcher()
    logger.addHandler(catcher)
    try:
        log = create_contextual_logger("test_any", context)
        log.warning(message)
        log.warning("%s!", argument)
    finally:
        logger.removeHandler(catcher)
    plain, formatted = (record.getMessage() for record in catcher.records)
    assert plain.startswith(message)
    assert formatted.startswith(f"{argument}!")
    assert plain[len(message) :] == formatted[len(argument) + 1 :]
