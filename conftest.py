"""The tests run from the checkout, where the plugin's entry point may not be installed."""

import os
from importlib.metadata import entry_points

pytest_plugins = ["pytester"]

_installed = any(point.value == "harness.plugin" for point in entry_points(group="pytest11"))
if not _installed or os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
    pytest_plugins.append("harness.plugin")
