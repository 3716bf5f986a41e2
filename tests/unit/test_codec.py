# ruff: noqa: RUF012 - msgspec copies a mutable default
"""What crosses a boundary arrives equal, shares nothing, and names the field that could not."""

import datetime as dt
import decimal
import enum
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from am2z.codec import (
    MAX_ERROR_BYTES,
    MAX_ERROR_MESSAGE,
    MAX_EVENT_BYTES,
    checksum,
    copy_event,
    copy_state,
    decode_error,
    decode_mapping,
    decode_named_state,
    decode_state,
    encode_error,
    encode_mapping,
    encode_state,
)
from am2z.errors import (
    AM2ZError,
    BusinessError,
    PayloadTooLargeError,
    StateCorruptError,
    ValidationError,
)
from am2z.state import AppState
from am2z.typenames import type_name


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Box:
    width: int = 0
    tags: list[str] = field(default_factory=list)


class Line(msgspec.Struct):
    sku: str
    price: decimal.Decimal = decimal.Decimal(0)


class Order(AppState):
    count: int = 0
    note: str | None = None
    lines: list[Line] = []
    box: Box = Box()
    size: Size = Size.SMALL
    stock: dict[str, int] = {}
    tags: set[str] = set()
    key: uuid.UUID = uuid.UUID(int=0)
    day: dt.date = dt.date(2024, 1, 1)
    at: dt.datetime = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    raw: bytes = b""
    pair: tuple[int, float] = (0, 0.0)
    anything: Any = None


class Picky(AppState):
    count: int = 0
    error: str = "value"

    def __post_init__(self) -> None:
        if self.count == 13:
            raise {"value": ValueError, "key": KeyError, "ours": BusinessError}[self.error]("13!")


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
orders = st.builds(
    Order,
    count=st.integers(-(2**63), 2**64 - 1),
    note=st.none() | text,
    lines=st.lists(st.builds(Line, sku=text, price=st.decimals(allow_nan=False)), max_size=3),
    box=st.builds(Box, width=st.integers(0, 9), tags=st.lists(text, max_size=2)),
    size=st.sampled_from(Size),
    stock=st.dictionaries(text, st.integers(0, 9), max_size=4),
    tags=st.sets(text, max_size=4),
    key=st.uuids(),
    day=st.dates(),
    at=st.datetimes(timezones=st.just(dt.UTC)),
    raw=st.binary(max_size=8),
    pair=st.tuples(st.integers(0, 9), st.floats(allow_nan=False)),
    anything=st.none() | st.integers(0, 9) | st.lists(text, max_size=2),
)


@given(orders)
def test_a_copy_is_equal_and_shares_nothing_that_can_change(order: Order) -> None:
    copy = copy_state(order)
    assert copy == order
    assert type(copy) is Order
    for name in ("lines", "box", "stock", "tags"):
        assert getattr(copy, name) is not getattr(order, name)
    assert copy.box.tags is not order.box.tags


@given(orders)
def test_equal_values_have_equal_bytes(order: Order) -> None:
    shuffled = Order(
        **(
            msgspec.structs.asdict(order)
            | {
                "stock": dict(reversed(order.stock.items())),
                "tags": set(order.tags),
            }
        )
    )
    assert shuffled == order
    assert encode_state(shuffled) == encode_state(order)
    assert encode_state(copy_state(order)) == encode_state(order)
    assert checksum(encode_state(shuffled)) == checksum(encode_state(order))


def test_a_checksum_is_64_hex_digits() -> None:
    digest = checksum(b"abc")
    assert len(digest) == 64
    assert int(digest, 16)


# The culprit


class Looped(AppState):
    items: list[Any] = []
    table: dict[str, Any] = {}
    box: Any = None


def refused(state: AppState) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        copy_state(state)
    return caught.value


@pytest.mark.parametrize(
    ("state", "path"),
    [
        (Looped(items=[1, object()]), "items[1]"),
        (Looped(items=[[], [0, [object()]]]), "items[1][1][0]"),
        (Looped(table={"a": {"b": object()}}), "table['a']['b']"),
        (Looped(box=Box(tags=[object()])), "box.tags[0]"),  # type: ignore[list-item]
        (Looped(items=[Line(sku=object())]), "items[0].sku"),  # type: ignore[arg-type]
        (Looped(items=[2**70]), "items[0]"),
        (Looped(items=["\udc80"]), "items[0]"),
        (Looped(items=[{1, "a"}]), "items[0]"),
        (Looped(table={1: 2}), "table"),  # type: ignore[dict-item]
    ],
    ids=range(9),
)
def test_the_path_leads_to_the_part_that_cannot_cross(state: AppState, path: str) -> None:
    error = refused(state)
    assert error.field == path
    assert "cannot cross the wire" in str(error)


def test_keys_and_sets_say_what_they_have_to_be() -> None:
    assert "keys of a mapping must be strings" in str(refused(Looped(table={1: 2})))  # type: ignore[dict-item]
    assert "of one kind that can be sorted" in str(refused(Looped(box={1, "a"})))


def test_a_state_that_contains_itself_is_named_at_the_circle() -> None:
    loop: list[Any] = [1]
    loop.append({"again": loop})
    error = refused(Looped(items=loop))
    assert error.field == "items[1]['again']"
    assert "contains itself" in str(error)


def test_a_state_that_is_nested_too_deeply_says_so() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert "nested too deeply" in str(refused(Looped(items=deep)))


def test_only_states_are_encoded_as_states() -> None:
    with pytest.raises(ValidationError, match=r"is a dict, not an AppState; subclass"):
        encode_state({"count": 1})  # type: ignore[arg-type]


def test_a_value_of_the_wrong_type_is_refused_with_its_path() -> None:
    error = refused(Order(lines=[Line(sku=1)]))  # type: ignore[arg-type]
    assert error.field == "lines[0].sku"
    assert "Order" in str(error)
    assert error.context["type"] == type_name(Order)


@pytest.mark.parametrize("error", ["value", "key"])
def test_what_a_class_raises_about_itself_becomes_a_validation_error(error: str) -> None:
    data = encode_state(Picky(count=12, error=error)).replace(b"\xa5count\x0c", b"\xa5count\x0d")
    with pytest.raises(ValidationError, match="13!"):
        decode_state(Picky, data)


def test_an_error_of_ours_that_a_class_raises_about_itself_stays_what_it_is() -> None:
    data = encode_state(Picky(count=12, error="ours")).replace(b"\xa5count\x0c", b"\xa5count\x0d")
    with pytest.raises(BusinessError):
        decode_state(Picky, data)


def test_a_class_with_a_field_that_nothing_can_decode_says_which_class() -> None:
    class Odd(AppState):
        either: Line | Box | None = None

    with pytest.raises(ValidationError, match=r"Odd.*type cannot cross the wire"):
        copy_state(Odd())


def test_a_state_over_the_limit_is_refused_with_both_sizes() -> None:
    state = Order(note="x" * 1000)
    size = len(encode_state(state))
    assert copy_state(state, size) == state
    with pytest.raises(PayloadTooLargeError, match=rf"{size} bytes.*{size - 1}") as caught:
        copy_state(state, size - 1)
    assert caught.value.context == {"size": size, "limit": size - 1}
    assert "max_payload_bytes" in str(caught.value)


# Names


def test_a_state_is_found_by_the_name_of_its_class() -> None:
    state = Order(count=3)
    got = decode_named_state(type_name(Order), encode_state(state))
    assert got == state
    assert type(got) is Order


def test_an_unknown_class_is_named_and_says_what_to_do() -> None:
    with pytest.raises(ValidationError, match=r"'shop:Gone' is unknown here; import the module"):
        decode_named_state("shop:Gone", encode_state(Order()))


def test_a_class_that_is_not_the_expected_one_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"Order, not a .*Looped"):
        decode_named_state(type_name(Order), encode_state(Order()), Looped)


@given(st.binary(max_size=64))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with suppress(ValidationError):
        assert isinstance(decode_state(Order, data), Order)
    with suppress(StateCorruptError):
        assert isinstance(decode_mapping(data), dict)


def test_bytes_that_are_something_else_say_what_was_expected() -> None:
    with pytest.raises(ValidationError, match="does not fit Order"):
        decode_state(Order, b"\x01")
    with pytest.raises(StateCorruptError, match="1 bytes that are no message of AM2Z"):
        decode_mapping(b"\x01")


# Errors that are too large


class DetailedError(AM2ZError):
    def __init__(self, message: object, detail: str) -> None:
        super().__init__(message)  # type: ignore[arg-type]
        self.detail = detail


@pytest.mark.parametrize("message", ["m" * 200_000, list(range(50_000)), "short"], ids=type)
@pytest.mark.parametrize("detail", ["d", "d" * 200_000], ids=len)
def test_a_huge_error_is_shortened_and_stays_what_it_is(message: object, detail: str) -> None:
    sent = DetailedError(message, detail)
    sent.context["all"] = "c" * 100_000
    sent.failed_processor = "p"
    data = encode_error(sent)
    assert len(data) <= MAX_ERROR_BYTES
    got = decode_error(data)
    assert type(got) is DetailedError
    assert got.failed_processor == "p"
    assert str(message).startswith(got.message)
    assert got.message
    assert got.context["shortened_from_bytes"] > 100_000
    assert getattr(got, "detail", None) == ("d" if detail == "d" else None)


# Event data


def test_an_event_that_is_too_large_says_what_to_do_instead() -> None:
    with pytest.raises(PayloadTooLargeError, match="reference in the event"):
        copy_event({"a": "x" * MAX_EVENT_BYTES})


def test_event_data_arrives_equal_and_shares_nothing() -> None:
    given_data = {"items": [1, {"a": None}], "at": b"x"}
    got = copy_event(given_data)
    assert got == given_data
    assert got["items"] is not given_data["items"]


def test_event_data_that_cannot_cross_is_named() -> None:
    with pytest.raises(ValidationError, match=r"\['items'\]\[0\]"):
        encode_mapping({"items": [object()]})
    with pytest.raises(ValidationError, match="keys of a mapping must be strings"):
        copy_event({1: 2})  # type: ignore[dict-item]


def test_event_beyond_its_limit_is_refused_with_both_sizes():
    copy_event({"text": "x" * (MAX_EVENT_BYTES - 100)})
    with pytest.raises(PayloadTooLargeError) as caught:
        copy_event({"text": "x" * MAX_EVENT_BYTES})
    assert caught.value.context["limit"] == MAX_EVENT_BYTES
    assert caught.value.context["size"] > MAX_EVENT_BYTES


def test_enormous_error_is_shortened_and_stays_of_its_class():
    enormous = BusinessError("m" * 10**6, context={"log": "x" * 10**6})
    packed = encode_error(enormous)
    assert len(packed) <= MAX_ERROR_BYTES
    back = decode_error(packed)
    assert type(back) is BusinessError
    assert back.message == "m" * MAX_ERROR_MESSAGE
    assert back.context["shortened_from_bytes"] > 2 * 10**6
