"""Programs: operations on a runtime as plain data, with a text form for replay.

A program is a list of operations, separated by ``;``. Each is a verb and its operands::

    execute a thrice(+1 !network<2); submit x a once(hold +2); stop a; get a

Sessions are called ``a`` and ``b``, ``-`` is an execution without one. ``x``, ``y`` and ``z`` are
handles, ``l`` and ``m`` are locks. What a processor does is written behind its name:

========================  =======================================================================
``+3``                    add to ``count``
``&n``                    append to the list in the state, in place
``who``                   append the name of the processor, its session, attempt and call depth
``emit`` ``progress``     an event of its own; a percentage
``hold``                  wait until ``release``; only in what was submitted
``!business``             raise; also ``!validation``, ``!network``, ``!passing`` (retryable),
                          ``!foreign`` (no ``AM2ZError``) and ``!group`` (one in a group)
``!network<3``            raise in attempts 1 and 2
``!partial``              return a ``Failure`` with the state as it is by then; also ``!torn``,
                          which is retryable
``!nothing`` ``!strange`` return no state at all; one that cannot cross
``!broken``               raise until ``mend``
``once(+2)``              call a processor; its failure is passed on
``once(+2)?``             call a processor; its failure is survived, and noted
========================  =======================================================================

Processors: ``once`` has no retry policy, ``thrice`` has three attempts with no wait between,
``later`` has a second attempt in an hour, ``wary`` has four and hooks (and gives up on ``!foreign``
after two), ``single`` runs one at a time, ``plain`` is a plain function, and ``brief`` does what
takes no time and then waits, beyond its timeout, in two attempts. ``nobody`` is registered nowhere.

Compositions: ``pair`` is a chain that does the same twice, ``fork`` does it in one branch (in
place, three attempts) and notes ``r`` in the other one, ``way`` goes by ``count % 4`` (0: ``once``;
1: in place, two attempts; 2: nowhere; 3: in place, like ``brief``), and ``swarm`` has ``thrice`` do
it ``(count + 1) % 3`` times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "DOOMED",
    "ERRORS",
    "LABELS",
    "LASTING",
    "LOCKS",
    "MIXED_IN",
    "NO_SESSION",
    "OPERANDS",
    "PROCESSORS",
    "REPLACED",
    "SESSIONS",
    "Call",
    "Op",
    "Program",
    "Step",
]

SESSIONS = ("a", "b")
NO_SESSION = "-"
LABELS = ("x", "y", "z")
LOCKS = ("l", "m")
PROCESSORS = ("once", "thrice", "later", "single", "wary", "plain", "brief", "pair", "fork", "way",
              "swarm", "nobody")  # fmt: skip
REPLACED = ("once", "thrice", "single")
"""The processors that a program may forget and learn anew."""

DOOMED = "doomed"
"""Does what ``once`` does, on a worker that is killed for it; ``crash`` calls it, nobody else."""

ERRORS = ("business", "validation", "network", "foreign", "passing", "group", "torn", "nothing",
          "strange")  # fmt: skip
"""What a processor may fail with, in some attempts or in all."""

LASTING = ("partial", "broken")
"""What it may fail with in every attempt."""

OPERANDS = {
    "execute": ("session", "call"),
    "inside": ("named", "call"),
    "many": ("session", "number", "call"),
    "mixed": ("number", "call"),
    "submit": ("label", "session", "call"),
    "delay": ("label", "session", "call"),
    "at": ("label", "session", "call"),
    "past": ("label", "session", "call"),
    "release": ("label",),
    "cancel": ("label",),
    "again": ("label",),
    "twin": ("label",),
    "clash": ("label",),
    "mend": (),
    "revive": ("label",),
    "drop": ("label",),
    "letters": (),
    "forget": ("name",),
    "learn": ("name",),
    "set": ("named", "number"),
    "set-right": ("named", "number"),
    "set-wrong": ("named", "number"),
    "update": ("named", "number"),
    "spoil": ("named",),
    "expire": ("named", "number"),
    "delete": ("named",),
    "get": ("named",),
    "updates": ("named", "number"),
    "race": ("named", "number"),
    "stop": ("named",),
    "clean": ("named",),
    "clean-all": (),
    "lock": ("lock",),
    "unlock": ("lock",),
    "line": ("lock", "number"),
    "stats": (),
    "restart": (),
    "reopen": (),
    "crash": ("session", "call"),
}
"""The operations and what each takes, in the order in which it is written."""


@dataclass(frozen=True)
class Step:
    """One thing that a processor does.

    ``verb`` is ``add`` or ``note`` (with ``word``), ``who``, ``emit``, ``progress``, ``hold``,
    ``fail`` (with ``word``; ``below``: in attempts below that one only, 0: always) or ``call``.
    """

    verb: str
    word: str = ""
    number: int = 0
    call: Call | None = None
    survives: bool = False

    def __str__(self) -> str:
        match self.verb:
            case "add":
                return f"+{self.number}"
            case "note":
                return f"&{self.word}"
            case "fail":
                return f"!{self.word}<{self.number}" if self.number else f"!{self.word}"
            case "call":
                return f"{self.call}{'?' if self.survives else ''}"
        return self.verb


@dataclass(frozen=True)
class Call:
    """A processor, and what it is to do."""

    name: str
    steps: tuple[Step, ...] = ()

    @property
    def plan(self) -> str:
        """The steps as text."""
        return " ".join(map(str, self.steps))

    def __str__(self) -> str:
        return f"{self.name}({self.plan})"


@dataclass(frozen=True)
class Op:
    """One operation; the fields that its verb does not take are empty."""

    verb: str
    session: str = ""
    label: str = ""
    lock: str = ""
    number: int = 0
    call: Call | None = None
    name: str = ""

    @property
    def named(self) -> str:
        """The session, which is not ``-``."""
        return self.session

    def __str__(self) -> str:
        return " ".join([self.verb, *(str(getattr(self, kind)) for kind in OPERANDS[self.verb])])


@dataclass(frozen=True)
class Program:
    """A list of operations; ``str()`` gives the text that ``parse`` reads."""

    ops: tuple[Op, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.ops))

    def __len__(self) -> int:
        return len(self.ops)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    @property
    def verbs(self) -> frozenset[str]:
        """The verbs in use."""
        return frozenset(op.verb for op in self.ops)

    def lines(self) -> list[str]:
        """The program with a number before each operation."""
        return [f"{number:>2}  {op}" for number, op in enumerate(self.ops, 1)]


MIXED_IN = Call("thrice", (Step("who"),))
"""What ``mixed`` has done, too, by turns."""
