"""The machine that runs these tests may be busy: examples have no deadline, tests that must be quick count CPU time."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
