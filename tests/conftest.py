"""Settings that all tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from vmakernel import guard, progress

# A test neither reads nor writes what the one who runs it has learned.
os.environ[progress.VARIABLE] = ""

NIGHTLY = bool(os.environ.get("VMAKERNEL_NIGHTLY"))  # `make test-nightly`

# A slow machine is no failure. Examples are always the same but at night, and there a failure names
# the bytes that repeat it.
settings.register_profile("course", deadline=None, print_blob=True, derandomize=not NIGHTLY)
settings.load_profile("course")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is marked `nightly` to the night."""
    if not NIGHTLY:
        later = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if item not in set(later)]


@pytest.fixture(autouse=True, scope="session")
def typed() -> Iterator[None]:
    """What a test defines goes to a guarded process as what a notebook defines does: by value.

    By name, that process would import all of the test's file, and pytest with it.
    """
    importable = guard._importable

    def by_name(thing: object) -> bool:
        ours = str(getattr(thing, "__module__", "")).startswith(("test_", "tests."))
        return importable(thing) and not ours

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "_importable", by_name)
        yield
