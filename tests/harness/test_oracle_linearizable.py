"""Linearizability: what the checker lets pass and what it finds."""

import random
from itertools import count, permutations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from am2z import LocalRuntime, NetworkError
from harness.oracle.check import assert_linearizable
from harness.oracle.history import History
from harness.oracle.linearizable import UNKNOWN, LockSpec, Operation, RegisterSpec, linearize
from harness.outcome import Undecided
from harness.story import Counterexample

REGISTER, LOCK = RegisterSpec(), LockSpec()


def op(invoked, returned, *call, gives, client="c"):
    return Operation(client, call, gives, invoked, returned)


def holds(*history, spec=REGISTER):
    return linearize(history, spec).is_linearizable


def test_what_happens_one_after_the_other_has_its_own_order():
    history = [
        op(1, 2, "get", gives=(0, None)),
        op(3, 4, "set", 5, gives=1),
        op(5, 6, "add", 2, gives=7),
        op(7, 8, "set-if", 1, 1, gives="conflict"),
        op(9, 10, "set-if", 1, 2, gives=3),
        op(11, 12, "commit", 8, gives="done"),
        op(13, 14, "get", gives=(4, 8)),
        op(15, 16, "delete", gives="done"),
        op(17, 18, "get", gives=(0, None)),
        op(19, 20, "set", 3, gives=1),
    ]
    verdict = linearize(history, REGISTER)
    assert verdict.is_linearizable
    assert list(verdict.order) == history


def test_what_overlaps_may_have_happened_in_any_order():
    assert holds(op(1, 6, "set", 1, gives=2), op(2, 5, "set", 2, gives=1))
    assert holds(op(1, 6, "get", gives=(1, 2)), op(2, 5, "set", 2, gives=1))


@pytest.mark.parametrize(
    ("why", "history"),
    [
        ("a stale read", [op(1, 2, "set", 1, gives=1), op(3, 4, "get", gives=(0, None))]),
        ("a read of the future", [op(1, 2, "get", gives=(1, 1)), op(3, 4, "set", 1, gives=1)]),
        ("a lost update", [op(1, 2, "set", 1, gives=1), op(3, 6, "add", 1, gives=2),
                           op(4, 7, "add", 1, gives=2)]),
        ("two winners", [op(1, 4, "set-if", 1, 0, gives=1), op(2, 5, "set-if", 2, 0, gives=1)]),
        ("a needless conflict", [op(1, 2, "set-if", 1, 0, gives="conflict")]),
        ("an update of a state that was deleted", [
            op(1, 2, "set", 1, gives=1), op(3, 10, "add", 1, gives=2), op(4, 5, "delete",
            gives="done"), op(6, 7, "set", 9, gives=1), op(8, 9, "get", gives=(1, 9)),
            op(11, 12, "get", gives=(2, 2))]),
        ("a version left out", [op(1, 2, "set", 1, gives=2)]),
        ("a write undone", [op(1, 2, "set", 1, gives=1), op(3, 8, "set", 2, gives=2),
                            op(4, 5, "get", gives=(2, 2)), op(6, 7, "get", gives=(1, 1))]),
    ],
)  # fmt: skip
def test_what_no_order_explains_is_found(why, history):
    assert not holds(*history), why


def test_what_has_no_answer_may_have_happened_or_not():
    write = op(1, None, "set", 5, gives=UNKNOWN)
    assert holds(write, op(2, 3, "get", gives=(0, None)), op(4, 5, "get", gives=(1, 5)))
    assert holds(write, op(2, 3, "get", gives=(0, None)))
    assert not holds(write, op(2, 3, "get", gives=(1, 5)), op(4, 5, "get", gives=(0, None)))


def test_what_changes_nothing_at_first_may_still_change_something_later():
    delete = op(1, 9, "delete", gives="done")
    assert holds(delete, op(2, 3, "set", 1, gives=1), op(10, 11, "get", gives=(0, None)))
    add = op(1, None, "add", 1, gives=UNKNOWN)
    assert holds(add, op(2, 3, "set", 1, gives=1), op(4, 5, "get", gives=(2, 2)))


def test_a_lock_has_one_holder_and_greater_fences():
    def two(first, second):
        return [
            op(1, 2, "acquire", gives=first), op(3, 4, "release", first, gives="done"),
            op(5, 6, "acquire", gives=second), op(7, 8, "release", second, gives="done"),
        ]  # fmt: skip

    assert holds(*two(4, 9), spec=LOCK)
    assert not holds(*two(4, 4), spec=LOCK)
    assert not holds(*two(9, 4), spec=LOCK)
    assert not holds(op(1, 2, "acquire", gives=1), op(3, 4, "acquire", gives=2), spec=LOCK)
    given_up = op(3, None, "acquire", gives=UNKNOWN)
    assert holds(op(1, 2, "acquire", gives=1), given_up, spec=LOCK)
    assert not holds(op(1, 2, "release", 1, gives="done"), spec=LOCK)


def random_history(size, clients, seed):
    """What clients of a right register could see."""
    rng, clock = random.Random(seed), count(1)
    version, value = 0, None
    asked = {}
    history = []
    while len(history) < size:
        client = rng.randrange(clients)
        if client not in asked:
            kinds = [("get",), ("set", rng.randrange(9)), ("add", 1), ("commit", rng.randrange(9)),
                     ("set-if", rng.randrange(9), max(0, version - rng.randrange(2)))]  # fmt: skip
            asked[client] = [rng.choice(kinds), next(clock), UNKNOWN]
            continue
        call, invoked, answer = asked[client]
        if answer is UNKNOWN:
            before = (version, value)
            answer = {"get": before, "commit": "done", "add": "absent", "set-if": "conflict"}.get(
                call[0]
            )
            changes = {"get": False, "add": value is not None,
                       "set-if": call[-1] == version}.get(call[0], True)  # fmt: skip
            if changes:
                version += 1
                value = value + 1 if call[0] == "add" else call[1]
                answer = {"add": value, "commit": "done"}.get(call[0], version)
            asked[client][2] = answer
            next(clock)
        else:
            history.append(Operation(f"c{client}", call, answer, invoked, next(clock)))
            del asked[client]
    open_ones = [
        Operation(f"c{client}", call, UNKNOWN, invoked, None)
        for client, (call, invoked, _) in asked.items()
    ]
    return history + open_ones


@pytest.mark.parametrize("seed", range(5))
def test_1600_operations_of_eight_clients_take_a_few_thousand_steps(seed):
    verdict = linearize(random_history(1600, 8, seed), REGISTER)
    assert verdict.is_linearizable
    assert verdict.tried < 20_000


@pytest.mark.parametrize("seed", range(5))
def test_one_wrong_answer_among_1600_is_found(seed):
    history = random_history(1600, 8, seed)
    wrong = next(i for i, one in enumerate(history) if i > 800 and one.call[0] == "set")
    one = history[wrong]
    history[wrong] = Operation(one.client, one.call, one.answer + 20, one.invoked, one.returned)
    verdict = linearize(history, REGISTER)
    assert not verdict.is_linearizable
    assert verdict.stuck
    assert "none of these can be next" in "\n".join(verdict.lines())


def test_a_search_that_would_cost_too_much_is_no_answer():
    many = [op(n, 100 + n, "commit", n, gives="done") for n in range(30)]
    with pytest.raises(Undecided, match="record a shorter history"):
        linearize([*many, op(200, 201, "get", gives=(30, 99))], REGISTER, limit=1000)


ANSWERS = st.sampled_from(
    [
        (("set", 1), 1), (("set", 2), 2), (("add", 1), 2), (("add", 1), "absent"),
        (("get",), (0, None)), (("get",), (1, 1)), (("get",), (2, 2)), (("commit", 3), "done"),
        (("set-if", 3, 1), 2), (("set-if", 3, 1), "conflict"), (("commit", 1), UNKNOWN),
    ]
)  # fmt: skip


@st.composite
def histories(draw):
    taken = draw(st.lists(ANSWERS, min_size=1, max_size=5))
    moments = draw(st.permutations(range(2 * len(taken))))
    return [
        Operation("c", call, answer, min(pair), None if answer is UNKNOWN else max(pair))
        for (call, answer), pair in zip(taken, zip(*[iter(moments)] * 2, strict=True), strict=True)
    ]


def some_order(history):
    """The definition, word for word."""
    unsure = [one for one in history if one.returned is None]
    sure = [one for one in history if one.returned is not None]
    return any(
        fits(order)
        for extra in ([], unsure[:1], unsure[1:2], unsure)
        for order in permutations(sure + extra)
    )


def fits(order):
    state = REGISTER.initial
    for index, one in enumerate(order):
        late = (
            other.returned is not None and other.returned < one.invoked for other in order[index:]
        )
        if any(late) or (state := REGISTER.step(state, one.call, one.answer)) is None:
            return False
    return True


@given(histories().filter(lambda h: sum(one.returned is None for one in h) < 3))
@settings(deadline=None, max_examples=150)
def test_the_search_says_what_the_definition_says(history):
    assert holds(*history) == some_order(history)


def test_a_bad_history_is_told_up_to_where_it_goes_wrong():
    history = [op(n, n + 1, "set", n, gives=(n + 1) // 2) for n in range(1, 60, 2)]
    history.insert(10, op(200, 201, "get", gives=(0, None)))
    history.append(op(300, 301, "get", gives=(0, None)))
    with pytest.raises(Counterexample) as caught:
        assert_linearizable(history, REGISTER, "a register")
    assert "the first 31 have no order" in str(caught.value)
    assert "[ 200 -  201]" in caught.value.program
    assert "[ 300" not in caught.value.program


def test_clients_of_one_runtime_are_recorded_with_what_they_were_answered():
    async def scenario():
        history = History()
        async with LocalRuntime() as runtime, trio.open_nursery() as nursery:

            async def hold(client):
                async with history.holding(client, runtime, "ledger"):
                    await trio.lowlevel.checkpoint()

            async def fail():
                raise NetworkError("away")

            for client in ("one", "two"):
                nursery.start_soon(hold, client)
            with pytest.raises(NetworkError):
                await history.record("three", ("acquire",), fail())
        return history.operations

    operations = trio.run(scenario)
    assert linearize(operations, LOCK).is_linearizable
    assert sorted(one.call[0] for one in operations) == ["acquire"] * 3 + ["release"] * 2
    assert [one.answer for one in operations if one.returned is None] == [UNKNOWN]


def test_a_client_that_was_cancelled_leaves_it_open_whether_it_was_served():
    async def scenario():
        history = History()
        async with LocalRuntime() as runtime, runtime.lock("ledger"):

            async def wait():
                async with history.holding("late", runtime, "ledger"):
                    raise AssertionError("it is held")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        return history.operations

    (operation,) = trio.run(scenario)
    assert (operation.returned, operation.answer) == (None, UNKNOWN)
