"""The protocol of the queue: one typed method for each script.

A method says what it sends and what comes back; what the scripts do is written at the head of each
``scripts/*.lua``. Names of processors, sessions, runtimes and locks may hold anything: they are
encoded here and nowhere else. Times are seconds.

The scripts whose repetition changes nothing are marked idempotent: a client may send those again
when a reply was lost. The others (``claim``, ``emit``, ``state_set``) it must not. A claim whose
reply was lost comes back when its lease ends.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from am2z.queue.keys import encode
from am2z.queue.upkeep import Arg, Reclaimed, ScriptRunner, StateWrite, Upkeep, ms, seconds
from am2z.queue.wire import (
    AckAnswer,
    Acked,
    CancelAnswer,
    Claimed,
    Claims,
    EnqueueAnswer,
    Enqueued,
    Look,
    NackAnswer,
    Status,
    Why,
    WireError,
    as_bytes,
    as_enum,
    as_int,
    as_list,
    as_name,
    as_session,
    as_text,
    parse_finished,
    readable,
)

_log = logging.getLogger("am2z.replies")

__all__ = [
    "Parent",
    "Protocol",
    "Reclaimed",
    "Report",
    "ScriptRunner",
    "StateWrite",
    "Submission",
    "WireError",
]

MOST_AT_ONCE = 1000
"""The most executions of one exchange: Lua cannot pass many more arguments at once."""


class Parent(NamedTuple):
    """The execution that calls another one, and a hash of the call (processor and input)."""

    id: str
    fence: int
    call_hash: str


class Submission(NamedTuple):
    """An execution to be accepted; see ``Protocol.enqueue``."""

    execution_id: str
    processor: str
    payload: bytes
    session_id: str | None = None
    delay: float = 0.0
    at: float | None = None
    max_deliveries: int = 3
    reply_to: str | None = None
    need_served: bool = False
    parent: Parent | None = None
    max_queue: int = 0

    def args(self) -> tuple[Arg, ...]:
        """The arguments that the script takes for it."""
        parent = self.parent
        return (
            encode(self.execution_id),
            encode(self.processor),
            _group(self.session_id),
            self.payload,
            ms(self.delay) if self.at is None else f"@{ms(self.at)}",
            self.max_deliveries,
            self.max_queue,
            "" if self.reply_to is None else encode(self.reply_to),
            int(self.need_served),
            *(("", "", "") if parent is None else (encode(parent.id), *parent[1:])),
        )


class Report(NamedTuple):
    """The end of a run; ``state`` is committed with it, if the execution runs in a session."""

    execution_id: str
    fence: int
    success: bool
    body: bytes
    event_data: bytes = b""
    state: StateWrite | None = None

    @property
    def size(self) -> int:
        """About how many bytes it sends."""
        return len(self.body) + (0 if self.state is None else len(self.state.data))

    def args(self) -> tuple[Arg, ...]:
        """The arguments that the scripts take for it."""
        return (
            encode(self.execution_id),
            self.fence,
            Status.DONE.value if self.success else Status.FAILED.value,
            self.body,
            self.event_data,
            *(("", "", "", "") if self.state is None else self.state.args()),
        )


class Protocol(Upkeep):
    """Everything that a runtime says to Redis by script, for one shard of a namespace.

    ``result_ttl``: seconds for which a finished execution is remembered: its result can be read
    and its id is not run again. ``session_ttl``: seconds for which a stopped session stays refused,
    None until it is forgotten.

    Every method raises what the client raises, and ``WireError`` for a reply that no script writes.

    Example::

        protocol = Protocol(client, Keys("shop"))
        await protocol.enqueue("id1", "greet", b"...", reply_to=runtime_id)
        claims = await protocol.claim(runtime_id, [("greet", 1)], total=1, lease=10.0)
    """

    async def enqueue(
        self,
        execution_id: str,
        processor: str,
        payload: bytes,
        *,
        session_id: str | None = None,
        delay: float = 0.0,
        at: float | None = None,
        max_deliveries: int = 3,
        reply_to: str | None = None,
        max_queue: int = 0,
        need_served: bool = False,
        parent: Parent | None = None,
    ) -> Enqueued:
        """Accept an execution. The id makes it safe to ask twice: it runs once.

        ``delay`` is in seconds; ``at`` is a time of the server's clock, in seconds.

        ``reply_to`` is the runtime whose inbox gets the result. ``max_queue`` (0: no limit) refuses
        it when so many wait for the processor; ``need_served`` when no living runtime serves it.
        """
        submission = Submission(
            execution_id, processor, payload, session_id, delay, at, max_deliveries, reply_to,
            need_served, parent, max_queue,
        )  # fmt: skip
        return (await self.enqueue_many([submission]))[0]

    async def enqueue_many(self, submissions: Sequence[Submission]) -> list[Enqueued]:
        """Accept several executions in one step, at most 1,000; the answers in order."""
        if len(submissions) > MOST_AT_ONCE:
            raise ValueError(f"{len(submissions)} at once; hand over at most {MOST_AT_ONCE}")
        args: list[Arg] = []
        for submission in submissions:
            args += submission.args()
        reply = await self._run("enqueue", *args, idempotent=True)
        return [_enqueued(item) for item in as_list(reply, exactly=len(submissions))]

    async def claim(
        self,
        runtime_id: str,
        wants: Sequence[tuple[str, int]],
        *,
        total: int,
        lease: float,
        reports: Sequence[Report] = (),
    ) -> Claims:
        """Report the ends of runs, and take at most ``total`` executions under leases.

        ``wants`` names the processors in order of preference, each with the most to take of it. Ask
        for no more than is started at once. The reports may be sent again, the claim must not.
        """
        args = self._claim_args(runtime_id, wants, total, lease)
        for report in reports:
            args += report.args()
        return _claims(await self._run("claim", *args), len(reports))

    async def claim_when_woken(
        self,
        runtime_id: str,
        wants: Sequence[tuple[str, int]],
        *,
        lease: float,
        patience: float,
    ) -> tuple[Claims, Exception | None]:
        """Wait for news of work, ``patience`` seconds at the longest, and then claim one execution.

        The claim is on the server already when the news come: that saves asking for it then. When
        the wait is cancelled it claims at once; see ``RedisClient.block_then_run``. It is only one,
        because a process that stands still meanwhile claims it all the same.

        Also answers why it could not wait, if so. Raises ``NoScriptError`` where a ``claim`` has to
        come first.
        """
        tokens = [self.keys.wake(processor) for processor, _ in wants]
        blocked, reply = await self._client.block_then_run(
            "BLPOP",
            *tokens,
            patience,
            timeout=patience,
            script=self._scripts["claim"],
            keys=self._prefix,
            script_args=self._claim_args(runtime_id, wants, 1, lease),
        )
        return _claims(reply, 0), blocked if isinstance(blocked, Exception) else None

    def _claim_args(
        self, runtime_id: str, wants: Sequence[tuple[str, int]], total: int, lease: float
    ) -> list[Arg]:
        args: list[Arg] = [
            encode(runtime_id),
            ms(lease),
            self._result_ttl,
            min(total, MOST_AT_ONCE),
            len(wants),
        ]
        for processor, most in wants:
            args += (encode(processor), most)
        return args

    async def heartbeat(self, held: Iterable[tuple[str, int]], lease: float) -> list[str]:
        """Renew the leases of what is held, as ``(id, fence)``; gives the ids that are lost."""
        args: list[Arg] = [ms(lease)]
        for execution_id, fence in held:
            args += (encode(execution_id), fence)
        reply = await self._run("heartbeat", *args, idempotent=True)
        return [as_name(lost) for lost in as_list(reply)]

    async def ack(
        self,
        execution_id: str,
        fence: int,
        *,
        success: bool,
        body: bytes,
        event_data: bytes = b"",
        state: StateWrite | None = None,
    ) -> Acked:
        """Report the end of one run; see ``Report``."""
        report = Report(execution_id, fence, success, body, event_data, state)
        return (await self.ack_many([report]))[0]

    async def ack_many(self, reports: Sequence[Report]) -> list[Acked]:
        """Report the ends of runs, where nothing is to be claimed with it; the answers in order."""
        args: list[Arg] = [self._result_ttl]
        for report in reports:
            args += report.args()
        return _all_acked(await self._run("ack", *args, idempotent=True), len(reports))

    async def nack(
        self,
        execution_id: str,
        fence: int,
        *,
        retry: bool,
        delay: float = 0.0,
        event_data: bytes = b"",
    ) -> NackAnswer:
        """Give an execution back: ``retry`` begins its next attempt, else it was not counted."""
        reply = await self._run(
            "nack",
            encode(execution_id),
            fence,
            "retry" if retry else "return",
            ms(delay),
            event_data,
            self._result_ttl,
            idempotent=True,
        )
        return as_enum(NackAnswer, reply)

    async def cancel(self, execution_id: str) -> CancelAnswer:
        """End an execution and its children at once; a worker that runs it is told."""
        reply = await self._run(
            "cancel", encode(execution_id), self._result_ttl, Why.CANCELLED.value, idempotent=True
        )
        return as_enum(CancelAnswer, reply)

    async def emit(
        self,
        execution_id: str,
        fence: int,
        kind: str,
        data: bytes = b"",
        *,
        name: str = "",
        progress: float | None = None,
    ) -> bool:
        """Publish an event (``progress`` or ``custom``) of an execution that we run.

        False if it is not ours any more: nothing was published.
        """
        percent = "" if progress is None else repr(float(progress))
        reply = await self._run("emit", encode(execution_id), fence, kind, name, data, percent)
        return as_text(reply) == "ok"

    async def emit_runtime(self, name: str, data: bytes = b"") -> None:
        """Publish an event of a runtime."""
        await self._run("emit", "", "", "runtime", name, data, "")

    async def look(self, execution_ids: Sequence[str], *, whole: bool = False) -> list[Look]:
        """Where executions stand, in the order asked; ``whole`` reads long results too."""
        if not execution_ids:
            return []
        reply = as_list(
            await self._run("look", int(whole), *map(encode, execution_ids), idempotent=True),
            multiple_of=2 * len(execution_ids),
            at_least=2 * len(execution_ids),
        )[: 2 * len(execution_ids)]
        pairs = zip(execution_ids, reply[::2], reply[1::2], strict=True)
        return [_look(execution_id, status, detail) for execution_id, status, detail in pairs]


def _group(session_id: str | None) -> str:
    return "" if session_id is None else encode(session_id)


def _enqueued(item: object) -> Enqueued:
    reply = as_list(item, at_least=1)
    answer = as_enum(EnqueueAnswer, reply[0])
    if answer in (EnqueueAnswer.OK, EnqueueAnswer.FULL):
        return Enqueued(answer, as_int(as_list(reply, at_least=2)[1]))
    if answer is EnqueueAnswer.FINISHED:
        return Enqueued(answer, finished=parse_finished(as_list(reply, at_least=2)[1]))
    return Enqueued(answer)


def _claims(reply: object, reports: int) -> Claims:
    acked, next_due, *items = as_list(reply, at_least=2)
    return Claims(readable(items, _claimed), seconds(next_due), _all_acked(acked, reports))


def _all_acked(reply: object, expected: int) -> list[Acked]:
    return [_acked(word) for word in as_list(reply, exactly=expected)]


def _acked(word: object) -> Acked:
    answer, _, version = as_bytes(word).partition(b" ")
    return Acked(as_enum(AckAnswer, answer), as_int(version) if version else 0)


def _claimed(item: object) -> Claimed:
    parts = as_list(item, at_least=7)
    return Claimed(
        as_name(parts[0]),
        as_int(parts[1]),
        as_int(parts[2]),
        as_int(parts[3]),
        as_name(parts[4]),
        as_session(parts[5]),
        as_bytes(parts[6]),
    )


def _look(execution_id: str, raw_status: object, detail: object) -> Look:
    """What cannot be read is as good as unknown: it must not hide the others."""
    try:
        status = as_enum(Status, raw_status)
        if status in (Status.DONE, Status.FAILED):
            return Look(execution_id, status, finished=parse_finished(detail))
    except WireError as error:
        _log.warning("the record of %s cannot be read: %s", execution_id, error)
        return Look(execution_id, Status.UNKNOWN)
    return Look(execution_id, status, _percent(detail))


def _percent(detail: object) -> float | None:
    try:
        percent = float(as_text(detail))
    except ValueError:  # none yet, or none that could be read
        return None
    return percent if 0 <= percent <= 100 else None
