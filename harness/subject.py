"""What is under test, and the surroundings that the kit gives it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from am2z import Capability, ConfigurationError, ResourceLimits, Runtime, RuntimeConfig

__all__ = ["Environment", "MakeRuntime", "Role", "RuntimeUnderTest"]

Role = Literal["both", "client", "worker"]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a runtime gets from the kit: fresh for every test.

    ``namespace`` is a name that nobody else uses, of lower-case letters, digits and ``-``; keep
    everything outside the process under it. ``redis_url`` is a Redis server that may be used (it is
    started when first asked for; ``fake://`` where there is none). ``folder`` is for files: empty
    at first, and the same for all runtimes of one rule, which ends with it. ``config`` and
    ``limits`` are what the rule wants: hand them to the runtime, for a rule that sets one is not
    decided where nobody reads it; ``role`` is ``"both"`` unless a rule asks for a caller or a
    worker alone.
    """

    namespace: str
    role: Role = "both"
    find_config: Callable[[], RuntimeConfig] = RuntimeConfig
    find_limits: Callable[[], ResourceLimits] = ResourceLimits
    find_redis: Callable[[], str]
    find_folder: Callable[[], Path]

    @property
    def config(self) -> RuntimeConfig:
        """The configuration that the runtime is to have."""
        return self.find_config()

    @property
    def limits(self) -> ResourceLimits:
        """The limits that the runtime is to have."""
        return self.find_limits()

    @property
    def folder(self) -> Path:
        """The folder to keep files in; it is made when first asked for."""
        return self.find_folder()

    @property
    def redis_url(self) -> str:
        """The URL of the Redis server to use."""
        return self.find_redis()


MakeRuntime = Callable[[Environment], AbstractAsyncContextManager[Runtime]]


@dataclass(frozen=True)
class RuntimeUnderTest:
    """A runtime, and what its author says about it.

    - ``name``: how reports call it
    - ``make(env)``: an async context manager that gives an entered runtime
    - ``supports``: what it can do beyond what all must; the rules for it are run
    - ``lacks``: what it cannot do, each with the reason; the rules for it are skipped, and the lack
      is probed. A capability in neither leaves the verdict INCOMPLETE
    - ``known_failures``: rules that it breaks today, by id, each with the reason. Strict: a rule
      listed here that holds is a failure. A safety rule cannot be listed
    - ``redis``: ``"server"`` needs a real server, ``"fake"`` wants none, ``"auto"`` takes what
      ``--am2z-redis`` gives
    - ``permanent_keys``: shell-style patterns of the Redis keys that may stay without a TTL once
      the runtime is closed (``None``: any)

    Raises ``ConfigurationError`` for a declaration that contradicts itself.
    """

    name: str
    make: MakeRuntime
    supports: Collection[Capability] = frozenset()
    lacks: Mapping[Capability, str] = field(default_factory=dict)
    known_failures: Mapping[str, str] = field(default_factory=dict)
    redis: Literal["auto", "server", "fake"] = "auto"
    permanent_keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.+\[\]()-]{1,60}", self.name):
            raise ConfigurationError(
                f"{self.name!r} cannot be the name of a runtime under test: give 1 to 60 letters, "
                "digits or any of . _ + - ( ) [ ]"
            )
        if not _takes_an_environment(self.make):
            raise ConfigurationError(
                f"{self.name}: make is {self.make!r:.100}; give a function of one argument, the "
                "environment, that returns an async context manager "
                "(contextlib.asynccontextmanager)"
            )
        try:
            supports = frozenset(map(Capability, self.supports))
            lacks = {Capability(name): why for name, why in self.lacks.items()}
        except ValueError as error:
            there_is = ", ".join(Capability)
            raise ConfigurationError(f"{self.name}: {error}; there is {there_is}") from error
        object.__setattr__(self, "supports", supports)
        object.__setattr__(self, "lacks", lacks)
        if both := sorted(self.lacks.keys() & self.abilities):
            raise ConfigurationError(
                f"{self.name}: {', '.join(both)} is both in supports and lacks"
            )
        for what, reasons in (("lacks", self.lacks), ("known_failures", self.known_failures)):
            for key, reason in reasons.items():
                if not isinstance(reason, str) or not reason.strip():
                    raise ConfigurationError(f"{self.name}: {what}[{str(key)!r}] gives no reason")

    @property
    def abilities(self) -> frozenset[Capability]:
        """``supports`` as a set."""
        return frozenset(self.supports)


def _takes_an_environment(make: Any) -> bool:
    """Whether it can be called as ``make(env)``: a runtime's class, say, cannot."""
    if not callable(make):
        return False
    try:
        inspect.signature(make).bind(None)
    except TypeError:
        return False
    except ValueError:  # it is not known what it takes
        return True
    return True
