"""Events: who is told, and of what, in one form of many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z import bus, codec, context
from am2z.base import BaseRuntime
from am2z.bus import EventBus
from am2z.context import ThreadContext
from am2z.local.engine import Engine
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch

__all__: list[str] = []


@mutant("same-handler-taken-once", rule="EVT-007")
@contextmanager
def same_handler_taken_once() -> Iterator[None]:
    """A handler that is given twice for one pattern is called once."""
    right = "    self._handlers.setdefault(pattern, []).append(handler)\n"
    wrong = (
        "    if handler not in self._handlers.setdefault(pattern, []):\n"
        "        self._handlers[pattern].append(handler)\n"
    )
    with edit(EventBus, "on", right, wrong):
        yield


@mutant("off-undoes-every-on", rule="EVT-007")
@contextmanager
def off_undoes_every_on() -> Iterator[None]:
    """off() takes away every registration of the handler for that pattern."""
    right = "    handlers.remove(handler)\n"
    wrong = "    handlers[:] = [one for one in handlers if one != handler]\n"
    with edit(EventBus, "off", right, wrong):
        yield


@mutant("off-looks-at-no-pattern", rule="EVT-007")
@contextmanager
def off_looks_at_no_pattern() -> Iterator[None]:
    """off() takes the handler away from other patterns, too."""
    right = "    self._changed()\n"
    wrong = (
        "    for others in self._handlers.values():\n"
        "        if handler in others:\n"
        "            others.remove(handler)\n"
        "    self._changed()\n"
    )
    with edit(EventBus, "off", right, wrong):
        yield


@mutant("handler-of-two-patterns-called-once", rule="EVT-007")
@contextmanager
def handler_of_two_patterns_called_once() -> Iterator[None]:
    """A handler of two patterns that match one event is called once for it."""
    right = "        found += ["
    wrong = "        found = list(dict.fromkeys(found))\n        found += ["
    with edit(EventBus, "_find", right, wrong):
        yield


@mutant("handler-that-nobody-can-call", rule="EVT-007")
@contextmanager
def handler_that_nobody_can_call() -> Iterator[None]:
    """What is no function is taken for a handler."""
    right = "if not callable(handler):"
    wrong = "if False:"
    with edit(EventBus, "on", right, wrong):
        yield


@mutant("patterns-unchecked", rule="EVT-007")
@contextmanager
def patterns_unchecked() -> Iterator[None]:
    """A subscription takes patterns that can match nothing."""
    right = '    check_name(pattern, "event")\n'
    wrong = "    pass\n"
    with edit(EventBus, "subscribe", right, wrong):
        yield


@mutant("first-subscription-has-it-all", rule="EVT-014")
@contextmanager
def first_subscription_has_it_all() -> Iterator[None]:
    """Of several subscriptions of one event the first has it, as from a queue."""
    right = "if sub.matches(event_type)]"
    wrong = "if sub.matches(event_type)][:1]"
    with edit(EventBus, "_find", right, wrong):
        yield


@mutant("everything-is-nothing", rule="EVT-014")
@contextmanager
def everything_is_nothing() -> Iterator[None]:
    """A subscription without patterns has no events."""
    right = 'Subscription(patterns or ("*",))'
    wrong = "Subscription(patterns)"
    with edit(EventBus, "subscribe", right, wrong):
        yield


@mutant("who-leaves-ends-the-others", rule="EVT-014")
@contextmanager
def who_leaves_ends_the_others() -> Iterator[None]:
    """With the block of one subscription all of them end."""
    right = "    subscription.close()\n"
    wrong = "    for one in self._subscriptions:\n            one.close()\n"
    with edit(EventBus, "subscribe", right, wrong):
        yield


@mutant("stop-ends-subscriptions", rule="EVT-014")
@contextmanager
def stop_ends_subscriptions() -> Iterator[None]:
    """A subscription ends with the first stop(), though its runtime is started again."""
    right = "        self._publish_runtime_event(EventType.RUNTIME_STOPPED, {})\n"
    wrong = (
        "        self._publish_runtime_event(EventType.RUNTIME_STOPPED, {})\n"
        "            self._bus.close()\n"
    )
    with edit(BaseRuntime, "_live", right, wrong):
        yield


@mutant("subscriber-keeps-a-hundred", rule="EVT-014")
@contextmanager
def subscriber_keeps_a_hundred() -> Iterator[None]:
    """A subscriber that takes its time loses what goes beyond a hundred events."""
    with patch(bus, "MAX_BUFFERED", 100):
        yield


@mutant("event-data-need-be-no-mapping", rule="EVT-018")
@contextmanager
def event_data_need_be_no_mapping() -> Iterator[None]:
    """An event's data may be a list or a text."""
    with patch(context, "check_event_data", lambda data: data or {}):
        yield


@mutant("largest-event-refused", rule="EVT-018")
@contextmanager
def largest_event_refused() -> Iterator[None]:
    """Event data of exactly 64 KB are refused."""
    right = "if len(packed) > MAX_EVENT_BYTES:"
    wrong = "if len(packed) >= MAX_EVENT_BYTES:"
    with edit(codec, "encode_event", right, wrong):
        yield


@mutant("event-names-unchecked", rule="EVT-018")
@contextmanager
def event_names_unchecked() -> Iterator[None]:
    """An event may have no name at all, or one of two lines."""
    right = 'check_name(event, "event")'
    wrong = "str(event)"
    with edit(context, "check_event_name", right, wrong):
        yield


@mutant("emit-is-lost-after-the-stop", rule="EVT-008")
@contextmanager
def emit_is_lost_after_the_stop() -> Iterator[None]:
    """What is emitted on a stopped runtime is dropped without a word."""
    right = "self._require_started()"
    wrong = "return Delivery(trio.lowlevel.checkpoint)"
    with edit(BaseRuntime, "emit", right, wrong):
        yield


@mutant("emit-refused-in-the-grace", rule="EVT-008")
@contextmanager
def emit_refused_in_the_grace() -> Iterator[None]:
    """A processor that runs on while its runtime stops can emit nothing of the runtime."""
    right = "if self._engine_done.is_set():"
    wrong = "if not self._accepting:"
    with edit(BaseRuntime, "emit", right, wrong):
        yield


@mutant("progress-only-rises", rule="EVT-025")
@contextmanager
def progress_only_rises() -> Iterator[None]:
    """Progress that is no more than before is not told."""
    right = "    execution.progress = percent\n"
    wrong = (
        "    if percent <= execution.progress:\n"
        "            return Delivery(trio.lowlevel.checkpoint)\n"
        "        execution.progress = percent\n"
    )
    with edit(Engine, "progress_from", right, wrong):
        yield


@mutant("queue-completed-says-less", rule="EVT-025")
@contextmanager
def queue_completed_says_less() -> Iterator[None]:
    """queue:completed does not say how long the execution took."""
    right = "self._tell(execution, EventType.QUEUE_COMPLETED, told)"
    wrong = "self._tell(execution, EventType.QUEUE_COMPLETED, {})"
    with edit(Engine, "_succeed", right, wrong):
        yield


@mutant("dropped-work-says-no-reason", rule="EVT-025")
@contextmanager
def dropped_work_says_no_reason() -> Iterator[None]:
    """The queue:failed of what never ran has no error."""
    right = 'told = {"error": outcome.error}'
    wrong = 'told = {"error": outcome.error} if execution.was_active else {}'
    with edit(Engine, "_fail", right, wrong):
        yield


@mutant("step-tells-in-its-own-name", rule="EVT-025")
@contextmanager
def step_tells_in_its_own_name() -> Iterator[None]:
    """What a step in place emits names the step, and not the processor of the execution."""
    right = "request.session_id, request.name, copy_event(data)"
    wrong = "request.session_id, ctx.metadata.processor_name, copy_event(data)"
    with edit(Engine, "emit_from", right, wrong):
        yield


@mutant("thread-progress-lost", rule="EVT-025")
@contextmanager
def thread_progress_lost() -> Iterator[None]:
    """What a processor in a thread says of its progress is dropped."""
    right = "trio.from_thread.run_sync(self._ctx.update_progress, percent)"
    wrong = "pass"
    with edit(ThreadContext, "update_progress", right, wrong):
        yield


@mutant("metrics-without-uptime", rule="EVT-005")
@contextmanager
def metrics_without_uptime() -> Iterator[None]:
    """The metrics say that the runtime was started just now."""
    right = "told = {**stats, "
    wrong = 'told = {**stats, "uptime": 0.0, '
    with edit(BaseRuntime, "_collect_metrics", right, wrong):
        yield


@mutant("only-value-errors-of-handlers", rule="EVT-009")
@contextmanager
def only_value_errors_of_handlers() -> Iterator[None]:
    """A handler may raise what programs raise, and not what libraries do."""
    right = "except Exception:"
    wrong = "except (ValueError, LookupError):"
    with edit(EventBus, "publish", right, wrong):
        yield
