"""What has to be true of every context that a processor gets."""

from __future__ import annotations

import trio

from am2z import AppState, Context
from harness.audit.results import is_number, is_wall_time

__all__ = ["look"]


def look(ctx: Context, state: AppState) -> None:
    """Raise an ``AssertionError`` where a context is not what the contract says.

    For async processors; the state as they got it, before they do anything to it.
    """
    meta, now = ctx.metadata, trio.current_time()
    name = ctx.processor.name
    assert meta.processor_name == name, f"{name!r} has a context of {meta.processor_name!r}"
    assert meta.execution_id, f"{name!r} has a context without an execution"
    assert (ctx.execution_id, ctx.session_id) == (meta.execution_id, meta.session_id)
    inside = state.metadata.session_id
    assert inside == ctx.session_id or (ctx.path and not inside), (
        f"{name!r} has a state of session {inside!r}, and a context of {ctx.session_id!r}"
    )
    assert isinstance(meta.attempt, int)
    assert meta.attempt >= 1, f"{name!r} has a context of attempt {meta.attempt}"
    assert is_wall_time(meta.started_at), f"{name!r} began at {meta.started_at!r}"
    assert ctx.call_depth >= 0
    assert is_number(ctx.deadline), f"{name!r} has {ctx.deadline!r} as its deadline"
    left, most = ctx.deadline - now, ctx.processor.timeout
    assert most is None or left <= most + 1e-6, f"{name!r} has {left} s of {most}"
