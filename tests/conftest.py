"""For every test: hypothesis draws the same examples in every run, so that what failed once fails again."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("same-every-time", derandomize=True, deadline=None, database=None)
settings.load_profile("same-every-time")
