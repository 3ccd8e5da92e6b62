"""Exercises: check an answer, give a hint, show a solution.

Previous: judges.py; next: practice.py. The exercises themselves are in data/exercises/, one file
to a notebook, each written once: task, starter, solution, hints, wrong answers, other right ones.

    check("first-split", layout)     not yet tried, wrong or right, and why
    hint("first-split")              one hint, and one more each time
    solution("first-split")          after an attempt
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from html import escape
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from vmakernel import draw, progress
from vmakernel.explain import owed, trace, verdict
from vmakernel.flags import InputError
from vmakernel.guard import Stopped
from vmakernel.judges import Params, Wrong, deciding, judge, shown
from vmakernel.kernels import Kernel
from vmakernel.layout import strip

LONG: Final = 10_000
MASTERS: Final = Path(__file__).with_name("data") / "exercises"


class Grade(StrEnum):
    """How an answer stands."""

    NOT_TRIED = "not yet tried"
    WRONG = "wrong"
    RIGHT = "right"


MARKS: Final = {Grade.NOT_TRIED: "○", Grade.WRONG: "✗", Grade.RIGHT: "✓"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A typical wrong answer, and what a learner who gives it must be told."""

    answer: str
    says: str
    why: str = ""  # the misconception behind it, told in addition to what the judge says


@dataclass(frozen=True, slots=True)
class Exercise:
    """One exercise as it is written down; `starter`, `solution` and the answers are Python."""

    id: str
    title: str
    objective: str
    kind: str
    minutes: int
    lesson: str
    task: str
    answer: str  # the name that the answer is given to
    starter: str
    solution: str
    judge: str
    asks: dict[str, Any]
    hints: tuple[str, ...]
    wrong: tuple[Mistake, ...]
    right: tuple[str, ...]
    remember: str
    setup: str  # what its notebook imports
    example: str = ""  # a worked example, run before the exercise

    def value(self, code: str) -> Any:
        """Return the answer that `code` gives: an expression, or statements that set `answer`.

        For the course's own code, never for a learner's.
        """
        try:
            expression = compile(code.strip(), self.id, "eval")
        except SyntaxError:
            around: dict[str, Any] = {"__name__": "__main__"}
            exec(self.setup, around)
            exec(compile(code, self.id, "exec"), around)
            return around[self.answer]
        return eval(expression)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One notebook of exercises."""

    file: str
    title: str
    versions: str
    finds: str
    do: str
    learn: str
    need: str
    reading: tuple[str, ...]
    setup: str
    exercises: tuple[Exercise, ...]


@cache
def chapters() -> tuple[Chapter, ...]:
    """Return all notebooks of exercises, in order."""
    found = []
    for path in sorted(MASTERS.glob("*.toml")):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        data["setup"] = data["setup"].strip()
        told = [_exercise(**one, setup=data["setup"]) for one in data.pop("exercise")]
        data["reading"] = tuple(data["reading"])
        found.append(Chapter(file=path.stem, exercises=tuple(told), **data))
    return tuple(found)


def _exercise(**data: Any) -> Exercise:
    wrong = tuple([Mistake(**one) for one in data.pop("wrong")])
    for name in ("hints", "right"):
        data[name] = tuple(data[name])
    for name in ("task", "starter", "solution", "example", "remember"):
        data[name] = data.get(name, "").strip("\n")
    return Exercise(wrong=wrong, asks=data.pop("asks", {}), **data)


def exercises() -> dict[str, Exercise]:
    """Return all exercises by id, in order."""
    return {one.id: one for chapter in chapters() for one in chapter.exercises}


def find(name: str) -> Exercise:
    """Return an exercise. Raises InputError, naming those whose id is like it."""
    known = exercises()
    if name not in known:
        raise InputError(f"there is no exercise {shown(name, 40)}; there are {', '.join(known)}")
    return known[name]


# --- feedback ----------------------------------------------------------------------------------


class Feedback:
    """How an answer stands, in words (the repr) and in a picture."""

    def __init__(self, grade: Grade, lines: list[str], svg: str = "") -> None:
        self.grade, self.lines, self.svg = grade, lines, svg

    @property
    def right(self) -> bool:
        """True where the answer is right."""
        return self.grade is Grade.RIGHT

    def __repr__(self) -> str:
        head, *rest = self.lines
        return "\n".join([f"{MARKS[self.grade]} {self.grade}: {head}", *rest])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        head, *rest = [escape(line) for line in self.lines]
        told = "".join([f"<p>{line}</p>" for line in rest])
        html = (
            f'<div class="vk-feedback" role="status"><style>{STYLE}</style>'
            f"<p><b>{MARKS[self.grade]} {self.grade}:</b> {head}</p>{told}{self.svg}</div>"
        )
        return {"text/plain": repr(self), "text/html": html}


STYLE: Final = (
    ".vk-feedback{border-left:4px solid currentColor;padding:.1em .8em;max-width:760px}"
    ".vk-feedback p{margin:.3em 0;line-height:1.4}"
)


def _pictured(wrong: Wrong, answer: Any) -> tuple[list[str], str]:
    """Return what the kernel does with a scenario, and the deciding check, in words and drawn."""
    if not wrong.kernels:
        return [], ""
    told = shown(wrong.scenario, 400)
    lines = [f"{'Your scenario' if told in shown(answer, LONG) else 'The situation'}: {told}"]
    try:
        for one in wrong.kernels:
            lines += _story(one, wrong.scenario)
        return lines, draw.before_after(wrong.scenario, *wrong.kernels).svg
    except (InputError, Stopped) as mistake:
        return [str(mistake)], ""


def _story(one: Kernel, scenario: str) -> list[str]:
    step = trace(one, scenario)[-1]
    lines = [f"{one}: {strip(step.after)}, {verdict(one, step)}"]
    if step.leaked:
        lines.append(owed(step))
    if check := deciding(one, step):
        lines.append(f"Decided by {check}")
    return lines


# --- what a learner calls ----------------------------------------------------------------------

_ATTEMPTED: set[str] = set()
_HINTED: Counter[str] = Counter()


def check(name: str, answer: Any) -> Feedback:
    """Say how `answer` stands: not yet tried, wrong and why, or right. Raises InputError."""
    exercise = find(name)
    if untouched(exercise, answer):
        return Feedback(
            Grade.NOT_TRIED,
            [f"put your answer in the place of the ... in {exercise.answer}, and run both cells"]
            if "..." in exercise.starter
            else [f"{exercise.answer} is still as it was given; change it, and run both cells"],
        )
    _ATTEMPTED.add(name)
    told = grade(exercise, answer)
    told.lines += filter(None, [progress.record(name, told.right)])
    return told


def grade(exercise: Exercise, answer: Any) -> Feedback:
    """Let the judge decide, and tell the learner."""
    told = graded(exercise.judge, answer, exercise.asks, exercise.remember)
    if told.grade is Grade.WRONG:
        told.lines += [m.why for m in exercise.wrong if m.why and _alike(exercise, m, answer)]
    return told


def graded(name: str, answer: Any, asks: Params, remember: str) -> Feedback:
    """Return what judge `name` says to `answer`; `remember` is told if it is right."""
    try:
        judge(name, answer, asks)
    except Wrong as wrong:
        lines, svg = _pictured(wrong, answer)
        return Feedback(Grade.WRONG, [f"{wrong.said}.", *lines], svg)
    return Feedback(Grade.RIGHT, [remember])


def _alike(exercise: Exercise, mistake: Mistake, answer: Any) -> bool:
    try:
        return shown(exercise.value(mistake.answer), LONG) == shown(answer, LONG)
    except Exception:
        return False


def untouched(exercise: Exercise, answer: Any) -> bool:
    """True where the answer is what the starter gave, or a ``...`` is left in it."""
    if _blank(answer):
        return True
    if "..." in exercise.starter and type(answer) is not FunctionType:
        return False
    given = exercise.value(exercise.starter)
    if type(answer) is FunctionType is type(given):
        mine, theirs = answer.__code__, given.__code__
        return (mine.co_code, mine.co_names, repr(mine.co_consts)) == (
            theirs.co_code, theirs.co_names, repr(theirs.co_consts),
        )  # fmt: skip
    return type(answer) is type(given) and shown(answer, LONG) == shown(given, LONG)


def _blank(answer: Any, depth: int = 0) -> bool:
    if answer is ...:
        return True
    if type(answer) is FunctionType:
        return Ellipsis in answer.__code__.co_consts
    if depth < 4 and type(answer) in (list, tuple):
        return any(_blank(one, depth + 1) for one in answer)
    if depth < 4 and type(answer) is dict:
        return any(_blank(one, depth + 1) for one in answer.values())
    return False


class Note:
    """A line or some code to show, as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def hint(name: str) -> Note:
    """Return the next hint; after the last one, they begin anew. Raises InputError."""
    exercise = find(name)
    number = _HINTED[name] % len(exercise.hints)
    _HINTED[name] += 1
    return Note(f"hint {number + 1} of {len(exercise.hints)}: {exercise.hints[number]}")


def solution(name: str) -> Note:
    """Return a solution, once an answer was tried. Raises InputError."""
    exercise = find(name)
    if name not in _ATTEMPTED:
        return Note(f'Try it first: run check("{name}", ...) with an answer of your own; then ask.')
    return Note(f"{exercise.solution}\n\n# {exercise.remember}")
