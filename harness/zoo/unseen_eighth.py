"""Ten mistakes of a queue, drawn from its documents by somebody who had not read the suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from am2z.queue import QueueRuntime
from am2z.queue.handle import QueueHandle
from am2z.queue.payload import Ending
from am2z.queue.run import Run
from am2z.queue.state import RedisStateManager
from harness.zoo.edit import edit
from harness.zoo.mutant import mutant, patch, script

__all__: list[str] = []


@mutant("unchanged-not-committed", rule="STA-014", base="queue")
@contextmanager
def unchanged_not_committed() -> Iterator[None]:
    """A success whose fields are those of its input commits nothing: there is nothing new in it.

    docs/concepts.md, Sessions: "Give a session id, and a successful execution commits its state."
    """
    with edit(
        Run,
        "_run",
        "commits = self.claimed.session_id is not None and job.depth == 0",
        "given = decode_named_state(job.type_name, job.data, self._processor.state_type)\n"
        "    is_new = type(outcome.state) is not type(given) or any(\n"
        "        getattr(outcome.state, field) != getattr(given, field)\n"
        "        for field in given.__struct_fields__\n"
        "        if field != 'metadata'\n"
        "    )\n"
        "    commits = self.claimed.session_id is not None and job.depth == 0 and is_new",
    ):
        yield


@mutant("claim-shared-evenly", rule="EXE-015", base="queue")
@contextmanager
def claim_shared_evenly() -> Iterator[None]:
    """A claim is divided among the processors: one of low priority has its part of it, too.

    docs/concepts.md, Processors: "`queue=QueueOptions(concurrency=…, priority=…)` says […] which
    processor is served first."
    """
    with (
        script(
            "claim",
            "local proc, left = ARGV[i], math.min(tonumber(ARGV[i + 1]), total - taken)",
            "local part = math.ceil((total - taken) / ((wants - i + 1) / 2))\n"
            "  local proc, left = ARGV[i], math.min(tonumber(ARGV[i + 1]), part)",
        ),
        script(
            "claim",
            "if taken >= total then answer[2] = 0 end",
            "if taken >= total or left <= 0 then answer[2] = 0 end",
        ),
    ):
        yield


@mutant("execution-time-until-read", rule="EXE-049", base="queue")
@contextmanager
def execution_time_until_read() -> Iterator[None]:
    """The execution time is counted until the result is read, not until the attempt's end.

    am2z/result.py, ProcessorResult: "``execution_time`` is the time in seconds that the last
    attempt took."
    """
    with edit(
        Ending,
        "result",
        "    return ProcessorResult(\n"
        "        success=error is None,\n"
        "        state=state,\n"
        "        error=error,\n"
        "        execution_time=self.elapsed,\n",
        "    from am2z.clock import wall_clock\n"
        "\n"
        "    return ProcessorResult(\n"
        "        success=error is None,\n"
        "        state=state,\n"
        "        error=error,\n"
        "        execution_time=max(0.0, wall_clock() - self.started_at),\n",
    ):
        yield


@mutant("progress-of-the-first-attempt", rule="EVT-012", base="queue")
@contextmanager
def progress_of_the_first_attempt() -> Iterator[None]:
    """What is emitted does not say in which attempt, so all progress looks like the first one's.

    am2z/events.py, Event: "``percent`` in progress, ``error`` […] in failed and in retrying […],
    ``execution_time`` in completed, ``attempt`` in all of them".
    """
    with script(
        "emit",
        "local a = {'i', id, 'p', v[3], 'a', v[5] or '1'}",
        "local a = {'i', id, 'p', v[3]}",
    ):
        yield


@mutant("failure-shares-the-input", rule="ERR-022", base="queue")
@contextmanager
def failure_shares_the_input() -> Iterator[None]:
    """The state of a failed result has the very lists that its caller gave.

    docs/concepts.md, State: "What a processor gets is a copy, and what its caller gets back is a
    copy, in both runtimes."
    """
    with edit(
        QueueHandle,
        "_read",
        "return read_result(ended, request.given(), metadata)",
        "from am2z.state import in_session\n"
        "\n"
        "    return read_result(ended, in_session(request.state, request.session_id), metadata)",
    ):
        yield


@mutant("given-back-is-an-attempt", rule="LIF-012", base="queue")
@contextmanager
def given_back_is_an_attempt() -> Iterator[None]:
    """What a stopping worker gives back goes on with the next attempt.

    docs/guarantees.md, Events: "After a worker that was lost or stopped there is a `retrying`
    without an `error`, and an `active` with the same `attempt`".
    """
    with script(
        "nack",
        "call('HSET', key, 't', status, 'n', int(math.max(0, tonumber(job.n) - 1)))",
        "call('HSET', key, 't', status, 'n', int(math.max(0, tonumber(job.n) - 1)),\n"
        "       'a', int(tonumber(job.a) + 1))",
    ):
        yield


@mutant("grace-after-an-exception", rule="LIF-009", base="queue")
@contextmanager
def grace_after_an_exception() -> Iterator[None]:
    """Whichever way the block is left, what runs has its grace to come to its end.

    docs/concepts.md, Runtimes: "An exception that leaves the block comes out as it is, and cancels
    what runs at once."
    """

    async def leave(
        self: QueueRuntime,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.stop()
        finally:
            await self._leave()

    with patch(QueueRuntime, "__aexit__", leave):
        yield


@mutant("long-input-not-buried", rule="EXE-056", base="queue")
@contextmanager
def long_input_not_buried() -> Iterator[None]:
    """A dead letter is kept without its input where that has more than 64 KB.

    docs/concepts.md, Dead letters: "What failed for good is kept, with its input and its error, so
    that somebody can look at it and run it again"; am2z/dead.py: "Run it again, from its input".
    """
    with script(
        "_dead",
        "call('HSET', key, 'p', job.p, 'd', read_payload(id), 'r', body, 'y', why)",
        "local payload = read_payload(id)\n"
        "  if #payload > LONG then payload = '' end\n"
        "  call('HSET', key, 'p', job.p, 'd', payload, 'r', body, 'y', why)",
    ):
        yield


@mutant("update-brings-back", rule="STA-029", base="queue")
@contextmanager
def update_brings_back() -> Iterator[None]:
    """A state that is deleted during an update is written all the same: nobody else has written.

    am2z/state.py, StateManager.update: "write back if nobody else wrote meanwhile, else try again
    […] Raises ``StateNotFoundError`` where there is no state".
    """
    with edit(
        RedisStateManager,
        "write",
        "    if not written:\n",
        "        if not written and seen and version == 0:\n"
        "            written, version = await node.protocol.state_set(session_id, record)\n"
        "    if not written:\n",
    ):
        yield


@mutant("fence-of-each-worker", rule="LIF-006", base="queue")
@contextmanager
def fence_of_each_worker() -> Iterator[None]:
    """Each runtime counts the fences of what it takes by itself, from 1 on.

    docs/guarantees.md, Effects outside: "`ctx.fence` is a number that grows with every attempt and
    every delivery of an execution".
    """
    with script(
        "claim",
        "fence = fence and fence + 1 or take_fences(total)",
        "fence = call('INCR', P .. 'fence:' .. runtime)\n"
        "  call('PEXPIRE', P .. 'fence:' .. runtime, '604800000')",
    ):
        yield
