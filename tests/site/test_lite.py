"""The live course in the browser: it runs, answers, and no loop of a learner's hangs it."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.site.conftest import ROOT, SITE
from vmakernel import draw, quiz, widgets
from vmakernel.exercise import find
from vmakernel.kernels import kernel
from vmakernel.recorded import situation

pytestmark = pytest.mark.skipif(
    not (SITE / "lite").exists(), reason="the live course is not in dist/site"
)

MODEL = "const model = window.jupyterapp.shell.currentWidget.content.model.sharedModel;"
STARTED = "window.jupyterapp?.shell.currentWidget?.context?.sessionContext.session?.kernel"
OUTPUTS = (
    "(id) => {" + MODEL + "const cell = model.cells.find(cell => cell.id === id);"
    "return cell.execution_count === null ? null : cell.outputs}"
)
FAILED = (
    "() => {" + MODEL + "return model.cells.filter(cell => cell.cell_type === 'code').flatMap("
    "cell => cell.outputs.filter(output => output.output_type === 'error')"
    ".map(output => `${cell.id}: ${output.ename}: ${output.evalue}`))}"
)
LEFT = (
    "() => {" + MODEL + "return model.cells.filter(cell => cell.cell_type === 'code'"
    "&& cell.source.trim() && (cell.execution_count === null || cell.executionState === 'running')"
    ").length}"
)
RUN = (
    "([id, source]) => {" + MODEL + "const at = model.cells.findIndex(cell => cell.id === id);"
    "model.cells[at].execution_count = null; if (source) model.cells[at].setSource(source);"
    "const content = window.jupyterapp.shell.currentWidget.content;"
    "content.deselectAll(); content.activeCellIndex = at;"
    "window.jupyterapp.commands.execute('notebook:run-cell')}"
)
MINUTES = 600_000
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


class Notebook:
    """A notebook opened in the browser."""

    def __init__(self, context, address: str, path: str) -> None:
        self.tab = context.new_page()
        self.tab.set_default_timeout(MINUTES)
        context.route("**/jupyter-lite.json*", self._within_reach)
        self.began = time.monotonic()
        self.tab.goto(f"{address}lite/notebooks/index.html?path={path}")
        self.tab.locator(".jp-Cell").first.wait_for()
        self.opened = time.monotonic() - self.began

    @staticmethod
    def _within_reach(route) -> None:
        """Let a test reach the application; the site as it is shows it to nobody."""
        response = route.fetch()
        page = response.json()
        page.setdefault("jupyter-config-data", {})["exposeAppInBrowser"] = True
        route.fulfill(response=response, json=page)

    def run_all(self) -> list[str]:
        """Run all cells; return what failed."""
        self.tab.wait_for_function(STARTED)
        self.tab.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.tab.wait_for_function(f"({LEFT})() === 0 || ({FAILED})().length > 0")
        failed: list[str] = self.tab.evaluate(FAILED)
        return failed

    def run(self, cell: str, source: str = "") -> str:
        """Run one cell, with another source if one is given; return what it shows, as text."""
        self.tab.wait_for_function(STARTED)
        self.tab.evaluate(RUN, [cell, source])
        self.tab.wait_for_function(f"({OUTPUTS})({json.dumps(cell)}) !== null")
        shown = self.tab.evaluate(OUTPUTS, cell)
        return "".join(
            "".join(one.get("text") or one.get("data", {}).get("text/plain") or one.get("evalue"))
            for one in shown
        )


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_shows_its_pictures_and_runs(offline, address, name):
    lesson = Notebook(offline(), address, f"notebooks/{name}.ipynb")
    if 'class=\\"vk\\"' in (ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8"):
        lesson.tab.locator(".jp-OutputArea svg.vk").filter(visible=True).first.wait_for()
    pictured = time.monotonic() - lesson.began
    assert lesson.run_all() == []
    ran = time.monotonic() - lesson.began
    print(f"\nopened {lesson.opened:.1f} s, first picture {pictured:.1f} s, all run {ran:.1f} s")


def test_the_toggle_lab_and_a_prediction_answer(offline, address):
    lesson = Notebook(offline(), address, "notebooks/06-the-toggle-lab.ipynb")
    for cell in ("board-tools", "board-predict", "board-lab"):
        assert "not defined" not in lesson.run(cell)
    board = lesson.tab.locator(".vk-lab").first
    lab = widgets.toggle_lab().choose(moment="workaround", situation="case 5", close="all")
    for moment, label in {"pre_git": "pre-git", "may_remove_vma": "may_remove_vma 6.4"}.items():
        began = time.monotonic()
        board.get_by_label(label, exact=True).check()
        lesson.tab.wait_for_function(
            "text => document.querySelector('.vk-lab svg.vk')?.ariaLabel === text",
            arg=lab.choose(moment=moment).picture.text,
        )
        print(f"\n{moment}: {1000 * (time.monotonic() - began):.0f} ms")
    prediction = lesson.tab.locator(".vk-panel", has_text="Case 6, only prev is asked").first
    prediction.get_by_label("PPPP|NNNNNNNN", exact=True).check()
    prediction.get_by_role("button", name="commit").click()
    after = draw.before_after(situation(6, close="all"), kernel("6.5:after"))
    prediction.get_by_role("status").locator("svg.vk").wait_for()
    told = prediction.get_by_role("status").locator("svg.vk").get_attribute("aria-label")
    assert told == after.text
    assert "✓" in prediction.get_by_role("status").inner_text()


def test_an_endless_loop_ends_and_a_right_answer_is_right(offline, address):
    exercise = Notebook(offline(), address, "exercises/4-repair.ipynb")
    exercise.run("setup")
    loop = "def may_remove_vma(ask):\n    while True:\n        pass"
    exercise.run("test-of-the-patch-answer", loop)
    said = exercise.run("test-of-the-patch-check")
    assert said.startswith("✗ wrong: may_remove_vma did not come back within")
    exercise.run("test-of-the-patch-answer", find("test-of-the-patch").solution)
    assert exercise.run("test-of-the-patch-check").startswith("✓ right")


def test_no_kernel_is_asked_and_a_chart_needs_no_matplotlib(offline, address):
    lesson = Notebook(offline(), address, "notebooks/11-your-own-kernel.ipynb")
    why = "print(__import__('vmakernel.live').live.why_unsupported())"
    assert "this Python runs inside a browser" in lesson.run("compose-third", why)
    chart = "from vmakernel.charts import counts\ncounts('seg A 4\\nshmat A 0', '6.3')"
    assert lesson.run("compose-third", chart).startswith("VMAs after each call.")
    lesson.tab.locator("svg.vk[aria-label^='VMAs after each call']").first.wait_for()


def test_what_was_answered_outlives_the_kernel_and_the_page(offline, address):
    context = offline()
    lesson = Notebook(context, address, "notebooks/05-the-patch.ipynb")
    lesson.run("quiz-ask")
    asked = lesson.tab.locator(".vk-quiz").first
    question = quiz.of_lesson("05")[0]
    (right,) = [line for line in question.listing if line[3:] in question.key]
    asked.get_by_label(right, exact=True).check()
    asked.get_by_role("button", name="answer", exact=True).click()
    told = asked.get_by_role("status")
    told.get_by_text(f"You said {right} ✓").wait_for()
    assert asked.get_by_role("alert").count() == 0, "it is kept, so nothing is said"
    told.get_by_text("Why not something else?").click()
    for line in question.others:
        assert line.replace("`", "") in told.inner_text()

    kept = "from vmakernel import progress; print(*[one[1:3] for one in progress.results()[0]])"
    answers = f"('{question.id}', True)"
    lesson.tab.reload()
    lesson.tab.locator(".jp-Cell").first.wait_for()
    assert answers in lesson.run("quiz-ask", kept)
    lesson.tab.evaluate(f"{STARTED}.restart()")
    assert answers in lesson.run("quiz-ask", kept)
    lesson.tab.close()
    page = Notebook(context, address, "notebooks/progress.ipynb")
    assert page.run_all() == []
    shown = page.run("page-show")
    assert re.search(r"^05 +\d+ +1 +0$", shown, re.M)
    assert f"{question.id}: in a day" in shown
