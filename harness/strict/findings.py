"""What processors may rely on, what they may not, and how a broken assumption is told."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

__all__ = ["Assumption", "BrokenAssumption", "Finding", "Journal"]


class Words(NamedTuple):
    """What a processor took for granted, as a sentence, and what to do."""

    words: str
    advice: str


class Assumption(Enum):
    """What a processor took for granted; ``{name}`` is the processor, ``{seen}`` what was seen."""

    RUNS_ONCE = Words(
        words=(
            "processor {name!r} did its outside effect twice under the same idempotency_key: "
            "guard it with ctx.idempotency_key"
        ),
        advice=(
            "hand ctx.idempotency_key to the outside system and let that refuse what it has "
            "already; looking first and acting then leaves a gap in which another copy acts"
        ),
    )
    EFFECT_IS_DONE = Words(
        words=(
            "processor {name!r} skipped its outside effect when it ran again: it had been "
            "marked as done before it was done"
        ),
        advice=(
            "mark after the effect, or in one step with it; best is an outside system that "
            "takes ctx.idempotency_key, and to call it every time"
        ),
    )
    RESULT_IS_REPEATABLE = Words(
        words=(
            "result of processor {name!r} differs when run again: it depends on something "
            "outside its state (time, random, a global)"
        ),
        advice=(
            "let the caller put the time or the random number into the state, or derive it from"
            " ctx.execution_id; a field that may differ is named with ignore=[...]"
        ),
    )
    ALONE = Words(
        words=(
            "result of processor {name!r} differs when others run at the same time: executions "
            "share something (a global, a class attribute, a client with a memory)"
        ),
        advice="keep what an execution needs in local variables and in its state",
    )
    OWNS_THE_MODULE = Words(
        words="processor {name!r} mutated {seen}, which is outside its state",
        advice=(
            "another process has a copy of its own, and a second run sees what the first one "
            "left; put it into the state, or name it with shared=[...] where it may change (a "
            "cache, a spy)"
        ),
    )
    FINISHES = Words(
        words="processor {name!r} swallowed Cancelled: it was cancelled, and went on",
        advice=(
            "let trio.Cancelled pass (`except Exception` does; a bare except and `except "
            "BaseException` have to raise it again); to end what must not be cut in two, shield"
            " it"
        ),
    )
    CLEANS_UP = Words(
        words="processor {name!r} kept a task running after it returned: {seen}",
        advice=(
            "open the nursery inside the processor, so that it ends there; work that is to go "
            "on is an execution of its own (runtime.submit)"
        ),
    )
    CONTEXT_LIVES = Words(
        words="processor {name!r} used ctx after it returned: {seen}",
        advice="a context belongs to one attempt; keep what you need of it, as ctx.execution_id",
    )
    STATE_CROSSES = Words(
        words="state of processor {name!r} does not survive the wire at path {seen}",
        advice=(
            "give the field a type that says what comes back (tuple[int, int] rather than Any),"
            " or use a value that MessagePack knows"
        ),
    )
    TIME_PASSES = Words(
        words="processor {name!r} waits by looking at the clock: {seen}",
        advice=(
            "on a clock that stands still that never ends; use trio.sleep or trio.sleep_until, "
            "or wait for the event itself"
        ),
    )
    SUCCEEDS_AGAIN = Words(
        words="processor {name!r} succeeds once and fails when run again: {seen}",
        advice="what an earlier delivery has done already is no error for the next one",
    )

    @property
    def words(self) -> str:
        """The sentence."""
        return self.value.words

    @property
    def advice(self) -> str:
        """What to do about it."""
        return self.value.advice


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One assumption that one processor made, how it showed, and what was seen."""

    processor: str
    assumption: Assumption
    hostility: str
    seen: str = ""

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        return self.assumption.words.format(name=self.processor, seen=self.seen)

    def __str__(self) -> str:
        parts = [("When", self.hostility), ("Mend", self.assumption.advice)]
        if self.seen and "{seen}" not in self.assumption.words:
            parts.insert(1, ("Seen", self.seen))
        lines = [
            textwrap.fill(text, 92, initial_indent=f"    {title}: ", subsequent_indent=" " * 10)
            for title, text in parts
        ]
        return "\n".join([self.message, *lines])


class BrokenAssumption(AssertionError):  # noqa: N818 - what was found, rather than an error's name
    """Processors took something for granted that a runtime does not promise; see ``findings``."""

    def __init__(self, findings: list[Finding], replay: str = "") -> None:
        self.findings = findings
        number = len(findings)
        title = f"{number} broken assumption{'s' if number > 1 else ''}"
        told = [f"{index}. {finding}" for index, finding in enumerate(findings, 1)]
        parts = [title, *told, *([f"Replay: {replay}"] if replay else [])]
        super().__init__("\n\n".join(parts))


class Journal:
    """The findings so far: the first of each assumption and processor."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Assumption], Finding] = {}

    def note(self, processor: str, assumption: Assumption, hostility: str, seen: str = "") -> None:
        """Take one more, unless it is known."""
        found = Finding(processor=processor, assumption=assumption, hostility=hostility, seen=seen)
        self._found.setdefault((processor, assumption), found)

    def has(self, processor: str, assumption: Assumption) -> bool:
        """Whether that is known already."""
        return (processor, assumption) in self._found

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())

    def raise_if_any(self, replay: str = "") -> None:
        """Raise ``BrokenAssumption`` if there is something to tell."""
        __tracebackhide__ = True
        if self._found:
            raise BrokenAssumption(list(self), replay)
