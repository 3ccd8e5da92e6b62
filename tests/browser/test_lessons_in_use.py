"""What happens to a reader: an exercise, a restart, a second tab, a reload, a page of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.browser import walk
from tests.browser.jupyter import Lab, Notebook, foreign
from tests.browser.twin import OUTER, Pair, kind, twins
from tools import course
from vmakernel.exercise import Exercise, Feedback, find, grade

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

LESSON: Final = "notebooks/00-start-here.ipynb"


@pytest.fixture
def lesson(lab: Lab) -> Iterator[Notebook]:
    """The first lesson, after all its cells ran."""
    opened = lab.open(LESSON)
    opened.run_all()
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def as_it_came(home: Path) -> Iterator[None]:
    """What a test saves in the lesson is not there for the next."""
    yield
    shutil.copy(course.ROOT / LESSON, home / LESSON)


def first(notebook: Notebook) -> Pair:
    """The first widget of the page, with its twin."""
    panels = notebook.panel.locator(OUTER)
    (made, *_) = twins(course.ROOT / LESSON, notebook.holders(panels)[:1])
    return Pair(made.panel, panels.first)


# --- exercises ------------------------------------------------------------------------------------


@pytest.fixture
def checked(lab: Lab, request: pytest.FixtureRequest) -> Iterator[tuple[Notebook, Exercise]]:
    """An exercise in its notebook, whose first cell was run."""
    chapter, name = request.param
    notebook = lab.open(f"exercises/{chapter}.ipynb")
    notebook.run_cell("setup")
    yield notebook, find(name)
    notebook.close()


def says(notebook: Notebook, one: Exercise, code: str) -> str:
    """Put an answer in, run both cells, and give what the check shows."""
    notebook.run_cell(f"{one.id}-answer", code)
    notebook.run_cell(f"{one.id}-check")
    said: str = notebook.cell(f"{one.id}-check").locator(".jp-OutputArea").inner_text()
    return said


def in_page(feedback: Feedback) -> list[str]:
    """The lines that a feedback puts into a page."""
    return repr(feedback).splitlines()


@pytest.mark.parametrize("checked", [("1-read-and-predict", "first-split")], indirect=True)
def test_an_exercise_is_not_tried_then_wrong_then_right(
    checked: tuple[Notebook, Exercise],
) -> None:
    notebook, one = checked
    wrong = one.wrong[0].answer

    assert "not yet tried" in says(notebook, one, one.starter)
    shown = says(notebook, one, f"{one.answer} = {wrong}")
    for line in in_page(grade(one, one.value(wrong))):
        assert line in shown
    assert notebook.cell(f"{one.id}-check").locator("svg[role=img]").count() == 1
    assert in_page(grade(one, one.value(one.solution)))[0] in says(notebook, one, one.solution)


@pytest.mark.parametrize("checked", [("4-repair", "fix-of-case-7")], indirect=True)
def test_an_endless_loop_is_stopped_and_the_kernel_lives(
    checked: tuple[Notebook, Exercise],
) -> None:
    notebook, one = checked

    shown = says(notebook, one, f"def {one.answer}(ask):\n    while True:\n        pass")
    assert "did not come back within" in shown
    assert "wrong:" in says(notebook, one, one.wrong[0].answer)
    assert notebook.restarts() == 0


# --- a kernel that goes away ----------------------------------------------------------------------


def test_a_restart_keeps_what_was_written_and_running_all_brings_the_widgets_back(
    lesson: Notebook,
) -> None:
    mine = 'yours = "P=0-6:rw,f1@0,c | protect 2-4:r"\n\ndraw.before_after(yours, "6.3")'
    lesson.run_cell("notation-yours", mine)
    lesson.restart()

    assert lesson.source("notation-yours") == mine
    lesson.run_all()
    pair = first(lesson)
    assert walk.by_mouse(pair) > 5
    assert lesson.source("notation-yours") == mine
    assert lesson.panel.locator(".jp-mod-error").count() == 0


def test_a_saved_lesson_shows_its_widgets_as_they_were_left_after_their_kernel_is_gone(
    lab: Lab,
) -> None:
    notebook = lab.open(LESSON)
    notebook.run_all()
    pair = first(notebook)
    answer(pair)
    notebook.save()
    notebook.close()

    again = lab.open(LESSON)
    left = Pair(pair.panel, again.panel.locator(OUTER).first)
    left.agree("opening it again, with another kernel")
    assert again.panel.get_by_text("model not found").count() == 0
    again.run_all()
    walk.by_mouse(first(again))
    again.close()


def answer(pair: Pair) -> None:
    """Choose an answer and commit to it, in the page and here."""
    options = next(one for one in pair.controls if kind(one) == "radio")
    button = walk.button_after(pair, options)
    assert button is not None
    pair.reach()
    for one, value in ((options, 1), (button, None)):
        walk.mouse(pair, one, value)
        pair.agree(walk.names(one))


def test_a_reload_finds_the_running_kernel_and_its_widgets(
    context: BrowserContext, address: str
) -> None:
    tab = Lab(context, address, workspace="reload")
    notebook = tab.open(LESSON)
    notebook.run_all()
    pair = first(notebook)
    answer(pair)
    notebook.save()

    tab.load()
    again = tab.open(LESSON)
    left = Pair(pair.panel, again.panel.locator(OUTER).first)
    left.agree("loading the page again")
    walk.by_mouse(left)
    again.close()
    tab.page.close()


def test_two_tabs_on_one_notebook_show_the_same(
    lesson: Notebook, context: BrowserContext, address: str
) -> None:
    lesson.save()
    here = first(lesson)
    tab = Lab(context, address, workspace="second")
    there = Pair(here.panel, tab.open(LESSON).panel.locator(OUTER).first)
    there.agree("opening it in a second tab")

    lesson.page.bring_to_front()
    answer(here)
    tab.page.bring_to_front()
    there.agree("an answer in the first tab")
    walk.by_mouse(there)
    lesson.page.bring_to_front()
    here.agree("answers in the second tab")
    tab.page.close()


# --- on the tests themselves ----------------------------------------------------------------------


def test_a_page_that_shows_something_else_is_noticed(lesson: Notebook) -> None:
    pair = first(lesson)
    pair.agree("running the cell")
    pair.panel.message.value = "<p>not so</p>"

    with pytest.raises(AssertionError, match="after nothing: HTML 1 is"):
        pair.agree("nothing", seconds=1)


def test_requests_and_sockets_are_written_down(lesson: Notebook, asked: list[str]) -> None:
    assert {url.partition(":")[0] for url in asked} >= {"http", "ws"}
    assert any("/channels" in url for url in asked)
    for other in ("https://example.org/x.js", "ws://10.0.0.1/", "http://localhost.example.org"):
        assert foreign(other)
    for own in ("http://127.0.0.1:8888/lab", "data:,", "blob:http://127.0.0.1/x"):
        assert not foreign(own)


def test_the_copy_is_served_and_nothing_tracked_changes(home: Path) -> None:
    assert (home / LESSON).is_file()
    assert not home.is_relative_to(course.ROOT)
