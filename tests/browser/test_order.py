"""Cells run twice, and cells run out of order; no browser is needed for it."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from tests.browser.test_notebooks import FOUND
from tools import course
from tools.notebooks import ran, read

LESSONS = [path for path in FOUND if path.parts[0] == "notebooks"]
every_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def sources(path: Path) -> list[tuple[str, str]]:
    """Give the id and source of each cell that a reader runs; claims are checked elsewhere."""
    return [
        (cell.id, cell.source)
        for cell in read(course.ROOT / path).cells
        if cell.cell_type == "code" and "claim" not in cell.metadata.get("tags", [])
    ]


@every_lesson
def test_cells_run_twice_or_out_of_order_work_or_name_what_is_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = sources(path)
    monkeypatch.chdir(course.ROOT / path.parent)  # where a kernel starts
    together: dict[str, object] = {"__name__": "__main__"}
    missing = []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ran(first[1], together)
        alone = dict(together)
        for name, source in others:  # each alone, right after the imports
            try:
                repr(ran(source, dict(alone)))
            except NameError as error:
                missing.append((name, error.name))
        for _, source in [first, *others, first, *others]:
            repr(ran(source, together))
    # What was missing is a name that another cell gives.
    assert [(name, what) for name, what in missing if what not in together] == []
