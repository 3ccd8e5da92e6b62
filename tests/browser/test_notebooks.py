"""Every notebook, as a reader meets it: opened, run, used, looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.browser import walk
from tests.browser.jupyter import Lab, Notebook
from tests.browser.twin import OUTER, Pair, twins
from tools import course
from tools.notebooks import read

# VMAKERNEL_BROWSER=quick: one widget of a kind by mouse, one theme, one width.
QUICK: Final = os.environ.get("VMAKERNEL_BROWSER") == "quick"
FOUND: Final = [
    path.relative_to(course.ROOT)
    for folder in ("notebooks", "exercises")
    for path in sorted((course.ROOT / folder).glob("*.ipynb"))
]


class Opened:
    """A notebook that was run in the page, and its widgets with their twins."""

    def __init__(self, lab: Lab, path: Path) -> None:
        self.lab, self.path = lab, path
        lab.wrong.clear()
        self.notebook: Notebook = lab.open(path.as_posix())
        self.notebook.run_all()
        self._pairs: list[Pair] | None = None

    @property
    def pairs(self) -> list[Pair]:
        """Every widget in the page, with its twin."""
        if self._pairs is None:
            panels = self.notebook.panel.locator(OUTER)
            cells = self.notebook.holders(panels)
            made = twins(course.ROOT / self.path, cells)
            assert [one.cell for one in made] == cells
            self._pairs = [Pair(one.panel, panels.nth(at)) for at, one in enumerate(made)]
        return self._pairs


@pytest.fixture(scope="module", params=FOUND, ids=lambda path: path.stem)
def opened(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Opened]:
    """A notebook after all its cells ran; its kernel is ended afterwards."""
    one = Opened(lab, request.param)
    following = FOUND[FOUND.index(request.param) + 1 :]
    if following:
        lab.prepare(following[0].as_posix())
    yield one
    one.notebook.close()


def test_it_runs_without_an_error(opened: Opened) -> None:
    outputs = opened.notebook.outputs()
    errors = [
        f"{cell}: {one['ename']}: {one['evalue']}"
        for cell, shown in outputs.items()
        for one in shown
        if one["output_type"] == "error"
    ]

    assert errors == []
    stored = [cell for cell in read(course.ROOT / opened.path).cells if cell.get("outputs")]
    assert any(outputs.values()) or not stored
    assert opened.notebook.panel.locator(".jp-mod-error, .jupyter-widgets-error").count() == 0
    assert opened.notebook.panel.get_by_text("model not found").count() == 0
    assert opened.lab.wrong == []


def test_by_keyboard_alone(opened: Opened, used: set[type]) -> None:
    # One of a kind is enough: what is asked is whether the keys reach it, and stay with it.
    for pair in opened.pairs:
        if type(pair.panel) in used:
            continue
        used.add(type(pair.panel))
        cells = opened.notebook.count()
        opened.notebook.stand_before(pair.there)
        there = len(pair.controls)
        assert walk.by_keyboard(pair) >= there
        assert opened.notebook.count() == cells, "a key was a command to JupyterLab"
    assert opened.lab.wrong == []


def test_by_mouse(opened: Opened, times: dict[str, list[float]], clicked: set[type]) -> None:
    for pair in opened.pairs:
        pair.agree("running the cell")
        if QUICK and type(pair.panel) in clicked:
            continue
        clicked.add(type(pair.panel))
        there = len(pair.controls)  # a button may bring more of them
        assert walk.by_mouse(pair) >= there
        times[type(pair.panel).__name__] += pair.times
        pair.times.clear()
    assert opened.lab.wrong == []


@pytest.fixture(scope="session")
def used() -> set[type]:
    """The kinds of widget that were used by keyboard."""
    return set()


@pytest.fixture(scope="session")
def clicked() -> set[type]:
    """The kinds of widget that were used by mouse."""
    return set()


@pytest.mark.parametrize("theme", ["light"] if QUICK else ["light", "dark"])
def test_it_is_accessible(opened: Opened, theme: str, axe: str) -> None:
    with opened.notebook.theme(theme), opened.notebook.unfolded():
        opened.notebook.photograph(f"{opened.path.stem}-{theme}")
        assert opened.notebook.violations(axe) == []
        assert opened.notebook.moving() == []


@pytest.mark.parametrize("width", [400] if QUICK else [400, 640])
def test_nothing_is_cut_on_a_narrow_screen_or_at_twice_the_size(opened: Opened, width: int) -> None:
    with opened.notebook.wide(width), opened.notebook.unfolded():
        if width == 400:
            opened.notebook.photograph(f"{opened.path.stem}-{width}")
        assert opened.notebook.cut() == []
