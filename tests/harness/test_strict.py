"""Each hostility finds the processor that assumes what it takes away; honest processors pass."""

import random
import threading
import time
from collections import deque
from typing import Any
from uuid import uuid4

import pytest
import trio
from trio.testing import MockClock

from am2z import (
    AppState,
    BusinessError,
    ConfigurationError,
    Context,
    Processor,
    RetryPolicy,
    RuntimeConfig,
    ValidationError,
    chain,
    parallel,
    processor,
)
from harness import BrokenAssumption, Effects
from harness.strict import Assumption, Strict


class Order(AppState):
    items: list[str] = []  # noqa: RUF012 - msgspec copies it
    total: float = 0.0
    note: str = ""
    extra: Any = None


@pytest.fixture
def strict():
    return Strict(seed=7, replay="pytest this")


def found_by(call):
    with pytest.raises(BrokenAssumption) as caught:
        call()
    return {finding.assumption: finding.message for finding in caught.value.findings}, str(
        caught.value
    )


# --- well-behaved


@processor(retry=RetryPolicy(max_attempts=3, backoff=30.0))
async def price(state: Order, ctx: Context) -> Order:
    await trio.sleep(1)
    if ctx.metadata.attempt == 1 and "rare" in state.items:
        raise ConnectionError("the price list did not answer")
    ctx.update_progress(50)
    await ctx.emit("priced", {"items": state.items})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 2)
        nursery.start_soon(trio.lowlevel.checkpoint)
    return state.evolve(total=49.0 * len(state.items), note=f"by {ctx.execution_id}")


@processor
def pack(state: Order, ctx: Context) -> Order:
    ctx.update_progress(10)
    return state.evolve(note="packed")


@processor
def pack_and_price(state: Order, ctx: Context) -> Order:
    return ctx.call("price", state).unwrap()


@processor
async def sell(state: Order, ctx: Context) -> Order:
    priced = await ctx.call(price, state)
    packed = await ctx.call("pack", priced.unwrap())
    with trio.move_on_after(0.5):
        await trio.sleep(3)
    return packed.unwrap()


checkout = chain("checkout", [price, pack])
both = parallel("both", [price, pack], merge=lambda state, results: results[0])


@pytest.mark.parametrize(
    ("well_behaved", "calls"),
    [
        (price, []),
        (pack, []),
        (pack_and_price, [price]),
        (sell, [price, pack]),
        (checkout, []),
        (both, []),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_well_behaved_processor_passes(strict, well_behaved, calls):
    strict.check(well_behaved, Order(items=["chair"]), Order(items=["rare", "desk"]), calls=calls)


def test_a_processor_that_is_meant_to_fail_may(strict):
    @processor
    async def refuse(state: Order, ctx: Context) -> Order:
        await trio.sleep(1)
        raise BusinessError("nothing was ordered")

    with pytest.raises(AssertionError, match="fails undisturbed"):
        strict.check(refuse, Order())
    strict.check(refuse, Order(), fails=True)


def test_an_effect_that_is_guarded_by_the_idempotency_key_passes(strict):
    @processor
    async def charge(state: Order, ctx: Context) -> Order:
        await trio.sleep(1)
        strict.effects.record("charge", key=ctx.idempotency_key)
        await trio.sleep(1)
        return state

    strict.check(charge, Order())


def test_a_guard_that_outlives_a_run_passes(strict):
    charges, paid = [], set()

    @processor
    async def charge(state: Order, ctx: Context) -> Order:
        await trio.lowlevel.checkpoint()
        if state.note not in paid:
            paid.add(state.note)
            charges.append(state.total)
        return state

    strict.check(charge, Order(note="bill 7"), effects=charges, shared=["paid"])


# --- each assumption


def test_an_effect_that_happens_twice_is_told(strict):
    @processor
    async def charge(state: Order, ctx: Context) -> Order:
        strict.effects.record("charge 49")
        await trio.sleep(1)
        return state

    found, told = found_by(lambda: strict.check(charge, Order()))
    assert found == {
        Assumption.RUNS_ONCE: "processor 'charge' did its outside effect twice under the same "
        "idempotency_key: guard it with ctx.idempotency_key"
    }
    assert "'charge 49' was done 2 times, and wanted 1" in told
    assert "a worker died after it" in told
    assert told.endswith("Replay: pytest this")


def test_an_effect_that_happens_twice_is_seen_in_a_plain_list(strict):
    charges = []

    @processor
    async def charge(state: Order, ctx: Context) -> Order:
        charges.append(state.total)
        return state

    found, told = found_by(lambda: strict.check(charge, Order(), effects=charges))
    assert list(found) == [Assumption.RUNS_ONCE]
    assert "2 effects instead of 1" in told


def test_looking_first_and_acting_then_is_no_guard(strict):
    charges = {}

    @processor
    async def charge(state: Order, ctx: Context) -> Order:
        if ctx.idempotency_key in charges:
            return state
        await trio.sleep(1)  # the gateway is slow
        strict.effects.record("charge")
        charges[ctx.idempotency_key] = True
        return state

    found, told = found_by(lambda: strict.check(charge, Order(), shared=["charges"]))
    assert list(found) == [Assumption.RUNS_ONCE]
    assert "an older copy of it" in told


def test_an_effect_that_was_marked_before_it_was_done_is_missed(strict):
    done = set()

    @processor
    async def charge(state: Order, ctx: Context) -> Order:
        if ctx.idempotency_key not in done:
            done.add(ctx.idempotency_key)
            await trio.sleep(1)
            strict.effects.record("charge")
        return state

    found, told = found_by(lambda: strict.check(charge, Order(), shared=["done"]))
    assert list(found) == [Assumption.EFFECT_IS_DONE]
    assert "it was cancelled at its checkpoint 1" in told


def test_an_older_copy_with_its_smaller_fence_is_refused_by_what_looks_at_fences(strict):
    written = []

    @processor
    async def write(state: Order, ctx: Context) -> Order:
        await trio.sleep(1)
        if strict.effects.record("write", fence=ctx.fence):
            written.append(ctx.fence)
        return state

    with pytest.raises(BrokenAssumption):  # a fence is no key: what is delivered again writes again
        strict.check(write, Order(), shared=["written"])
    assert len(set(written)) > 1


@pytest.mark.parametrize(
    "source", [time.time, random.random, lambda: str(uuid4())], ids=["time", "random", "uuid"]
)
def test_a_result_that_depends_on_what_is_outside_is_told(strict, source):
    @processor
    async def stamp(state: Order, ctx: Context) -> Order:
        return state.evolve(extra=source())

    found, told = found_by(lambda: strict.check(stamp, Order()))
    assert found == {
        Assumption.RESULT_IS_REPEATABLE: "result of processor 'stamp' differs when run again: it "
        "depends on something outside its state (time, random, a global)"
    }
    assert "at path extra" in told
    strict.check(stamp, Order(), ignore=["extra"])


def test_executions_that_share_a_variable_across_a_wait_are_told(strict):
    class Client:
        current = ""

    @processor
    async def use(state: Order, ctx: Context) -> Order:
        Client.current = state.note
        await trio.sleep(1)
        return state.evolve(items=[Client.current])

    found, told = found_by(lambda: strict.check(use, Order(note="a"), Order(note="b")))
    assert list(found) == [Assumption.ALONE]
    assert "others ran at the same time" in told


count = 0
recent: deque[str] = deque(maxlen=3)


@processor
async def counts(state: Order, ctx: Context) -> Order:
    global count  # noqa: PLW0603 - what must not be done
    count += 1
    return state


def remember(text):
    recent.append(text)


@processor
async def remembers(state: Order, ctx: Context) -> Order:
    remember(ctx.execution_id)
    return state


def test_a_variable_of_the_module_that_is_changed_is_named(strict):
    found, _ = found_by(lambda: strict.check(counts, Order()))
    assert found == {
        Assumption.OWNS_THE_MODULE: "processor 'counts' mutated the variable 'count', which is "
        "outside its state"
    }
    strict.check(counts, Order(), shared=["count"])


def test_a_variable_that_is_changed_by_a_function_beside_it_is_named(strict):
    found, _ = found_by(lambda: strict.check(remembers, Order()))
    assert "the variable 'recent'" in found[Assumption.OWNS_THE_MODULE]


def test_an_object_of_the_enclosing_function_that_is_changed_is_named(strict):
    seen = {}

    @processor
    async def note(state: Order, ctx: Context) -> Order:
        seen.setdefault("orders", []).append(state.note)
        return state

    found, _ = found_by(lambda: strict.check(note, Order()))
    assert "the variable 'seen'" in found[Assumption.OWNS_THE_MODULE]


def swallow_and_return(error):
    return None


def swallow_and_fail(error):
    raise ValueError("it was cancelled") from error


@pytest.mark.parametrize("instead", [swallow_and_return, swallow_and_fail])
def test_a_swallowed_cancellation_is_told(strict, instead):
    @processor
    async def stubborn(state: Order, ctx: Context) -> Order:
        try:
            await trio.sleep(1)
        except BaseException as error:
            instead(error)
        return state

    found, told = found_by(lambda: strict.check(stubborn, Order()))
    assert found[Assumption.FINISHES].startswith("processor 'stubborn' swallowed Cancelled")
    assert "it was cancelled at its checkpoint 1" in told


def test_cleaning_up_in_a_shielded_block_is_not_swallowing(strict):
    @processor
    async def careful(state: Order, ctx: Context) -> Order:
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)
        return state

    strict.check(careful, Order())


def test_a_task_that_goes_on_is_told(strict):
    @processor
    async def launch(state: Order, ctx: Context) -> Order:
        trio.lowlevel.spawn_system_task(trio.sleep, 0.5, name="mailer")
        return state

    found, _ = found_by(lambda: strict.check(launch, Order()))
    assert found == {
        Assumption.CLEANS_UP: "processor 'launch' kept a task running after it returned: "
        "task 'mailer'"
    }


def test_a_thread_that_goes_on_is_told(strict):
    end = threading.Event()

    @processor
    async def launch(state: Order, ctx: Context) -> Order:
        threading.Thread(target=end.wait, args=(30.0,), name="mailer", daemon=True).start()
        return state

    try:
        found, _ = found_by(lambda: strict.check(launch, Order()))
    finally:
        end.set()
    assert "thread 'mailer'" in found[Assumption.CLEANS_UP]


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda ctx: ctx.emit("late", {}), "emitted 'late'"),
        (lambda ctx: ctx.update_progress(1), "told its progress"),
    ],
)
def test_a_context_that_is_used_after_its_end_is_told(strict, use, what):
    kept = []

    @processor
    async def keep(state: Order, ctx: Context) -> Order:
        if kept:
            use(kept[-1])
        kept.append(ctx)
        return state

    found, _ = found_by(lambda: strict.check(keep, Order(), shared=["kept"]))
    assert found == {
        Assumption.CONTEXT_LIVES: f"processor 'keep' used ctx after it returned: {what}"
    }


def test_a_state_that_comes_back_different_is_told_with_its_path(strict):
    @processor
    async def place(state: Order, ctx: Context) -> Order:
        return state.evolve(extra={"where": (1, 2)})

    found, _ = found_by(lambda: strict.check(place, Order()))
    assert found == {
        Assumption.STATE_CROSSES: "state of processor 'place' does not survive the wire at path "
        "extra['where']: (1, 2) and [1, 2]"
    }
    found, _ = found_by(lambda: strict.check(price, Order(extra=[{1, 2}])))
    assert "extra[0]: {1, 2} and [1, 2]" in found[Assumption.STATE_CROSSES]


def test_a_state_that_cannot_cross_is_refused_as_everywhere(strict):
    with pytest.raises(ValidationError, match="extra"):
        strict.check(price, Order(extra=object()))


def test_waiting_by_looking_at_the_clock_is_told(strict):
    @processor
    async def poll(state: Order, ctx: Context) -> Order:
        end = trio.current_time() + 1.0
        while trio.current_time() < end:
            await trio.lowlevel.checkpoint()
        return state

    with pytest.raises(BrokenAssumption, match="'poll' waits by looking at the clock"):
        strict.check(poll, Order())


def test_one_that_cannot_run_twice_is_told(strict):
    files = set()

    @processor
    async def create(state: Order, ctx: Context) -> Order:
        if ctx.execution_id in files:
            raise FileExistsError(ctx.execution_id)
        files.add(ctx.execution_id)
        await trio.lowlevel.checkpoint()
        return state

    found, _ = found_by(lambda: strict.check(create, Order(), shared=["files"]))
    assert list(found) == [Assumption.SUCCEEDS_AGAIN]
    assert "FileExistsError" in found[Assumption.SUCCEEDS_AGAIN]


def test_what_a_called_processor_assumes_is_told_under_its_own_name(strict):
    @processor
    async def charge(state: Order, ctx: Context) -> Order:
        strict.effects.record("charge")
        return state.evolve(extra=(1,))

    @processor
    async def order(state: Order, ctx: Context) -> Order:
        return (await ctx.call("charge", state)).unwrap()

    found, _ = found_by(lambda: strict.check(order, Order(), calls=[charge]))
    assert "'charge'" in found[Assumption.RUNS_ONCE]
    assert "'charge'" in found[Assumption.STATE_CROSSES]


def test_all_that_is_wrong_is_told_at_once(strict):
    @processor
    async def bad(state: Order, ctx: Context) -> Order:
        global count  # noqa: PLW0603 - what must not be done
        count += 1
        strict.effects.record("x")
        return state.evolve(total=random.random())

    found, told = found_by(lambda: strict.check(bad, Order()))
    assert set(found) == {
        Assumption.OWNS_THE_MODULE,
        Assumption.RUNS_ONCE,
        Assumption.RESULT_IS_REPEATABLE,
    }
    assert told.startswith("3 broken assumptions\n")


# --- how it is called


@pytest.mark.parametrize("arguments", [(), (price,), (Order(),), (lambda s, c: s, Order())])
def test_what_is_no_processor_with_states_is_refused(strict, arguments):
    with pytest.raises(ConfigurationError, match="at least one state"):
        strict.check(*(arguments or (None,)))


def test_a_check_inside_an_async_test_is_refused_with_what_to_write(strict):
    async def main():
        with pytest.raises(ConfigurationError, match="async with am2z_strict_runtime"):
            strict.check(price, Order())

    trio.run(main)


def test_the_same_seed_treats_executions_the_same():
    def hostilities(seed):
        met = []

        @processor
        async def spy(state: Order, ctx: Context) -> Order:
            met.append((state.note, ctx.fence, ctx.metadata.attempt))
            await trio.sleep(1)
            await trio.sleep(1)
            return state

        async def main():
            async with Strict(seed)(spy, shared=["met"]) as runtime:
                for number in range(10):
                    await runtime.execute(spy, Order(note=str(number)))

        trio.run(main, clock=MockClock(autojump_threshold=0))
        return met

    assert hostilities(1) == hostilities(1)
    assert hostilities(1) != hostilities(2)


# --- as a runtime


def as_runtime(strict, *processors, **options):
    """Run a block on a strict runtime, in virtual time."""

    def run(block):
        async def main():
            async with strict(*processors, **options) as runtime:
                await block(runtime)

        trio.run(main, clock=MockClock(autojump_threshold=0))

    return run


def test_a_strict_runtime_is_a_runtime(strict):
    async def block(runtime):
        results = await runtime.execute_many(
            price, [Order(items=["x"] * n) for n in range(20)], "s"
        )
        assert [result.unwrap().total for result in results] == [49.0 * n for n in range(20)]
        assert (await runtime.state.get("s")).version == 20
        assert (await runtime.queue_stats())["price"].completed == 20
        assert (await runtime.execute(sell, Order(items=["chair"]))).unwrap().note == "packed"

    as_runtime(strict, price, pack, sell)(block)


def test_its_events_obey_the_grammar_and_come_before_the_result(strict):
    seen = {}

    async def block(runtime):
        runtime.on("*", lambda event: seen.setdefault(event.execution_id, []).append(event.type))
        results = await runtime.execute_many(price, [Order(items=["x"])] * 10)
        for result in results:
            told = [name for name in seen[result.metadata.execution_id] if ":" in name]
            assert told[0] == "processor:active"
            assert told[-2:] == ["processor:completed", "queue:completed"]
            assert set(told[1:-2]) == {"processor:progress"}

    as_runtime(strict, price)(block)


def test_events_of_a_running_execution_come_while_it_runs(strict):
    began = trio.Event

    async def block(runtime):
        active = began()
        runtime.on("processor:active", lambda event: active.set())
        handle = await runtime.submit(price, Order(items=["x"]))
        await active.wait()
        assert (await handle.result()).success

    as_runtime(strict, price)(block)


def test_executions_of_one_processor_in_one_session_begin_in_order(strict):
    begun = []

    @processor
    async def follow(state: Order, ctx: Context) -> Order:
        if ctx.idempotency_key not in begun:
            begun.append(ctx.idempotency_key)
        await trio.sleep(1)
        return state

    async def block(runtime):
        handles = [await runtime.submit(follow, Order(), "s") for _ in range(10)]
        for handle in handles:
            await handle.result()
        assert begun == [handle.execution_id for handle in handles]

    as_runtime(strict, follow, shared=["begun"])(block)


def test_what_it_finds_is_told_at_the_end_of_the_block(strict):
    @processor
    async def charge(state: Order, ctx: Context) -> Order:
        strict.effects.record("charge")
        return state.evolve(total=random.random())

    async def block(runtime):
        for _ in range(10):
            assert (await runtime.execute(charge, Order())).success

    found, told = found_by(lambda: as_runtime(strict, charge)(block))
    assert set(found) == {Assumption.RUNS_ONCE, Assumption.RESULT_IS_REPEATABLE}
    assert "Replay: pytest this" in told


def test_an_error_of_the_block_comes_out_as_it_is(strict):
    async def block(runtime):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        as_runtime(strict, price)(block)


def test_timeouts_and_retries_hold_as_ever(strict):
    @processor(timeout=2.0, retry=RetryPolicy(max_attempts=2, backoff=10.0))
    async def slow(state: Order, ctx: Context) -> Order:
        await trio.sleep(5 if ctx.metadata.attempt == 1 else 1)
        return state.evolve(note=str(ctx.metadata.attempt))

    async def block(runtime):
        result = await runtime.execute(slow, Order())
        assert result.unwrap().note == "2"

    as_runtime(strict, slow)(block)
    strict.check(slow, Order())


def test_a_plain_def_that_takes_real_time_hits_no_virtual_timeout(strict):
    @processor(timeout=5.0)
    def slow(state: Order, ctx: Context) -> Order:
        time.sleep(0.002)
        return state.evolve(note="done")

    strict.check(slow, Order())


def test_real_time_can_be_asked_for(strict):
    @processor(timeout=20.0)
    async def in_a_thread(state: Order, ctx: Context) -> Order:
        await trio.to_thread.run_sync(time.sleep, 0.0005)
        return state

    strict.check(in_a_thread, Order(), real_time=True, config=RuntimeConfig(default_timeout=20.0))


def test_the_outside_stands_for_a_system_that_honours_keys_and_fences():
    outside = Effects()
    assert outside.record("a", key="1")
    assert not outside.record("a", key="1")
    assert outside.record("b", key="1")
    assert outside.record("c", fence=3)
    assert not outside.record("c", fence=2)
    assert list(outside) == ["a", "b", "c"]
    assert len(outside) == 3
    outside.clear()
    assert outside.record("a", key="1")


def test_the_fixture_is_there(am2z_strict_runtime):
    am2z_strict_runtime.check(price, Order(items=["chair"]))
    assert isinstance(price, Processor)
