"""Every notebook, as a reader meets it: opened, run, used, looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.browser import walk
from tests.browser.jupyter import Lab, Notebook
from tests.browser.twin import Pair, twins
from tools import course

FOUND: Final = [
    path.relative_to(course.ROOT)
    for folder in ("notebooks", "exercises")
    for path in sorted((course.ROOT / folder).glob("*.ipynb"))
]
OUTER: Final = ".vk-panel:not(.vk-panel .vk-panel)"


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
            cells = panels.evaluate_all(
                """(panels) => {
                    const cells = window.jupyterapp.shell.currentWidget.content.widgets;
                    return panels.map(one => cells.find(it => it.node.contains(one)).model.id);
                }"""
            )
            made = twins(course.ROOT / self.path, cells)
            assert [one.cell for one in made] == cells
            self._pairs = [Pair(one.panel, panels.nth(at)) for at, one in enumerate(made)]
        return self._pairs


@pytest.fixture(scope="module", params=FOUND, ids=lambda path: path.stem)
def opened(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Opened]:
    """A notebook after all its cells ran; its kernel is ended afterwards."""
    one = Opened(lab, request.param)
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
    assert any(outputs.values())
    assert opened.notebook.panel.locator(".jp-mod-error, .jupyter-widgets-error").count() == 0
    assert opened.notebook.panel.get_by_text("model not found").count() == 0
    assert opened.lab.wrong == []


def test_by_mouse(opened: Opened, times: dict[str, list[float]]) -> None:
    for pair in opened.pairs:
        pair.agree("running the cell")
        done = walk.by_mouse(pair)
        assert done >= len(pair.controls)
        times[type(pair.panel).__name__] += pair.times
        pair.times.clear()
    assert opened.lab.wrong == []
