"""Programs as a Hypothesis strategy, for tests of your own. ::

@given(programs([LIVES]))
def test_my_runtime_agrees_with_the_model(program): ...
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from harness.oracle.draw import THEMES, draw_program
from harness.oracle.program import Program

__all__ = ["programs"]


@st.composite
def programs(
    draw: st.DrawFn, themes: Sequence[Sequence[str]] = THEMES, shortest: int = 1, longest: int = 14
) -> Program:
    """Programs of these themes; Hypothesis makes the one that fails a test small."""
    return draw_program(lambda: draw(st.booleans()), themes, shortest, longest)
