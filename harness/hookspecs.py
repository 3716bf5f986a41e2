"""The hook by which a project names its runtimes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from harness.subject import RuntimeUnderTest


def pytest_am2z_runtimes(config: pytest.Config) -> Iterable[RuntimeUnderTest]:
    """The runtimes that the rules run on, in the folder of this ``conftest.py`` and below.

    Of two runtimes with one name, that of the nearest ``conftest.py`` counts. ::

        def pytest_am2z_runtimes():
            return [RuntimeUnderTest("my", make, supports={Capability.DURABLE}, lacks={...})]
    """
    raise NotImplementedError
