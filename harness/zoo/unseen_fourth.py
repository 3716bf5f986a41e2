"""Ten that were written by somebody who had seen neither a rule nor a scenario of the suite.

It killed three. They are kept as they were; ``docs/kill-matrix.md`` tells what they showed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from am2z import executor
from am2z.local.engine import Engine
from am2z.locks import LockBackend
from am2z.queue.dead import QueueDeadLetters
from am2z.queue.run import Run
from am2z.slots import Slots
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, script


@mutant("attempts-of-a-step-share-its-timeout", rule="ERR-024")
@contextmanager
def attempts_of_a_step_share_its_timeout() -> Iterator[None]:
    """A step that runs in place has its timeout once, for all of its attempts together.

    Promised (concepts): a step runs "with its own timeout and retry policy", and "`timeout` is for
    each attempt, and counts from its start".
    """
    limit = "deadline = trio.current_time() + step.timeout if step.timeout else ctx.deadline"
    right = f"while True:\n        number += 1\n        {limit}\n"
    wrong = f"{limit}\n    while True:\n        number += 1\n"
    with edit(executor, "_run_in_place", right, wrong):
        yield


@mutant("answer-keeps-the-session-it-came-with", rule="EXE-020")
@contextmanager
def answer_keeps_the_session_it_came_with() -> Iterator[None]:
    """A state that was not made from the input, but changed as often, names a foreign session.

    Seen in the result and in the committed state of a processor that answers with another session's
    state, or with a new one that it evolved itself. Promised (concepts): "`metadata` holds the
    version of the value, the session ...; the library keeps it"; the contract: "the runtime fills
    in the session".
    """
    right = "if now.version > old.version and now.session_id == old.session_id:"
    with edit(executor, "_advance", right, "if now.version > old.version:"):
        yield


@mutant("replaced-processor-keeps-its-old-limit", rule="REG-002")
@contextmanager
def replaced_processor_keeps_its_old_limit() -> Iterator[None]:
    """After a new registration that changes the concurrency only, the old one still holds.

    Promised (contract): "re-registration overrides"; `QueueOptions(concurrency)` is "the limit for
    each worker".
    """
    right = "if line.options != processor.queue:"
    wrong = "if line.options.priority != processor.queue.priority:"
    with edit(Slots, "_line", right, wrong):
        yield


@mutant("calls-refused-while-stopping", rule="LIF-007")
@contextmanager
def calls_refused_while_stopping() -> Iterator[None]:
    """What runs on during the grace of a stop() cannot call others any more.

    Promised (contract, guarantees): "`stop()` waits for what runs, up to `shutdown_grace`, then
    cancels it"; only then are callers answered with `RuntimeStoppedError`.
    """
    right = "processor = self._registry.find(request.name)\n"
    refuse = "if not self._is_accepting():\n        return runtime_stopped(request.name)\n    "
    with edit(Engine, "begin", right, refuse + right):
        yield


@mutant("who-gave-up-a-lock-counts-as-its-holder", rule="RES-024")
@contextmanager
def who_gave_up_a_lock_counts_as_its_holder() -> Iterator[None]:
    """A task that was cancelled while it waited for a lock is refused when it asks again.

    Promised (`runtime.lock`): there is no timeout of its own, "put `trio.fail_after` or
    `move_on_after` around it"; `ConfigurationError` only "where the same task holds that lock
    already".
    """
    right = "    try:\n        await self._wait(lock)\n        try:\n"
    wrong = "    await self._wait(lock)\n    try:\n        try:\n"
    with edit(LockBackend, "hold", right, wrong):
        yield


@mutant("giving-back-cancels-the-calls", rule="LIF-012", base="queue")
@contextmanager
def giving_back_cancels_the_calls() -> Iterator[None]:
    """A worker that stops gives its execution back, but what that had called is cancelled.

    The next worker's run of it finds its child cancelled, and the call fails. Promised
    (guarantees): a stopping worker "gives it back: others do it first"; (concepts) "a parent that
    runs again finds the children".
    """
    right = "if mode == 'retry' and job.c then cancel_children("
    with script("nack", right, "if job.c then cancel_children("):
        yield


@mutant("commit-expires-with-the-state-before", rule="STA-022", base="queue")
@contextmanager
def commit_expires_with_the_state_before() -> Iterator[None]:
    """What an execution commits lives no longer than the state that it replaces would have.

    Without a `state_ttl`, after a `state.set(..., ttl=...)`. Promised (contract): "a successful
    execution in a session commits its state"; a `state_ttl` of `None` keeps it with its session.
    """
    right = "ttl = self._node.config.state_ttl or 0"
    with edit(Run, "_end", right, "ttl = self._node.config.state_ttl"):
        yield


@mutant("end-in-the-back-off-told-as-dropped", rule="ERR-023", base="queue")
@contextmanager
def end_in_the_back_off_told_as_dropped() -> Iterator[None]:
    """What is cancelled or stopped between two attempts has no processor:failed.

    Promised (guarantees): "an execution that is ended during its back-off goes from `retrying`
    straight to `failed`"; `queue:failed` alone is for work "that was dropped before it ran".
    """
    right = "call('HSET', key, 't', status, 'n', '0', 'a', "
    wrong = "call('HDEL', key, 'n')\n  call('HSET', key, 't', status, 'a', "
    with script("nack", right, wrong):
        yield


@mutant("refused-retry-loses-the-letter", rule="ERR-028", base="queue")
@contextmanager
def refused_retry_loses_the_letter() -> Iterator[None]:
    """A dead letter is gone after a retry that was refused, as in a stopped session.

    Promised (concepts): what failed for good "is kept, with its input and its error, so that
    somebody can look at it and run it again".
    """
    right = "new_id = retry_id("
    wrong = f"await grave.protocol.dead_drop(execution_id)\n    {right}"
    with edit(QueueDeadLetters, "retry", right, wrong):
        yield


@mutant("queue-limit-looked-at-once-for-many", rule="RES-006", base="queue")
@contextmanager
def queue_limit_looked_at_once_for_many() -> Iterator[None]:
    """Executions that are handed over together do not count against each other's max_queue_size.

    With `execute_many` or `submit_many` more wait than may. Promised (contract): both runtimes
    enforce the limits, "work over a limit is refused with `ResourceError`".
    """
    with script("enqueue", "waiting[proc] = n + 1", ""):
        yield
