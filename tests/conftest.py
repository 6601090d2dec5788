"""Settings of all tests."""

import matplotlib
from hypothesis import settings

matplotlib.use("Agg")
settings.register_profile("busy", deadline=None)  # a loaded machine is slow, not wrong
settings.load_profile("busy")
