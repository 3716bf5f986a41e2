"""Settings of the unit tests."""

from hypothesis import settings

# How long one example takes says nothing on a machine that does other things as well.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
