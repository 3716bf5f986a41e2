"""The dead letters of a namespace."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from am2z.admission import session_stopped
from am2z.codec import decode_error
from am2z.dead import DeadLetter, DeadLetters, retry_id
from am2z.errors import AM2ZError, ProcessorNotFoundError, ResourceError, StateCorruptError
from am2z.queue.node import Node, network_errors
from am2z.queue.payload import Ending, Job, error_of
from am2z.queue.shards import Shards
from am2z.queue.upkeep import Buried
from am2z.queue.wire import EnqueueAnswer, Why
from am2z.result import ExecutionMetadata

__all__ = ["QueueDeadLetters"]


class QueueDeadLetters(DeadLetters):
    """Reads and re-enqueues what the scripts have buried, in whichever shard it lies."""

    def __init__(self, shards: Callable[[], Shards]) -> None:
        self._shards = shards

    async def get(self, execution_id: str) -> DeadLetter | None:
        """See ``DeadLetters.get``."""
        found = await self._read(execution_id)
        return _letter(found[0][1]) if found else None

    async def retry(self, execution_id: str) -> str | None:
        """See ``DeadLetters.retry``. No state is decoded: any process can do it."""
        found = await self._read(execution_id)
        if not found:
            return None
        (grave, buried), shards = found[0], self._shards()
        new_id = retry_id(execution_id, buried.failed_at)
        shard = shards.of(buried.session_id or new_id)
        node = shard.node
        with network_errors(node.client.safe_url):
            # The new id is derived from the old end: when this is cut in the middle and asked for
            # again, the execution is there already and does not run twice.
            enqueued = await node.protocol.enqueue(
                new_id,
                buried.processor,
                _payload(buried, new_id),
                session_id=buried.session_id,
                max_deliveries=node.config.max_deliveries,
                need_served=True,
                max_queue=shard.dispatch.most_waiting,
            )
            _raise_refusal(enqueued.answer, buried)
        with network_errors(grave.client.safe_url):
            await grave.protocol.dead_drop(execution_id)
        return new_id

    async def drop(self, execution_id: str) -> bool:
        """See ``DeadLetters.drop``."""
        return any(
            await self._shards().each(lambda shard: shard.node.protocol.dead_drop(execution_id))
        )

    async def _newest(self) -> list[DeadLetter]:
        found = [buried for _, buried in await self._read(None)]
        return [_letter(one) for one in sorted(found, key=_when, reverse=True)]

    async def _read(self, execution_id: str | None) -> list[tuple[Node, Buried]]:
        """What is buried in each shard, with the shard's node."""
        shards = self._shards()
        found = await shards.each(lambda shard: shard.node.protocol.dead(execution_id))
        pairs = zip(shards, found, strict=True)
        return [(shard.node, buried) for shard, letters in pairs for buried in letters]


def _payload(buried: Buried, new_id: str) -> bytes:
    """The work of a letter as it runs again: without a session it has one of its own, as ever."""
    if buried.session_id is not None:
        return buried.payload
    try:
        job = Job.decode(buried.payload)
    except StateCorruptError:  # it fails as it did
        return buried.payload
    return msgspec.structs.replace(job, session_id=new_id).encode()


def _when(buried: Buried) -> float:
    return buried.failed_at


def _raise_refusal(answer: EnqueueAnswer, buried: Buried) -> None:
    if answer is EnqueueAnswer.STOPPED:
        raise session_stopped(buried.session_id or "")
    if answer is EnqueueAnswer.UNSERVED:
        raise ProcessorNotFoundError(buried.processor)
    if answer is EnqueueAnswer.FULL:
        raise ResourceError(
            f"the queue of {buried.processor!r} is full; try again when work was done",
            resource="queue",
        )


def _letter(buried: Buried) -> DeadLetter:
    """A letter as users see it, also where a part of it cannot be read."""
    metadata = ExecutionMetadata(
        processor_name=buried.processor,
        execution_id=buried.id,
        session_id=buried.session_id or buried.id,
    )
    error: AM2ZError
    if not buried.body:
        error = error_of(buried.why or Why.POISON, buried.id, metadata)
    else:
        try:
            error = decode_error(Ending.decode(buried.body).error)
        except AM2ZError as unreadable:
            error = unreadable
    try:
        job = Job.decode(buried.payload)
    except StateCorruptError:
        job = Job("", buried.payload, "")
    return DeadLetter(
        execution_id=buried.id,
        processor_name=buried.processor,
        session_id=buried.session_id,
        failed_at=buried.failed_at,
        error=error,
        state_type=job.type_name,
        data=job.data,
    )
