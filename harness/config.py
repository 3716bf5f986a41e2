"""What the plugin keeps in pytest's config, and how to get at it. Cheap to import."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.kit import Kit
    from harness.session import Session

__all__ = ["KIT", "SECRET", "SEED", "SESSION", "checked", "is_worker", "session_of", "wanted_redis"]

SESSION: pytest.StashKey[Session] = pytest.StashKey()
SEED: pytest.StashKey[int] = pytest.StashKey()
SECRET: pytest.StashKey[bytes] = pytest.StashKey()
"""Signs what the kit found out, on its way through the reports of pytest."""
KIT: pytest.StashKey[Kit] = pytest.StashKey()
SEED_OPTION = "--am2z-seed"


def session_of(config: pytest.Config) -> Session:
    """The state of this process, made when the kit is first used."""
    if (state := config.stash.get(SESSION, None)) is None:
        from harness.session import Session

        replay = config.pluginmanager.get_plugin("am2z-replay") or _Replay(config)
        state = Session(wanted_redis(config), config.stash[SEED], replay)
        config.stash[SESSION] = state
    return state


def wanted_redis(config: pytest.Config) -> str:
    given: str | None = config.getoption("--am2z-redis")
    return given or os.environ.get("AM2Z_REDIS") or "auto"


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def checked(work: Callable[[], Any]) -> Any:
    """What ``work`` gives; a ``ConfigurationError`` becomes pytest's own, without a traceback."""
    from am2z import ConfigurationError

    try:
        return work()
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from error


class _Replay:
    """How to run a test of this session again."""

    def __init__(self, config: pytest.Config) -> None:
        from harness.redis import hide_password

        given = list(map(str, config.invocation_params.args))
        self._arguments = [
            hide_password(argument)
            for before, argument in zip(["", *given], given, strict=False)
            if argument.partition("=")[0] != SEED_OPTION and before != SEED_OPTION
        ]
        self._options = [f"{SEED_OPTION}={config.stash[SEED]}"]
        if (redis := wanted_redis(config)) != "auto":
            self._options.append(f"--am2z-redis={hide_password(redis)}")
        self._options += [f"--am2z-runtime={s}" for s in config.getoption("--am2z-runtime")]

    def one(self, runtime: str, rule_id: str, nodeid: str) -> str:  # noqa: ARG002 - `Replay`'s
        """See ``Replay``."""
        return shlex.join(["pytest", nodeid, *self._options])

    def all(self) -> str:
        """See ``Replay``."""
        return shlex.join(["pytest", *self._arguments, self._options[0]])
