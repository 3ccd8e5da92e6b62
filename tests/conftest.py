"""Settings that all tests share."""

from hypothesis import settings

# A slow machine is no failure, and a failure names the bytes that repeat it.
settings.register_profile("course", deadline=None, print_blob=True)
settings.load_profile("course")
