"""An error is a value: it crosses the wire and comes back as itself, whatever it holds."""

import enum
import traceback
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import am2z
from am2z.codec import decode_error, encode_error
from am2z.errors import (
    AM2ZError,
    BusinessError,
    ErrorCategory,
    ErrorSeverity,
    NetworkError,
    ProcessorExecutionError,
    ProcessorNotFoundError,
    ResourceError,
    StateCorruptError,
    ValidationError,
    to_am2z_error,
)


class OutOfStockError(AM2ZError):
    code = "OUT_OF_STOCK"
    category = ErrorCategory.BUSINESS
    severity = ErrorSeverity.LOW
    retryable = True

    shelf: str = "none"

    def __init__(self, sku: str, left: int) -> None:
        super().__init__(f"{left} of {sku} left")
        self.sku = sku
        self.left = left

    @property
    def label(self) -> str:
        return f"{self.sku}:{self.left}"

    def refill(self) -> str:
        return "refilled"


class ForgetfulError(AM2ZError):
    def __init__(self, sku: str) -> None:
        self.sku = sku


class ComputedError(AM2ZError):
    def __init__(self, tries: int) -> None:
        super().__init__("computed")
        self.tries = tries

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        return self.tries < 3


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no text either")


def crossed(error: AM2ZError) -> AM2ZError:
    return decode_error(encode_error(error))


def caught(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as info:
        raise error
    return info.value


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)
contexts = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), plain, max_size=4)
texts = st.text(st.characters(exclude_categories=["Cs"]))

ERRORS = sorted(
    (
        value
        for value in vars(am2z).values()
        if isinstance(value, type) and issubclass(value, AM2ZError)
    ),
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_every_public_error_comes_back_as_its_own_class(cls: type[AM2ZError]) -> None:
    sent = cls("something", context={"a": [1]})
    got = crossed(sent)
    assert type(got) is cls
    assert str(got) == str(sent)
    assert got.message == sent.message
    assert (got.code, got.category, got.severity, got.retryable) == (
        sent.code,
        sent.category,
        sent.severity,
        sent.retryable,
    )
    assert got.context == {"a": [1]}
    assert got.code != AM2ZError.code or cls is AM2ZError


@given(message=texts, context=contexts)
def test_message_and_context_cross_the_wire_unchanged(
    message: str, context: dict[str, Any]
) -> None:
    got = crossed(AM2ZError(message, context=context))
    assert got.message == message
    assert got.context == context


@given(sku=texts, left=st.integers(-(2**63), 2**63))
def test_a_users_subclass_comes_back_with_its_own_attributes_and_methods(
    sku: str, left: int
) -> None:
    got = crossed(OutOfStockError(sku, left))
    assert isinstance(got, OutOfStockError)
    assert (got.sku, got.left) == (sku, left)
    assert got.label == f"{sku}:{left}"
    assert got.refill() == "refilled"
    assert (got.code, got.category, got.retryable) == ("OUT_OF_STOCK", "business", True)


def test_an_attribute_with_a_default_of_the_class_crosses_too() -> None:
    sent = OutOfStockError("chair", 0)
    sent.shelf = "B7"
    got = crossed(sent)
    assert isinstance(got, OutOfStockError)
    assert got.shelf == "B7"


def test_an_attribute_that_is_none_is_there_on_the_other_side() -> None:
    got = crossed(ValidationError("count", "is missing"))
    assert isinstance(got, ValidationError)
    assert (got.field, got.reason, got.value) == ("count", "is missing", None)


def test_a_subclass_that_forgets_to_call_its_base_is_a_whole_error_all_the_same() -> None:
    sent = ForgetfulError("chair")
    assert (sent.message, sent.context, sent.failed_processor) == ("chair", {}, None)
    got = crossed(sent)
    assert isinstance(got, ForgetfulError)
    assert (got.sku, str(got)) == ("chair", "chair")


@pytest.mark.parametrize("tries", [1, 5])
def test_what_a_class_computes_itself_it_computes_on_the_other_side(tries: int) -> None:
    assert crossed(ComputedError(tries)).retryable is (tries < 3)


def test_a_subclass_keeps_an_instances_own_code_and_severity() -> None:
    sent = BusinessError("no", code="CREDIT_LIMIT")
    sent.severity = ErrorSeverity.CRITICAL
    sent.retryable = True
    got = crossed(sent)
    assert (got.code, got.severity, got.retryable) == (
        "CREDIT_LIMIT",
        ErrorSeverity.CRITICAL,
        True,
    )


def test_an_unknown_class_becomes_the_nearest_known_and_names_itself() -> None:
    data = OutOfStockError("chair", 1).to_dict() | {"type": "elsewhere:StrangeError"}
    got = AM2ZError.from_dict(data)
    assert type(got) is AM2ZError
    assert (got.code, got.category, got.message) == (
        "OUT_OF_STOCK",
        ErrorCategory.BUSINESS,
        "1 of chair left",
    )
    assert got.context["remote_type"] == "elsewhere:StrangeError"


def test_a_known_class_is_never_named_by_another_module() -> None:
    got = AM2ZError.from_dict({"type": "builtins:SystemExit", "message": "bye"})
    assert type(got) is AM2ZError


# Notes and causes


def test_the_traceback_comes_along_as_a_note() -> None:
    got = crossed(caught(BusinessError("no")))  # type: ignore[arg-type]
    [note] = got.__notes__
    assert note.startswith("Traceback where it was raised:")
    assert "BusinessError: no" in note


def test_notes_cross_once_each_beside_the_traceback() -> None:
    sent = BusinessError("no")
    sent.add_note("while buying a chair")
    sent = caught(sent)  # type: ignore[assignment]
    notes = crossed(sent).__notes__
    assert notes[0] == "while buying a chair"
    assert notes[1].startswith("Traceback")
    assert len(notes) == 2


def test_a_second_crossing_adds_no_second_traceback() -> None:
    once = crossed(caught(BusinessError("no")))  # type: ignore[arg-type]
    twice = crossed(caught(once))  # type: ignore[arg-type]
    assert twice.__notes__ == once.__notes__


def test_a_chain_of_causes_crosses_and_stays_the_same_at_a_second_crossing() -> None:
    foreign = to_am2z_error(caught(ValueError("too small")), where="processor 'p'")
    sent = BusinessError("no").with_cause(foreign)
    for _ in range(3):
        got = crossed(sent)
        assert isinstance(got.__cause__, ProcessorExecutionError)
        assert str(got.__cause__.__cause__) == "ValueError: too small"
        sent = got  # type: ignore[assignment]


def test_errors_that_cause_each_other_do_not_go_round_for_ever() -> None:
    one, two = AM2ZError("one"), AM2ZError("two")
    one.__cause__, two.__cause__ = two, one
    error: BaseException | None = crossed(one)
    length = 0
    while error is not None:
        error, length = error.__cause__, length + 1
    assert 2 <= length < 20


def test_a_chain_that_somebody_sends_is_cut() -> None:
    data: dict[str, Any] = {"message": "deep"}
    for _ in range(100):
        data = {"message": "m", "cause": data}
    assert len(traceback.format_exception(AM2ZError.from_dict(data))) < 100


# What no wire can carry


def test_text_that_cannot_be_encoded_is_escaped() -> None:
    sent = AM2ZError("file \udc80", context={"\udc81": "\udc82"})
    sent.add_note("\udc83")
    got = crossed(sent)
    assert got.message == "file \\udc80"
    assert got.context == {"\\udc81": "\\udc82"}
    assert got.__notes__ == ["\\udc83"]


class Colour(enum.StrEnum):
    RED = "red"


class MyText(str):
    __slots__ = ()


class MyFloat(float):
    __slots__ = ()


class MyBytes(bytes):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Colour.RED, "red"),
        (MyText("a"), "a"),
        (MyFloat(1.5), 1.5),
        (MyBytes(b"x"), b"x"),
        (ErrorCategory.STATE, "state"),
        (enum.IntEnum("N", ["ONE"]).ONE, 1),  # type: ignore[attr-defined]
        (2**70, repr(2**70)),
        ((1, 2), [1, 2]),
        ({1: 2}, {"1": 2}),
        (frozenset([3]), [3]),
        (print, repr(print)),
        (MuteError(), "<MuteError that cannot be shown: RuntimeError>"),
    ],
)
def test_values_that_are_not_plain_arrive_as_the_nearest_plain_ones(
    value: object, arrives: object
) -> None:
    assert crossed(AM2ZError("x", context={"value": value})).context["value"] == arrives


def test_a_context_that_holds_itself_is_cut() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert crossed(AM2ZError("x", context={"loop": loop})).message == "x"


def test_a_message_that_is_no_text_becomes_text() -> None:
    assert crossed(AM2ZError(404)).message == "404"  # type: ignore[arg-type]
    assert crossed(AM2ZError()).message == ""


# Garbage


keys = st.sampled_from(
    [
        "type",
        "code",
        "category",
        "severity",
        "retryable",
        "message",
        "context",
        "failed_processor",
        "fields",
        "notes",
        "cause",
        "cause_text",
    ]
)
garbage = st.dictionaries(
    keys,
    plain
    | st.dictionaries(
        st.sampled_from(
            [
                "__class__",
                "__dict__",
                "__notes__",
                "__cause__",
                "__traceback__",
                "args",
                "to_dict",
                "with_cause",
                "message",
                "context",
                "add_note",
                "code",
                "left",
                "label",
                "refill",
                "sku",
            ]
        ),
        plain,
    ),
)


@given(garbage, st.sampled_from([None, *(f"{c.__module__}:{c.__qualname__}" for c in ERRORS)]))
def test_no_garbage_crashes_the_reader(data: dict[str, Any], name: str | None) -> None:
    if name is not None:
        data = data | {"type": name}
    error = AM2ZError.from_dict(msgspec.msgpack.decode(msgspec.msgpack.encode(data)))
    assert isinstance(error, AM2ZError)
    assert isinstance(error.message, str)
    assert isinstance(error.context, dict)
    assert isinstance(error.to_dict(), dict)
    assert callable(error.with_cause)
    traceback.format_exception(error)


@given(st.dictionaries(st.sampled_from(["refill", "label", "args", "to_dict", "__class__"]), plain))
def test_data_never_shadows_what_the_class_defines(fields: dict[str, Any]) -> None:
    data = OutOfStockError("chair", 2).to_dict()
    data["fields"] |= fields
    got = AM2ZError.from_dict(data)
    assert isinstance(got, OutOfStockError)
    assert got.refill() == "refilled"
    assert got.label == "chair:2"
    assert got.args == ("2 of chair left",)


@given(st.binary(max_size=64))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with suppress(StateCorruptError):
        assert isinstance(decode_error(data), AM2ZError)


# What the errors say


def test_a_foreign_error_is_wrapped_with_its_text_and_its_traceback() -> None:
    foreign = caught(KeyError("sku"))
    error = to_am2z_error(foreign, where="processor 'price'")
    assert str(error) == "processor 'price': KeyError: 'sku'"
    assert error.__cause__ is foreign
    assert error.retryable
    assert "KeyError" in error.__notes__[0]
    assert str(to_am2z_error(KeyError("sku"))) == "KeyError: 'sku'"


def test_an_error_of_ours_is_not_wrapped() -> None:
    error = BusinessError("no")
    assert to_am2z_error(error) is error


def test_an_error_without_a_text_is_wrapped_all_the_same() -> None:
    assert "MuteError" in str(to_am2z_error(MuteError()))
    assert "MuteError" in str(crossed(AM2ZError("x").with_cause(MuteError())).__cause__)


def test_an_unknown_processor_is_told_with_those_that_are_known() -> None:
    error = ProcessorNotFoundError("prise", ["ship", "price"])
    assert "'prise'" in str(error)
    assert "price, ship" in str(error)
    assert "register" in str(error)
    assert "known: none" in str(ProcessorNotFoundError("x"))


def test_details_are_attributes() -> None:
    resource = crossed(ResourceError("full", "queue", 5, 6))
    assert isinstance(resource, ResourceError)
    assert (resource.resource, resource.limit, resource.current) == ("queue", 5, 6)
    network = crossed(NetworkError("gone", endpoint="redis://h"))
    assert isinstance(network, NetworkError)
    assert network.endpoint == "redis://h"


def test_the_name_of_the_failed_processor_crosses() -> None:
    sent = BusinessError("no")
    sent.failed_processor = "charge"
    assert crossed(sent).failed_processor == "charge"
