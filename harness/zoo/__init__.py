"""The zoo: our own runtimes, each wrong in exactly one way, to see which rule finds out.

``am2z zoo`` runs the suite on every one of them. A rule that no mutant ever breaks proves nothing;
a mutant that no rule finds is a fault that the kit would let pass in somebody else's runtime too.

- ``mutant``: what a mutant is, and the tools to write one
- ``MODULES``: where they are kept, one module for each group of rules
- ``worker``: runs the suite on one mutant after the other, in a process of its own
- ``runner``: hands the mutants out to workers; ``matrix``: what they found

The zoo is the one place of the kit that imports private modules of ``am2z``: it is about the
inside of our own runtimes, and says nothing about those of others. No rule may use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module

from harness.zoo.mutant import Mutant, all_mutants

__all__ = ["MODULES", "load_mutants"]

MODULES = tuple(
    f"{__name__}.{name}"
    for name in (
        "lifecycle",
        "registration",
        "execution",
        "compositions",
        "scheduling",
        "calls",
        "submitting",
        "sessions",
        "stopping",
        "state",
        "values",
        "stores",
        "retries",
        "errors",
        "failures",
        "events",
        "delivery",
        "resources",
        "counts",
        "books",
        "locks",
        "queue",
        "faults",
        "oracle",
        "clauses",
        "unseen",
        "unseen_again",
        "unseen_further",
        "promised",
        "promised_too",
        "unseen_fourth",
        "unseen_fifth",
        "unseen_sixth",
        "families_of_states",
        "forms",
        "audience",
        "figures",
        "crossing",
        "lives",
        "families_of_lives",
        "families_of_work",
        "families_of_situations",
        "drawn",
        "unseen_seventh",
        "unseen_eighth",
        "unseen_ninth",
    )
)
"""The modules of mutants, in the order of every report."""


def load_mutants(modules: Iterable[str] | None = None) -> Mapping[str, Mutant]:
    """Every mutant of some modules, or of all ``MODULES``, by name."""
    wanted = list(modules or MODULES)
    for name in wanted:
        import_module(name)
    order = {name: number for number, name in enumerate(wanted)}
    found = [mutant for mutant in all_mutants().values() if mutant.module in order]
    return {m.name: m for m in sorted(found, key=lambda m: order[m.module])}
