"""The tests run from the checkout, where the plugin's entry point may not be installed."""

from importlib.metadata import entry_points

pytest_plugins = ["pytester"]

if not any(point.value == "harness.plugin" for point in entry_points(group="pytest11")):
    pytest_plugins.append("harness.plugin")
