"""What a runtime counts has to be what its events told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import trio

from am2z import AppState, DeadLetter, Event, ProcessorResult, QueueStats
from harness.audit.ledger import Asked, Ledger
from harness.audit.results import FROM_OUTSIDE, is_number, is_wall_time

__all__ = ["figure_errors"]

Found = list[tuple[str, str]]

_GRAIN = 0.02
_LIVE = ("waiting", "active", "delayed")


async def figure_errors(ledger: Ledger) -> Found:
    """What is wrong with the figures of a runtime that lives, now."""
    if not ledger.is_alone or not ledger.is_first or not ledger.runtime.is_started:
        return []
    found = await _statistics(ledger)
    found += await _sessions(ledger)
    found += await _commits(ledger)
    found += await _strays(ledger)
    found += await _letters(ledger)
    found += await _handles(ledger)
    return found


def _ended(events: Iterable[Event]) -> Counter[tuple[str, str]]:
    return Counter((e.processor_name, e.type.removeprefix("queue:")) for e in events)


def _unlike(told: Counter[tuple[str, str]], stats: Mapping[str, QueueStats], idle: bool) -> Found:
    found: Found = []
    for name in {*stats, *(name for name, _ in told)}:
        one = stats.get(name, QueueStats())
        for kind in ("completed", "failed"):
            if (number := getattr(one, kind)) != told[name, kind]:
                found.append(
                    ("RES-030", f"{name!r}: {number} {kind}, events told of {told[name, kind]}")
                )
        if idle and any(getattr(one, kind) for kind in _LIVE):
            found.append(("RES-030", f"{name!r}: {one}, and all is done"))
        if any(not isinstance(getattr(one, k), int) or getattr(one, k) < 0 for k in _LIVE):
            found.append(("RES-030", f"{name!r}: {one}"))
    return found


async def _statistics(ledger: Ledger) -> Found:
    runtime = ledger.runtime
    asked_at = trio.current_time()
    queues, total = await runtime.queue_stats(), await runtime.stats()
    told = _ended(ledger.ends)
    found = _unlike(told, queues, ledger.is_idle)
    known = sorted(ledger.processors.keys() - ledger.unregistered)
    if runtime.list_processors() != known:
        found.append(("REG-001", f"{runtime.list_processors()} are listed, registered are {known}"))
    if missing := set(runtime.list_processors()) - queues.keys():
        found.append(("RES-030", f"queue_stats() leaves {sorted(missing)} out"))
    for kind in ("waiting", "active", "completed", "failed"):
        summed = sum(getattr(one, kind) for one in queues.values())
        if getattr(total, kind) != summed:
            found.append(("RES-030", f"{total}, but {summed} in all queues are {kind}"))
    if ledger.is_idle and total.running != 0:
        found.append(("RES-030", f"{total.running} are running, and all is done"))
    if total.registered_processors != len(runtime.list_processors()):
        found.append(("LIF-004", f"{total} says a wrong number of processors"))
    if total.active_sessions != len(await runtime.active_sessions()):
        found.append(("RES-030", f"{total} says a wrong number of sessions"))
    lived = trio.current_time() - ledger.began
    least = 0.0 if "life" in ledger.touched else asked_at - ledger.began - _GRAIN
    # It was entered before we could look at the clock: it may say a little more.
    if not is_number(total.uptime) or total.uptime < least:
        found.append(("LIF-006", f"uptime={total.uptime!r} of a runtime that lives {lived:.4f} s"))
    elif ledger.restarted is not None and total.uptime > _ago(ledger.restarted):
        found.append(("LIF-006", f"uptime={total.uptime!r} after a new start"))
    return found


async def _sessions(ledger: Ledger) -> Found:
    runtime, found = ledger.runtime, Found()
    active = await runtime.active_sessions()
    told = sorted(name for name, kinds in ledger.sessions.items() if kinds[-1] == "created")
    if active != told:
        found.append(("EVT-017", f"sessions {active} are active, events told of {told}"))
    named = {asked.session for asked in ledger.asked}
    if "dead" not in ledger.touched and (strange := set(ledger.sessions) - named):
        found.append(("SES-015", f"sessions {sorted(strange)} were created, nobody asked for them"))
    for session_id in active:
        stats = await runtime.session_stats(session_id)
        since = ledger.ends[ledger.since.get(session_id, 0) :]
        ours = _ended(event for event in since if event.session_id == session_id)
        wrong = _unlike(ours, stats, ledger.is_idle)
        found += [(law, f"session {session_id!r}: {text}") for law, text in wrong]
    return found


async def _commits(ledger: Ledger) -> Found:
    """The state of a session is what its last success made, and counts its successes."""
    were_stopped = any("stopped" in kinds for kinds in ledger.sessions.values())
    is_kept = ledger.config.state_ttl is None and not were_stopped
    if ledger.open or not is_kept or ledger.touched & {"state", "sessions", "dead"}:
        return []
    made: dict[str, list[ProcessorResult[Any]]] = {
        asked.session: [] for asked in ledger.asked if asked.session is not None
    }
    for asked, result in ledger.results.values():
        if asked.session is not None and result.success:
            made[asked.session].append(result)
    found = Found()
    for session_id, results in made.items():
        kept = await ledger.runtime.state.get(session_id)
        version = 0 if kept is None else kept.version
        if version != len(results):
            text = f"{session_id!r} has version {version} after {len(results)} successes"
            found.append(("STA-013", text))
        elif kept is not None and all(kept.state.metadata != one.state.metadata for one in results):
            found.append(("STA-001", f"{session_id!r} keeps a state that no execution answered"))
    return found


async def _strays(ledger: Ledger) -> Found:
    """What ran without a session keeps no state."""
    alone = [
        own for own, (asked, one) in ledger.results.items() if one.success and not asked.session
    ]
    return [
        ("SES-015", f"execution {own} had no session, and keeps a state")
        for own in alone[-3:]
        if await ledger.runtime.state.exists(own)
    ]


async def _letters(ledger: Ledger) -> Found:
    """What failed for good, and nothing else, is a dead letter."""
    if "dead" in ledger.touched or ledger.open:
        return []
    found = Found()
    listed = await ledger.runtime.dead.list(limit=1000)
    letters = {one.execution_id: one for one in listed}
    times = [one.failed_at for one in listed]
    if len(letters) < len(listed) or times != sorted(times, reverse=True):
        found.append(("ERR-027", f"dead letters are not listed once, the newest first: {times}"))
    for execution_id, (asked, result) in ledger.results.items():
        letter, error = letters.pop(execution_id, None), result.error
        ran = any(e.type == "processor:active" for e in ledger.stories.get(execution_id, ()))
        is_final = error is not None and type(error).__name__ not in FROM_OUTSIDE
        if letter is not None:
            wrong = _letter_error(letter, asked, result) if is_final else "did not fail for good"
            if wrong:
                found.append(("ERR-027", f"the dead letter of {asked.name!r} {wrong}"))
        elif ran and is_final:
            found.append(("ERR-027", f"{asked.name!r} failed for good, and left no dead letter"))
    if strange := ledger.stories.keys() & letters.keys():
        found.append(("ERR-027", f"{sorted(strange)} are dead letters, and nobody asked for them"))
    return found


def _letter_error(letter: DeadLetter, asked: Asked, result: ProcessorResult[Any]) -> str:
    told = (letter.processor_name, letter.session_id, type(letter.error).__name__)
    if told != (asked.name, asked.session, type(result.error).__name__):
        return f"tells of {told}"
    if letter.error.message != getattr(result.error, "message", ""):
        return f"tells of {letter.error!r:.120}, and its result of {result.error!r:.120}"
    if not is_wall_time(letter.failed_at):
        return f"says failed_at={letter.failed_at!r}"
    given = letter.state()
    if asked.given is not None and _plain(given) != _plain(asked.given):
        return f"has not the state that was given, but {given!r:.120}"
    return ""


def _plain(state: AppState) -> str:
    """A state as text, but for the session, which it is given where it had none."""
    metadata = msgspec.structs.replace(state.metadata, session_id="")
    return repr(msgspec.structs.replace(state, metadata=metadata))


def _ago(moment: float) -> float:
    """How long ago that was at most, in seconds."""
    return trio.current_time() - moment + _GRAIN


async def _handles(ledger: Ledger) -> Found:
    """A handle says the same as often as it is asked."""
    found = Found()
    has_forgotten = trio.current_time() - ledger.began > ledger.config.result_ttl / 2
    if has_forgotten or ledger.touched & {"sessions", "life"}:
        return found
    for execution_id, (handle, result) in list(ledger.handles.items())[-20:]:
        again = await handle.result()
        same = (again.success, again.metadata, again.execution_time, type(again.error))
        if same != (result.success, result.metadata, result.execution_time, type(result.error)):
            found.append(("EXE-040", f"asked again, a handle says {again!r:.200}"))
        if type(result.error).__name__ in FROM_OUTSIDE or execution_id in ledger.spoilt:
            continue
        told = [
            event.data["percent"]
            for event in ledger.stories.get(execution_id, ())
            if event.type == "processor:progress"
        ]
        percent = await handle.progress()
        if percent != (told[-1] if told else 0):
            found.append(("EVT-022", f"a handle says {percent!r}, events told of {told}"))
    return found
