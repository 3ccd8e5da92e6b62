"""Functions called where no process can be started, as in a browser (guard._Here)."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time

import pytest

from vmakernel import guard
from vmakernel.exercise import exercises, grade

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="no sys.monitoring")


@pytest.fixture(autouse=True)
def in_browser(monkeypatch):
    def start(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(guard, "IN_BROWSER", True)
    monkeypatch.setattr(subprocess, "Popen", start)


def on_one_line():
    while True: pass  # noqa: E701  # fmt: skip


def catching_everything():
    while True:
        try:
            while True:
                try:
                    len("")
                except:  # noqa: E722
                    continue
        except BaseException:
            pass
        finally:
            len("")


def in_a_generator():
    return sum(one for one in itertools.count())


@pytest.mark.parametrize("loop", [on_one_line, catching_everything, in_a_generator])
def test_an_endless_loop_ends(loop):
    began = time.monotonic()
    with pytest.raises(guard.Stopped, match=rf"{loop.__name__} did not come back within 0.5 s"):
        guard.run(loop, seconds=0.5)
    assert time.monotonic() < began + 5
    assert guard.run(len, "abc") == 3  # and nothing is left of the watch
    if sys.version_info >= (3, 12):
        assert sys.monitoring.get_tool(guard._Watch.TOOL) is None


def test_a_watched_function_may_have_another_watched():
    def outer():
        try:
            return guard.run(on_one_line, seconds=0.2)
        except guard.Stopped as stopped:
            return str(stopped)

    assert (
        guard.run(outer, seconds=20) == "on_one_line did not come back within 0.2 s and was stopped"
    )


def test_it_gets_copies_and_its_output_is_cut(capsys):
    def function(things):
        things.append(1)
        for number in range(100):
            print(number)
        return things

    mine: list[int] = []
    assert guard.run(function, mine, lines=3) == [1]
    assert mine == []
    assert capsys.readouterr().out == "0\n1\n2\n… and more, which is not shown\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: 1 / 0, "raised ZeroDivisionError in its line 1"),
        (lambda: sys.exit(3), "raised SystemExit in its line 1: 3"),
        (lambda: lambda: 1, "returned a function, which cannot be handed over"),
    ],
)
def test_what_goes_wrong_is_one_sentence(wrong, said):
    with pytest.raises(guard.Stopped, match=said):
        guard.run(wrong)


@pytest.mark.parametrize("name", exercises())
def test_the_judge_judges_as_elsewhere(name):
    exercise = exercises()[name]
    assert grade(exercise, exercise.value(exercise.solution)).right
    for mistake in exercise.wrong:
        assert not grade(exercise, exercise.value(mistake.answer)).right
