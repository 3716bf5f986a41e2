"""Ten mistakes by somebody who had read the documents and the library, and not the suite.

Promises were drawn from a list of them, and one mistake was written for each. The rules that they
name were given to them afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z import compose
from am2z.bus import EventBus
from am2z.local.engine import Engine
from am2z.local.handle import LocalHandle
from am2z.queue import run, shard
from am2z.runtime import RuntimeMixin
from am2z.statestore import BaseStateManager
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, script

__all__: list[str] = []


@mutant("update-never-renews-the-ttl", rule="STA-032")
@contextmanager
def update_never_renews_the_ttl() -> Iterator[None]:
    """``state.update`` keeps the state's time to live also where the runtime has a ``state_ttl``.

    am2z/state.py, StateManager.update: "The state's time to live stays what it is, unless the
    runtime has a ``state_ttl``, which begins anew with each write."
    """
    with edit(BaseStateManager, "update", "keeps_ttl=self._ttl is None,", "keeps_ttl=True,"):
        yield


@mutant("large-event-of-a-processor-is-sent", rule="EVT-018", base="queue")
@contextmanager
def large_event_of_a_processor_is_sent() -> Iterator[None]:
    """``ctx.emit`` looks only whether the data can cross, and not how large they are.

    docs/guarantees.md, Events: "The data of one event may be 64 KB; more is a
    ``PayloadTooLargeError`` where it is emitted."
    """
    with edit(run, "pack_event", "encode_event(data)", "encode_mapping(data)"):
        yield


@mutant("impatient-waiter-cancels-the-execution", rule="EXE-026")
@contextmanager
def impatient_waiter_cancels_the_execution() -> Iterator[None]:
    """Who is cancelled while it waits in ``handle.result()`` takes the execution with it.

    docs/concepts.md, Runtimes: "``submit`` gives a handle with ``result()``, ``progress()`` and
    ``cancel()``; the execution goes on without its submitter."
    """
    with edit(
        LocalHandle,
        "result",
        "    await self._done.wait()\n",
        "    try:\n"
        "        await self._done.wait()\n"
        "    except trio.Cancelled:\n"
        "        if self._execution is not None:\n"
        "            self._execution.end_with(\n"
        "                ExecutionCancelledError(f'nobody waits for {self._id} any more')\n"
        "            )\n"
        "        raise\n",
    ):
        yield


@mutant("all-delayed-begin-with-the-first", rule="EXE-042", base="queue")
@contextmanager
def all_delayed_begin_with_the_first() -> Iterator[None]:
    """When one delayed execution is due, those that are due later begin with it.

    docs/concepts.md, Runtimes: "``delay`` (seconds) or ``at`` (a ``datetime`` with a time zone, or
    seconds since the epoch) let it begin later."
    """
    with script("_promote", "'-inf', int(now_ms()), 'LIMIT'", "'-inf', '+inf', 'LIMIT'"):
        yield


@mutant("many-results-as-they-come", rule="EXE-004")
@contextmanager
def many_results_as_they_come() -> Iterator[None]:
    """``execute_many`` answers the results in the order in which the executions end.

    am2z/runtime.py, Runtime.execute_many: "The results come in the order of what was given". The
    example in docs/concepts.md, Runtimes, prints them in that order.
    """
    with edit(
        RuntimeMixin,
        "execute_many",
        "results[index] = await self.execute(ref, state, session_id)",
        "results.append(await self.execute(ref, state, session_id))",
    ):
        yield


@mutant("nothing-conflicts-with-an-empty-value", rule="EXE-033", base="queue")
@contextmanager
def nothing_conflicts_with_an_empty_value() -> Iterator[None]:
    """Where a branch emptied a field (0, "", False, []), a later branch that changed it wins.

    docs/concepts.md, Composition: "without ``merge`` the fields that a branch changed win, and two
    branches that changed one field differently are an error".
    """
    with edit(
        compose, "_merge_changes", "if name in changes and not", "if changes.get(name) and not"
    ):
        yield


@mutant("calls-leave-the-picture-of-their-session", rule="SES-005")
@contextmanager
def calls_leave_the_picture_of_their_session() -> Iterator[None]:
    """``session_stats`` counts what callers asked for; an ended call is not counted any more.

    am2z/runtime.py, RuntimeCore.session_stats: "One picture for each processor that the session
    used."
    """
    with (
        edit(
            Engine,
            "_succeed",
            "if execution.session is not None:\n",
            "if execution.session is not None and execution.depth == 0:\n",
        ),
        edit(
            Engine,
            "_fail",
            "if execution.session is not None:\n",
            "if execution.session is not None and execution.depth == 0:\n",
        ),
    ):
        yield


@mutant("end-overtakes-the-events", rule="EVT-008", base="queue")
@contextmanager
def end_overtakes_the_events() -> Iterator[None]:
    """The end of an attempt does not wait for what its processor emitted without awaiting it.

    docs/concepts.md, Events: "When ``execute`` or ``handle.result()`` answers, the handlers of this
    runtime have had the events of that execution."
    """
    with edit(
        run.Run,
        "_end",
        "    if self._outbox is not None:\n        await self._outbox.flush()\n",
        "",
    ):
        yield


@mutant("async-handler-taken", rule="EVT-007")
@contextmanager
def async_handler_taken() -> Iterator[None]:
    """``on`` takes an ``async def`` for a handler, and nobody ever awaits what it returns.

    am2z/runtime.py, RuntimeCore.on: "Raises ``ConfigurationError`` for what is no plain function of
    one event, and for an illegal name."
    """
    with edit(
        EventBus, "on", "inspect.iscoroutinefunction(handler)", "inspect.iscoroutine(handler)"
    ):
        yield


@mutant("handlers-deaf-after-a-restart", rule="LIF-006", base="queue")
@contextmanager
def handlers_deaf_after_a_restart() -> Iterator[None]:
    """After a ``stop()`` and a ``start()`` the handlers given before have no events of executions.

    docs/concepts.md, Runtimes: "Inside the block ``start()`` and ``stop()`` may be called as often
    as you like. [...] when it starts again it knows all that it knew."
    """
    with edit(
        shard,
        "_running",
        "if common.bus.is_listening:",
        "if common.bus.is_listening and len(common.heard.lives) == 1:",
    ):
        yield
