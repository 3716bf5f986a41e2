"""Ten that the suite had never met: places of the promises by lot, the first mistake for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from am2z import codec, executor
from am2z import state as states
from am2z.admission import Admission
from am2z.base import BaseRuntime
from am2z.bus import EventBus
from am2z.context import Context
from am2z.executor import Outcome
from am2z.local import engine
from am2z.local.runtime import LocalRuntime
from am2z.queue.runtime import QueueRuntime
from am2z.result import Failure
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


# --- local


@mutant("nested-state-classes-mixed-up", rule="STA-031")
@contextmanager
def nested_state_classes_mixed_up() -> Iterator[None]:
    """A class is known by its module and its bare name: of two nested ones the later one is read.

    concepts.md, State: "On the wire a class is known by its module and its name"; contract.md,
    Forms: "each AppState subclass is known by module:qualname, stored beside the data".
    """

    def bare(name: str) -> tuple[str, str]:
        module, _, qualname = name.partition(":")
        return module, qualname.rpartition(".")[2]

    def find(name: str) -> Any:
        known = reversed(states._classes.items())
        return next((cls for other, cls in known if bare(other) == bare(name)), None)

    with patch(codec, "find_state_class", find):
        yield


@mutant("failed-result-took-no-time", rule="EXE-010")
@contextmanager
def failed_result_took_no_time() -> Iterator[None]:
    """The result of a failed execution says 0 seconds; only a success tells its time.

    concepts.md, Processors: "execute answers with a ProcessorResult: success, state, error,
    execution_time, metadata"; the class: "the time in seconds that the last attempt took".
    """
    right = "error=outcome.error,\n        execution_time=outcome.elapsed,"
    with (
        edit(executor, "to_result", right, "error=outcome.error,"),
        patch(engine, "to_result", executor.to_result),  # which has it by its own name
    ):
        yield


@mutant("returned-failure-is-final", rule="ERR-024")
@contextmanager
def returned_failure_is_final() -> Iterator[None]:
    """The retry policy is asked about what a processor raises, not about a Failure it returns.

    concepts.md, Processors: "returns the new state, or Success(state), or Failure(error), or
    raises", and "With one, an error that is retryable is tried again".
    """
    call, judge, next_delay = executor._call, executor._judge, Outcome.next_delay
    returned: list[Failure[Any]] = []
    final: list[BaseException] = []

    async def note(processor: Any, state: Any, ctx: Context) -> Any:
        answer = await call(processor, state, ctx)
        if isinstance(answer, Failure):
            returned.append(answer)
        return answer

    def judge_and_note(processor: Any, given: Any, answer: Any) -> Outcome[Any]:
        outcome = judge(processor, given, answer)
        if any(answer is one for one in returned) and outcome.error is not None:
            returned[:] = [one for one in returned if one is not answer]
            final.append(outcome.error)
        return outcome

    async def delay_of_what_was_raised(
        self: Outcome[Any], processor: Any, attempt: int
    ) -> float | None:
        if any(self.error is one for one in final):
            final[:] = [one for one in final if one is not self.error]
            return None
        return await next_delay(self, processor, attempt)

    with (
        patch(executor, "_call", note),
        patch(executor, "_judge", judge_and_note),
        patch(Outcome, "next_delay", delay_of_what_was_raised),
    ):
        yield


@mutant("handler-error-swallowed", rule="EVT-009")
@contextmanager
def handler_error_swallowed() -> Iterator[None]:
    """What an event handler raises is dropped without a word in any log.

    contract.md, Runtime: "A handler that raises is logged and hurts nobody"; concepts.md, Events,
    says the same.
    """
    right = '_log.exception("the handler %r of %r raised", handler, event.type)'
    with edit(EventBus, "publish", right, "pass"):
        yield


@mutant("no-metrics-after-restart", rule="EVT-005")
@contextmanager
def no_metrics_after_restart() -> Iterator[None]:
    """The task that tells the metrics is started once for a runtime, not again after a stop.

    concepts.md, Events: "metrics:collected | every metrics_interval"; contract.md: start() and
    stop() are "idempotent and restartable".
    """
    right = BaseRuntime._collect_metrics

    async def collect_once(self: BaseRuntime, interval: float) -> None:
        if "_is_collecting" not in vars(self):
            vars(self)["_is_collecting"] = True
            await right(self, interval)

    with patch(LocalRuntime, "_collect_metrics", collect_once):
        yield


# --- queue


@mutant("waiting-work-sorted-by-id", rule="EXE-013", base="queue")
@contextmanager
def waiting_work_sorted_by_id() -> Iterator[None]:
    """Work that waits in a session has no order but that of its random ids, as with equal scores.

    README.md, What it promises: "Work of one processor in one session starts in the order in which
    it came, unless it is delayed or a priority says otherwise."
    """
    right = "local list = P .. 'w:' .. proc .. ':' .. group"
    by_id = "call('SORT', list, 'ALPHA', 'DESC', 'STORE', list)"  # the next one is at the right end
    with script("claim", right, f"{right}\n      {by_id}"):
        yield


@mutant("own-prefixes-open-to-runtime-emit", rule="EVT-019", base="queue")
@contextmanager
def own_prefixes_open_to_runtime_emit() -> Iterator[None]:
    """runtime.emit takes the names of the runtime's own events; only ctx.emit refuses them.

    concepts.md, Events: "The prefixes of the runtime's own events cannot be used by others."
    """
    with edit(QueueRuntime, "emit", "check_event_name(event)", "check_name(event, 'event')"):
        yield


@mutant("batch-items-share-a-key", rule="EXE-051", base="queue")
@contextmanager
def batch_items_share_a_key() -> Iterator[None]:
    """A step's key is the execution's and the step's name: all items of a batch share it.

    guarantees.md, Effects outside: the key "is the same in every attempt and every delivery of an
    execution, and in no other; a step that a composition runs in place has one of its own."
    """
    right = 'path=f"{self.path}/s{label}"'
    with edit(Context, "step", right, 'path=f"{self.path}/{metadata.processor_name}"'):
        yield


@mutant("promotion-drops-what-is-over-its-limit", rule="EXE-042", base="queue")
@contextmanager
def promotion_drops_what_is_over_its_limit() -> Iterator[None]:
    """Due work is made ready 100 at a time, and all that is due is struck off: the rest never runs.

    guarantees.md: "At least once. An accepted execution runs until it has an end."
    """
    right = "call('ZREM', P .. 'delayed', id)"
    all_due = "call('ZREMRANGEBYSCORE', P .. 'delayed', '-inf', int(now_ms()))"
    with script("_promote", right, all_due):
        yield


@mutant("calls-of-any-size", rule="ERR-025", base="queue")
@contextmanager
def calls_of_any_size() -> Iterator[None]:
    """max_payload_bytes is checked for what callers ask for, and forgotten for nested calls.

    guarantees.md, The settings behind it: "the largest encoded state. A larger one is refused at
    the door with PayloadTooLargeError, which is raised".
    """
    right = "self.admit(name, state, ctx.session_id)"
    unbounded = "Admission(self._registry, 2**62).admit(name, state, ctx.session_id)"
    with edit(Admission, "admit_child", right, unbounded):
        yield
