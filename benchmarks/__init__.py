"""Our runtimes and their peers under the same measurements: ``python -m benchmarks --help``."""
