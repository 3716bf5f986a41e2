"""Three oracles over generated programs.

A *program* is a list of operations on a runtime, as plain data (``program``). One and the same
program is

- compared with a pure model that says what is allowed (``model``),
- run on two runtimes, whose observations are compared (``compare``),

and what clients do at the same time is recorded and checked for linearizability (``history``,
``linearizable``). ``draw`` makes programs, ``play`` runs them, ``search`` finds one that tells two
answers apart and makes it small.
"""
