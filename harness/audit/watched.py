"""A runtime and its parts as a rule sees them: they do what they do, and it is written down."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import trio

from am2z import ExecutionHandle, Runtime, Versioned
from harness.audit.ledger import Asked, Ledger, copied

__all__ = ["Watched"]


class _Around:
    """Something in front of another, which has every name that the other one has."""

    def __init__(self, inner: Any, ledger: Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __repr__(self) -> str:
        return repr(self._inner)


class Watched(_Around):
    """A runtime."""

    _inner: Runtime

    def register(self, *processors: Any) -> Watched:
        answer = self._inner.register(*processors)
        if answer is not self._inner:
            self._ledger.say("REG-001", f"register() answered {answer!r:.80}, not its runtime")
        self._ledger.register(processors)
        return self

    def unregister(self, name: str) -> bool:
        self._ledger.unregistered.add(name)
        return self._inner.unregister(name)

    async def submit(
        self, processor: Any, state: Any, session_id: str | None = None, **options: Any
    ) -> Any:
        asked = self._ledger.ask(processor, state, session_id, options)
        try:
            handle = await self._inner.submit(processor, state, session_id, **options)
        except BaseException:
            self._ledger.refused(asked)
            raise
        return WatchedHandle(handle, self._ledger, asked)

    async def submit_many(
        self, processor: Any, states: Iterable[Any], session_id: str | None = None
    ) -> Any:
        states = list(states)
        asked = [self._ledger.ask(processor, state, session_id) for state in states]
        inner: Any = self._inner  # which has it from RuntimeMixin, or writes its own
        try:
            handles = await inner.submit_many(processor, states, session_id)
        except BaseException:
            for one in asked:
                self._ledger.refused(one)
            raise
        pairs = zip(handles, asked, strict=False)
        return [WatchedHandle(handle, self._ledger, one) for handle, one in pairs]

    async def execute(self, processor: Any, state: Any, session_id: str | None = None) -> Any:
        asked = self._ledger.ask(processor, state, session_id)
        try:
            result = await self._inner.execute(processor, state, session_id)
        except Exception:
            self._ledger.refused(asked)
            raise
        self._ledger.answer(asked, result)
        return result

    async def execute_in_session(self, processor: Any, state: Any, session_id: str) -> Any:
        asked = self._ledger.ask(processor, state, session_id)
        try:
            result = await self._inner.execute_in_session(processor, state, session_id)
        except Exception:
            self._ledger.refused(asked)
            raise
        self._ledger.answer(asked, result)
        return result

    async def execute_many(
        self, processor: Any, states: Iterable[Any] | None = None, session_id: str | None = None
    ) -> Any:
        if states is None:
            processor = pairs = list(processor)
        else:
            states = list(states)
            pairs = [(processor, state) for state in states]
        asked = [self._ledger.ask(ref, state, session_id) for ref, state in pairs]
        try:
            results = await self._inner.execute_many(processor, states, session_id)
        except Exception:
            for one in asked:
                self._ledger.refused(one)
            raise
        for one, result in zip(asked, results, strict=False):
            self._ledger.answer(one, result)
        return results

    @property
    def state(self) -> Any:
        return WatchedStates(self._inner.state, self._ledger)

    @property
    def dead(self) -> Any:
        self._ledger.touched.add("dead")
        return self._inner.dead

    async def stop_session(self, session_id: str) -> None:
        self._ledger.touch("sessions")
        await self._inner.stop_session(session_id)

    async def clean_session(self, session_id: str) -> None:
        self._ledger.touch("sessions")
        await self._inner.clean_session(session_id)

    async def clean_all_sessions(self) -> None:
        self._ledger.touch("sessions")
        await self._inner.clean_all_sessions()

    async def start(self) -> None:
        if not self._inner.is_started:
            self._ledger.restarted = trio.current_time()
        await self._inner.start()

    async def stop(self) -> None:
        self._ledger.touched.add("life")
        await self._inner.stop()


class WatchedHandle(_Around):
    """The handle of a submitted execution."""

    _inner: ExecutionHandle[Any]

    def __init__(self, inner: ExecutionHandle[Any], ledger: Ledger, asked: Asked) -> None:
        super().__init__(inner, ledger)
        self._asked = asked

    async def result(self) -> Any:
        result = await self._inner.result()
        self._ledger.answer(self._asked, result, self._inner)
        return result


class WatchedStates(_Around):
    """The committed states."""

    async def get(self, session_id: str, *cls: Any) -> Versioned[Any] | None:
        found: Versioned[Any] | None = await self._inner.get(session_id, *cls)
        if found is not None:
            say = self._ledger.say
            if not isinstance(found.version, int) or found.version < 1:
                say("STA-013", f"the state of {session_id!r} has version {found.version!r}")
            if not re.fullmatch("[0-9a-f]{64}", str(found.checksum)):
                say("STA-006", f"the state of {session_id!r} has checksum {found.checksum!r:.80}")
            if found.state.metadata.session_id != session_id:
                name = found.state.metadata.session_id
                say("STA-001", f"the state of {session_id!r} is of session {name!r}")
            if self._ledger.is_alone and self._ledger.config.state_ttl is None:
                self._compare(session_id, found)
        return found

    def _compare(self, session_id: str, found: Versioned[Any]) -> None:
        """Versions grow, and what has one version is one state."""
        kept, say = self._ledger.kept, self._ledger.say
        known = kept.setdefault((session_id, found.version), copied(found) or found)
        if type(known.state) is type(found.state) and known != found:
            say("STA-013", f"version {found.version} of {session_id!r} is not what it was")
        if known.checksum != found.checksum:
            say("STA-006", f"version {found.version} of {session_id!r} has two checksums")
        if any(name == session_id and version > found.version for name, version in kept):
            say("STA-013", f"the version of {session_id!r} goes back to {found.version}")

    async def set(self, session_id: str, *args: Any, **options: Any) -> int:
        self._ledger.touch("state")
        version: int = await self._inner.set(session_id, *args, **options)
        expected = options.get("expected_version")
        if not isinstance(version, int) or version < 1 or expected not in (None, version - 1):
            self._ledger.say("STA-002", f"set() over version {expected} answered {version!r}")
        return version

    async def update(self, session_id: str, fn: Any) -> Any:
        self._ledger.touch("state")
        return await self._inner.update(session_id, fn)

    async def delete(self, session_id: str) -> None:
        self._ledger.touch("state")
        await self._inner.delete(session_id)
