"""The exercises: every answer written down gets what it must, and no answer breaks a check."""

import random
import re
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tools import course, exercises
from tools.notebooks import SOLUTIONS, canonical, faults, read
from vmakernel import exercise
from vmakernel.exercise import Exercise, Feedback, Grade, chapters, check, hint, solution
from vmakernel.explain import trace
from vmakernel.flags import InputError
from vmakernel.judges import Wrong, _fails, differs, judge, mutant, patches, situations
from vmakernel.kernels import Removal, kernel
from vmakernel.own import OwnRule

ALL = exercise.exercises()
ENDLESS = "did not come back within 2 s"

every_exercise = pytest.mark.parametrize("one", ALL.values(), ids=list(ALL))
every_chapter = pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: chapter.file)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has tried anything yet."""
    monkeypatch.setattr(exercise, "_ATTEMPTED", set())
    exercise._HINTED.clear()


# --- each exercise ---------------------------------------------------------------------------


@every_exercise
def test_the_starter_is_not_yet_tried(one: Exercise) -> None:
    told = check(one.id, one.value(one.starter))

    assert told.grade is Grade.NOT_TRIED
    assert one.answer in repr(told)
    assert "Try it first" in repr(solution(one.id))


@every_exercise
def test_the_solution_is_right_and_says_what_to_remember(one: Exercise) -> None:
    told = check(one.id, one.value(one.solution))

    assert told.right, told
    assert one.remember in repr(told)


@every_exercise
def test_three_other_right_answers_pass(one: Exercise) -> None:
    assert len(set(one.right) - {one.solution}) >= 3
    for code in one.right:
        told = check(one.id, one.value(code))
        assert told.right, f"{code}\n{told}"


@every_exercise
def test_every_typical_wrong_answer_is_told_why(one: Exercise) -> None:
    assert len({mistake.answer for mistake in one.wrong}) == len(one.wrong) >= 2
    for mistake in one.wrong:
        told = check(one.id, one.value(mistake.answer))
        assert told.grade is Grade.WRONG, mistake.answer
        assert mistake.says in repr(told), f"{mistake.answer}\n{told}"
        assert mistake.why in repr(told), f"{mistake.answer}\n{told}"
        assert told.lines[0].count("\n") == 0


@every_exercise
def test_hints_come_one_by_one_and_do_not_repeat_themselves(one: Exercise) -> None:
    told = [repr(hint(one.id)) for _ in one.hints]

    assert len(set(one.hints)) == len(one.hints) >= 3
    assert all(len(text) > 10 for text in one.hints)
    assert told == [f"hint {n} of {len(told)}: {text}" for n, text in enumerate(one.hints, 1)]


@every_exercise
def test_a_solution_is_given_after_an_attempt(one: Exercise) -> None:
    assert one.solution not in repr(solution(one.id))

    check(one.id, one.value(one.wrong[0].answer))

    assert one.solution in repr(solution(one.id))


@every_exercise
def test_garbage_gets_a_sentence(one: Exercise) -> None:
    for answer in GARBAGE:
        told = check(one.id, answer)
        assert isinstance(told, Feedback)
        assert told.grade in Grade
        assert repr(told).encode("utf-8")
        assert told._repr_mimebundle_()["text/html"].encode("utf-8")
        assert "Traceback" not in repr(told)
        assert "cannot be looked at" not in repr(told) or type(answer) is not str, answer


class Rude:
    """An object that does not let itself be looked at."""

    def __getattribute__(self, name: str) -> object:
        raise ValueError(name)

    def __repr__(self) -> str:
        raise ValueError("no")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no")

    __hash__ = None  # type: ignore[assignment]


def garbage() -> list[object]:
    """Values of all kinds, and texts that are almost right."""
    endless: list[object] = []
    endless.append(endless)
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    values: list[object] = [
        None, True, -1, 3.5, float("nan"), 10**400, b"PPPP", object(), Rude(), endless, deep, int,
        re, {}, {1: 2}, {"A": 1, "B": 2, "C": 3}, set(), [[], []], [None] * 8, iter([]), "", " ",
        "\ud800", "\x00", "P" * 5000, "|", "P=0-4", "P=4-0:rw", "P=0-4:rw P=2-6:rw | unmap 0-4",
        "P=0-4:rw | ", "| protect 0-4:r", "P=0-4:rw | protect 8-9:r; protect 0-99999999999:x",
        "P=0-" + "9" * 600 + ":rw | mremap P+" + "9" * 600, "seg A 12\nshmat A 0\nshmat B 0",
        "seg A 12\n" * 3, "<script>alert(1)</script>",
        "P=0-4:rw | modify 0-4:rw" + "; unmap 0-1" * 60,
    ]  # fmt: skip
    dice = random.Random(6)
    letters = "PCN=-0123456789:rwxf@,c|; .*modifyprotectunmap\n"
    values += ["".join(dice.choices(letters, k=dice.randrange(60))) for _ in range(60)]
    layouts = [one.value(one.solution) for one in ALL.values()]
    for text in [text for text in layouts if isinstance(text, str)]:
        at = dice.randrange(len(text))
        values.append(text[:at] + dice.choice(letters) + "?" + text[at + 1 :])
    return values


GARBAGE = garbage()


def test_there_is_no_exercise_of_that_name() -> None:
    with pytest.raises(InputError, match="there is no exercise lay-out; there are write-it-down"):
        check("lay-out", "P")


# --- a learner's function --------------------------------------------------------------------


def endless(ask):
    while True:
        pass


def greedy(ask):
    return [0] * 10**10


def loud(ask):
    while True:
        print("again")


def failing(ask):
    return 1 // (ask.case - ask.case)


def bottomless(ask: object) -> object:
    return bottomless(ask)


def leaving(ask):
    raise SystemExit(3)


def nonsense(ask):
    return "perhaps"


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (endless, ENDLESS),
        (greedy, "memory"),
        (loud, ENDLESS),
        (failing, "raised ZeroDivisionError in its line 2"),
        (bottomless, "RecursionError"),
        (leaving, "SystemExit"),
        (nonsense, "answered 'perhaps'"),
    ],
)
def test_a_function_that_misbehaves_gets_one_sentence(function, says, capsys) -> None:
    told = check("from-one-sentence", function)

    assert told.grade is Grade.WRONG
    assert says in told.lines[0]
    assert told.lines[0].count(". ") == 0
    assert len(capsys.readouterr().out.splitlines()) <= 25


# --- what the judges rest on -----------------------------------------------------------------


def test_only_one_order_of_the_checks_passes() -> None:
    right = list(ALL["order-the-checks"].asks["checks"])
    for at in range(len(right) - 1):
        swapped = [*right[:at], right[at + 1], right[at], *right[at + 2 :]]
        assert check("order-the-checks", swapped).grade is Grade.WRONG


def test_a_mutant_forgives_what_its_check_would_have_refused_and_nothing_else() -> None:
    checks = ALL["order-the-checks"].asks["checks"]
    for missing in checks:
        for failing in checks:
            story = _fails(failing)
            assert differs(kernel("6.3"), mutant("6.3", missing), story) == (missing == failing)


def test_the_three_patches_are_what_the_key_says() -> None:
    tests = {
        "A": lambda ask: ask.role in ("next", "removed") and ask.vma.has_close,
        "B": lambda ask: ask.role == "removed" and ask.case == 7 and ask.vma.has_close,
        "C": lambda ask: ask.role == "removed" and ask.vma.has_close,
    }
    for name, one in patches().items():
        shown = one.with_rule(
            OwnRule(name, True, True, Removal.ALWAYS, one.rule.mremap, test=tests[name])
        )
        for text in situations():
            assert [s.after for s in trace(one, text)] == [s.after for s in trace(shown, text)]


def test_a_judge_raises_nothing_but_wrong() -> None:
    with pytest.raises(Wrong, match="write plain values"):
        judge("cases", Rude(), {"rule": "6.3", "scenarios": ["P=0-4:rw | unmap 0-4"]})


# --- notebooks and the key -------------------------------------------------------------------


def test_notebooks_and_key_are_as_the_exercises_are_written_down() -> None:
    made = exercises.files()
    for path, text in made.items():
        assert path.read_text("utf-8") == text, "run `.venv/bin/python -m tools.exercises`"
    assert {*exercises.EXERCISES.glob("**/*.ipynb"), exercises.KEY} == set(made)


@every_chapter
def test_a_solution_notebook_was_run_and_every_answer_in_it_is_right(chapter) -> None:
    notebook = read(SOLUTIONS / f"{chapter.file}.ipynb")

    assert faults(notebook) == []
    checks = [cell for cell in notebook.cells if cell.id.endswith("-check")]
    assert len(checks) == len(chapter.exercises)
    for cell in checks:
        assert cell.outputs[0].data["text/plain"].startswith("✓ right"), cell.id


@every_chapter
def test_a_learners_notebook_was_never_run_and_holds_no_solution(chapter) -> None:
    notebook = read(exercises.EXERCISES / f"{chapter.file}.ipynb")
    text = canonical(notebook)

    assert all(not c.outputs and c.execution_count is None for c in code(notebook))
    for one in chapter.exercises:
        assert one.solution not in text
        assert one.hints[-1] not in text


@every_chapter
def test_form(chapter) -> None:
    for solved in (False, True):
        notebook = exercises.notebook(chapter, solved=solved)
        ids = [cell.id for cell in notebook.cells]
        assert len(set(ids)) == len(ids)
        assert [name for name in ids if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name)] == []
        assert (ids[0], ids[-1]) == ("head", "foot")
        folder = SOLUTIONS if solved else exercises.EXERCISES
        for cell in notebook.cells:
            for target in re.findall(r"\]\(([^)]+)\)", cell.source):
                assert (folder / target).resolve().is_file(), target
        for cell in code(notebook):
            assert len([line for line in cell.source.splitlines() if line.strip()]) <= 8, cell.id


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_about_thirty_exercises_in_six_notebooks() -> None:
    assert len(chapters()) == 6
    assert 30 <= len(ALL) <= 36


# --- make work -------------------------------------------------------------------------------


def test_work_copies_never_overwrites_and_says_what_it_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "exercises"
    source.mkdir()
    for name in ("1.ipynb", "2.ipynb"):
        (source / name).write_text("first edition", "utf-8")
    monkeypatch.setattr(course, "EXERCISES", source)
    monkeypatch.setattr(course, "WORK", tmp_path / "work")

    assert course.main(["work"]) == 0
    assert "New in work/: 1.ipynb, 2.ipynb." in capsys.readouterr().out

    (tmp_path / "work/1.ipynb").write_text("mine", "utf-8")
    (source / "1.ipynb").write_text("second edition", "utf-8")
    (tmp_path / "work/2.ipynb").unlink()
    assert course.main(["work"]) == 0

    said = capsys.readouterr().out
    assert "New in work/: 2.ipynb." in said
    assert "Kept as you left it: 1.ipynb." in said
    assert "There is a newer edition of 1.ipynb" in said
    assert (tmp_path / "work/1.ipynb").read_text("utf-8") == "mine"
    assert (tmp_path / "work/2.ipynb").read_text("utf-8") == "first edition"
