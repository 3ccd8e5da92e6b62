"""Settings that all tests share."""

import os

from hypothesis import settings

from vmakernel import progress

# A test neither reads nor writes what the one who runs it has learned.
os.environ[progress.VARIABLE] = ""

# A slow machine is no failure, and a failure names the bytes that repeat it.
settings.register_profile("course", deadline=None, print_blob=True)
settings.load_profile("course")
