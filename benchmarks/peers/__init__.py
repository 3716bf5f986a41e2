"""One program for each subject of the benchmarks.

Each runs in an environment of its own, as a client or as a worker, and is spoken to by lines of
JSON (see ``line``). So a program here imports its own library, ``line`` and nothing else.
"""
