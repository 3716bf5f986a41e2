"""The decorator that makes a test of a rule."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from am2z import ConfigurationError
from harness.catalogue import Rule, load_catalogue
from harness.fingerprint import code_fingerprint

if TYPE_CHECKING:
    from harness.kit import Kit

__all__ = ["MARKER", "RuleCheck", "published_rules", "rule"]

MARKER = "am2z_rule"
Body = Callable[["Kit"], Awaitable[None]]

_CONFORMANCE = Path(__file__).parent / "conformance"
_published: dict[str, tuple[str, RuleCheck]] = {}


@dataclass(frozen=True)
class RuleCheck:
    """A rule together with the code that checks it."""

    rule: Rule
    body: Body
    probe: Body | None = None

    @cached_property
    def fingerprint(self) -> str:
        """What the code was when it was defined."""
        return _fingerprint(self)

    @property
    def is_published(self) -> bool:
        """Whether this is, still, the check that the kit ships for its rule."""
        known = _published.get(self.rule.id)
        return known is not None and known[0] == _fingerprint(self) == self.fingerprint


def rule(rule_id: str, *, probe: Body | None = None) -> Callable[[Body], Callable[..., None]]:
    """Make the test of a rule from an async function of the ``Kit``.

    The test is a plain function with the fixture ``am2z_kit``; pytest runs it once for each runtime
    under test. ``probe`` is run instead on a runtime that declares to lack what the rule requires:
    it must end in ``UnsupportedCapability``, which proves the declaration.

    Raises ``ConfigurationError`` for an id that is not in the catalogue. ::

        @rule("EXE-001")
        async def test_processor_result_reaches_the_caller(kit: Kit) -> None:
            async with kit.runtime(counter) as runtime:
                result = await runtime.execute(counter, TestState(count=1))
            assert result.state.count == 2
    """
    entry = load_catalogue().find(rule_id)

    def define(body: Body) -> Callable[..., None]:
        check = RuleCheck(entry, body, probe)
        _publish(check)

        def test(am2z_kit: Any) -> None:
            am2z_kit.run(check)

        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(test, name, getattr(body, name, None))
        test.am2z_check = check  # type: ignore[attr-defined]  # what the plugin knows it by
        mark = getattr(pytest.mark, MARKER)(entry.id)
        test.pytestmark = [mark]  # type: ignore[attr-defined]  # as a decorator sets it
        return test

    return define


def published_rules() -> dict[str, RuleCheck]:
    """The kit's own checks by rule id."""
    import harness.conformance  # noqa: F401, PLC0415 - importing it fills the table

    return {rule_id: check for rule_id, (_, check) in _published.items()}


def _publish(check: RuleCheck) -> None:
    """Note a check of the kit itself; one of somebody else's is no rule, whatever its id."""
    code = getattr(check.body, "__code__", None)
    if code is None or _CONFORMANCE not in Path(code.co_filename).parents:
        return
    known = _published.get(check.rule.id)
    if known is not None and _place(known[1]) != _place(check):
        raise ConfigurationError(
            f"{check.rule.id} is checked twice: by {_place(known[1])} and {_place(check)}"
        )
    _published[check.rule.id] = (check.fingerprint, check)


def _place(check: RuleCheck) -> str:
    return f"{check.body.__module__}.{check.body.__qualname__}"


def _fingerprint(check: RuleCheck) -> str:
    parts = [code_fingerprint(check.body)]
    if check.probe is not None:
        parts.append(code_fingerprint(check.probe))
    return "+".join(parts)
