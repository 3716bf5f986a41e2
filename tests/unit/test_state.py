# ruff: noqa: RUF012 - msgspec copies a mutable default
"""A state is an immutable value that knows how often it changed."""

import time

import msgspec
import pytest

from am2z.state import AppState, StateMetadata, create_app_state, find_state_class
from am2z.typenames import type_name


class Order(AppState):
    items: list[str] = []
    total: float = 0.0


class Parcel(AppState):
    weight: float


def test_a_state_works_by_itself() -> None:
    order = Order(total=2.0)
    assert order.metadata.version == 1
    assert order.metadata.session_id == ""
    assert abs(order.metadata.created_at - time.time()) < 60


def test_a_state_cannot_be_changed() -> None:
    order = Order()
    with pytest.raises(AttributeError):
        order.total = 3.0  # type: ignore[misc]


def test_a_state_class_cannot_be_made_mutable() -> None:
    with pytest.raises(TypeError, match=r"Loose.*immutable.*evolve"):

        class Loose(AppState, frozen=False):
            count: int = 0


def test_fields_without_a_default_may_follow_those_with_one() -> None:
    assert Parcel(weight=1.0).weight == 1.0
    with pytest.raises(TypeError, match="weight"):
        Parcel()  # type: ignore[call-arg]


def test_fields_are_given_by_keyword() -> None:
    with pytest.raises(TypeError, match="positional"):
        Order(["chair"])  # type: ignore[misc]


def test_evolve_gives_a_changed_copy_with_a_higher_version() -> None:
    order = create_app_state(Order, "customer-7", items=["chair"])
    later = order.evolve(total=49.0)
    assert (order.total, later.total) == (0.0, 49.0)
    assert later.items == ["chair"]
    assert later.metadata.version == order.metadata.version + 1
    assert later.metadata.session_id == "customer-7"
    assert later.metadata.created_at == order.metadata.created_at
    assert later.metadata.last_updated >= order.metadata.last_updated


def test_evolve_never_goes_back_in_time() -> None:
    ahead = time.time() + 1000
    order = Order(metadata=StateMetadata(last_updated=ahead))
    assert order.evolve().metadata.last_updated == ahead


def test_evolve_refuses_unknown_fields_and_the_metadata() -> None:
    with pytest.raises(TypeError, match="colour"):
        Order().evolve(colour="red")
    with pytest.raises(TypeError, match="leave metadata out"):
        Order().evolve(metadata=StateMetadata())


def test_create_app_state_names_the_session() -> None:
    order = create_app_state(Order, "customer-7", total=1.0)
    assert isinstance(order, Order)
    assert order.metadata.session_id == "customer-7"


def test_each_class_is_found_by_its_name_and_no_other_is() -> None:
    assert find_state_class(type_name(Order)) is Order
    assert find_state_class("builtins:dict") is None


def test_defaults_are_not_shared() -> None:
    assert Order().items is not Order().items


def test_two_states_with_equal_fields_are_equal() -> None:
    metadata = StateMetadata(created_at=1.0, last_updated=1.0)
    assert Order(total=1.0, metadata=metadata) == Order(total=1.0, metadata=metadata)
    assert msgspec.structs.asdict(metadata)["version"] == 1
