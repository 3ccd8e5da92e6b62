"""Make the lesson plans for a class, from notebooks/teaching.toml and the tours of lessons.toml.

``.venv/bin/python -m tools.teaching`` writes a notebook for each lab, ``--check`` only says whether
they differ. Clock and minutes are those of the tour. The answer key is computed: the predictions
are read from the lessons themselves, and the engine answers them. tools/slides.py makes the slides.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from nbformat import NotebookNode

from tools import index, lessons
from tools.index import made_code, made_text
from tools.lessons import CONTENTS, Wrong
from tools.notebooks import LESSONS, keep, read
from vmakernel import quiz
from vmakernel.card import Card
from vmakernel.draw import told
from vmakernel.kernels import Kernel, kernel
from vmakernel.lesson import Told, under
from vmakernel.widgets import alternatives

PLAN: Final = LESSONS / "teaching.toml"
HUB: Final = "[JupyterHub for a class](../deploy/README.md)"
NAMES: Final = (quiz.Kind.LAYOUT, quiz.Kind.ORDER)  # their options are no sentences
OFTEN: Final = 2  # questions a misconception is behind, to be worth a warning


class Step(NamedTuple):
    """A step of a lab: when, how long, what; and what teacher and class do in it."""

    start: int  # minutes from the beginning
    minutes: int
    title: str
    file: str  # of the lesson, empty for a talk
    say: str
    do: str
    look: str
    late: str
    cards: Sequence[str]
    slides: Sequence[Sequence[str]]
    holds: str = ""

    @property
    def clock(self) -> str:
        """When it begins, as in 1:05."""
        return clock(self.start)


class Lab(NamedTuple):
    """A lab of a class, and where its plan is."""

    file: str
    title: str
    tour: index.Tour
    goals: Sequence[str]
    steps: Sequence[Step]

    @property
    def lessons(self) -> list[str]:
        """The numbers of its lessons, and of those that its talks take slides from."""
        named = [step.file[:2] for step in self.steps if step.file]
        named += [one[0] for step in self.steps for one in step.slides]
        return sorted(set(named))


class Asked(NamedTuple):
    """A prediction that a lesson asks for."""

    cell: str
    question: str
    scenario: str
    kernel: Kernel

    @property
    def told(self) -> Told:
        """What the engine says."""
        return under(self.kernel, self.scenario)

    @property
    def layout(self) -> str:
        """The right layout, as a learner types it."""
        return self.told.layout.rstrip(".") or "."

    @property
    def options(self) -> list[str]:
        """The layouts to choose from, as the lesson shows them."""
        return alternatives(self.kernel, self.scenario)

    @property
    def letter(self) -> str:
        """The letter of the right one on a slide."""
        return quiz.LETTERS[self.options.index(self.layout)]


def clock(minutes: int) -> str:
    """Return minutes as hours and minutes: 1:05."""
    return f"{minutes // 60}:{minutes % 60:02}"


# --- reading -------------------------------------------------------------------------------------


def table() -> dict[str, Any]:
    """Read the table as it is."""
    return tomllib.loads(PLAN.read_text(encoding="utf-8"))


def labs(rows: Sequence[dict[str, Any]] | None = None) -> list[Lab]:
    """Return the labs; Wrong, in a sentence, where plan and tour or lessons do not agree."""
    tours = {tour.name: tour for tour in index.tours()}
    titles = {one.file: one.title for one in index.beside()}
    return [_lab(row, tours, titles) for row in (table()["lab"] if rows is None else rows)]


def _lab(row: dict[str, Any], tours: dict[str, index.Tour], titles: dict[str, str]) -> Lab:
    name = row["file"]
    if row["tour"] not in tours:
        raise Wrong(f"{PLAN.name}: {name} follows the way {row['tour']!r}, and there is none")
    if name not in titles:
        raise Wrong(f"{PLAN.name}: {name} is no [[beside]] of {lessons.TABLE.name}: add it there")
    tour = tours[row["tour"]]
    if len(row["step"]) != len(tour.steps):
        raise Wrong(
            f"{PLAN.name}: {name} has {len(row['step'])} steps, and the way {tour.name!r} "
            f"has {len(tour.steps)}: give each of them one"
        )
    known = {one.number: one for one in lessons.table()}
    steps, start = [], 0
    for at, (plan, step) in enumerate(zip(row["step"], tour.steps, strict=True), 1):
        lesson = known.get(step.lesson)
        title = f"{lesson.number} {lesson.title}" if lesson else step.talk
        try:
            made = Step(start, step.minutes, title, lesson.file if lesson else "", **plan)
        except TypeError as wrong:
            raise Wrong(f"{PLAN.name}: step {at} of {name}: {wrong}") from None
        for named in made.cards:
            Card(named)
        for number, *ids in made.slides:
            shown(number, *ids)
        steps.append(made)
        start += step.minutes
    return Lab(name, titles[name], tour, row["goals"], steps)


@cache
def stored(number: str) -> dict[str, NotebookNode]:
    """Return the cells of a lesson by their ids; Wrong if there is no such lesson."""
    for lesson in lessons.table():
        if lesson.number == number:
            return {cell.id: cell for cell in read(lesson.path).cells}
    raise Wrong(f"{PLAN.name}: there is no lesson {number!r}")


def shown(number: str, *ids: str) -> list[NotebookNode]:
    """Return cells of a lesson to be shown; Wrong, naming it, if one is missing or folded."""
    there = stored(number)
    if not ids:
        raise Wrong(f"{PLAN.name}: a slide from lesson {number} names no cell")
    for name in ids:
        if name not in there:
            raise Wrong(f"{PLAN.name}: lesson {number} has no cell {name!r}")
        if "claim" in there[name].metadata.get("tags", []):
            raise Wrong(f"{PLAN.name}: cell {name!r} of lesson {number} is a check, not a slide")
    return [there[name] for name in ids]


@cache
def predictions(number: str) -> dict[str, Asked]:
    """Return the predictions that a lesson asks for, by cell, read from its code."""
    given: dict[str, ast.expr] = {}
    imported: dict[str, Any] = {}
    found = {}
    for name, cell in stored(number).items():
        for node in _body(cell):
            if isinstance(node, ast.ImportFrom):
                exec(ast.unparse(node), imported)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                if ast.unparse(node.value.func) == "widgets.predict":
                    found[name] = _asked(name, node.value, given, imported)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                given[node.targets[0].id] = node.value
    return found


def _body(cell: NotebookNode) -> list[ast.stmt]:
    """Return the statements of a cell of code; none where only IPython reads it."""
    try:
        return ast.parse(cell.source).body if cell.cell_type == "code" else []
    except SyntaxError:
        return []


def _asked(
    cell: str, call: ast.Call, given: dict[str, ast.expr], imported: dict[str, Any]
) -> Asked:
    scenario, rule = (_value(argument, given, imported) for argument in call.args)
    (question,) = [_value(word.value, given, imported) for word in call.keywords]
    return Asked(cell, question, scenario, rule if isinstance(rule, Kernel) else kernel(rule))


def _value(node: ast.expr, given: dict[str, ast.expr], imported: dict[str, Any]) -> Any:
    """Return the value of an expression of a lesson; the course's own text alone."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    known = {name: _value(given[name], given, imported) for name in names & set(given)}
    return eval(ast.unparse(node), {**imported, **known})


# --- the notebooks -------------------------------------------------------------------------------


def cells(lab: Lab) -> list[NotebookNode]:
    """Write the plan of a lab."""
    rest = list(_plan(lab))
    return [made_text("head", _head(lab)), made_code("imports", _imports(rest)), *rest]


def _plan(lab: Lab) -> Iterator[NotebookNode]:
    yield made_text("before", BEFORE)
    yield made_text("timetable", _timetable(lab))
    for at, step in enumerate(lab.steps):
        yield made_text(f"step-{at}", _step(step))
        if step.holds:
            yield made_code(f"step-{at}-holds", step.holds.strip(), "claim")
    wrong = table()["wrong"]
    yield made_text("wrong", "## What usually goes wrong\n\n" + "\n".join(map(_wrong, wrong)))
    for at, row in enumerate(wrong):
        if "holds" in row:
            yield made_code(f"wrong-{at}-holds", row["holds"].strip(), "claim")
    yield made_text("believed", _believed(lab))
    yield made_text("cards", CARDS)
    for step in lab.steps:
        for name in step.cards:
            yield made_code(f"card-{name}", f'card("{name}")')
    yield made_text("key", "## Answer key\n\n" + KEY)
    for number in lab.lessons:
        yield made_text(f"key-{number}", _key(number))


FROM: Final = {
    "vmakernel": "kernel quiz recorded widgets",
    "vmakernel.card": "card",
    "vmakernel.explore": "judge",
    "vmakernel.lesson": "under",
    "vmakernel.predict": "predict",
    "vmakernel.recorded": "CASES situation",
    "vmakernel.scenario": "parse",
}


def _imports(rest: list[NotebookNode]) -> str:
    """Return the imports that the cells of code need, and no others."""
    code = "\n".join([cell.source for cell in rest if cell.cell_type == "code"])
    used = {one.id for one in ast.walk(ast.parse(code)) if isinstance(one, ast.Name)}
    lines = []
    for module, names in FROM.items():
        if needed := [name for name in names.split() if name in used]:
            lines.append(f"from {module} import {', '.join(needed)}")
    return "\n".join(lines)


BEFORE: Final = f"""\
## Before the lab

- On every machine, the day before: `make lab` once (it downloads), then *Run → Run All Cells* in \
[lesson 00](00-start-here.ipynb). For a class without machines of its own: {HUB}.
- `make slides` makes the slides, one file for each lab, in `dist/slides/`. A browser is enough to \
show them: <kbd>Page Down</kbd> goes on, and printed it is a slide a page.
- The cards below print as well, a side a page: *File → Print…*. They are also among the slides, \
front first.
- Work through the lessons yourself and write down your own predictions. Where you were wrong, \
they will be."""

CARDS: Final = """\
## Cards

Peer instruction: show the front, let everybody vote in silence with fingers or letters, and say \
nothing. If between a third and two thirds are right, let neighbours convince each other and vote \
again; that is when people learn. If fewer are right, go back to the picture; if nearly all are, \
go on. A card takes three or four minutes, and takes them from the quiz at the end of its lesson. \
One or two a lesson are enough; the others are for the next morning."""

KEY: Final = """\
Read from the lessons and computed by the engine. A letter is that of a slide; the lesson shows \
the same layouts in the same order, without letters."""


def _head(lab: Lab) -> str:
    others = [one for one in index.beside() if one.file.startswith("teaching-")]
    ways = [one.link for one in others if one.file != lab.file]
    goals = "\n".join([f"- {goal}" for goal in lab.goals])
    return (
        f"# {lab.title}\n\n{' · '.join([CONTENTS, *ways])}\n\n"
        f"**{lab.tour.minutes} minutes** · for the one who teaches. {lab.tour.whom} "
        f"Afterwards everybody can\n\n{goals}"
    )


def _timetable(lab: Lab) -> str:
    rows = ["| clock | minutes | what | cards |", "|--:|--:|---|---|"]
    for step in lab.steps:
        what = f"[{step.title}]({step.file}.ipynb)" if step.file else step.title
        rows.append(f"| {step.clock} | {step.minutes} | {what} | {', '.join(step.cards) or '-'} |")
    rows.append(f"| {clock(lab.tour.minutes)} | | the end | |")
    instead = "\n".join([f"- {words}" for words in lab.tour.instead])
    left = f"\n\nLessons that are told instead:\n\n{instead}" if instead else ""
    return "## Timetable\n\n" + "\n".join(rows) + left


def _step(step: Step) -> str:
    return f"""\
### {step.clock} · {step.title}

- **You say:** {step.say}
- **They do:** {step.do}
- **Look at:** {step.look}
- **If late:** {step.late}"""


def _wrong(row: dict[str, Any]) -> str:
    return f"- **{row['what']}** {row['reply']}"


def _believed(lab: Lab) -> str:
    """Write what learners believe: the misconceptions that several questions know."""
    behind: dict[str, list[str]] = {}
    for question in quiz.bank().values():
        known = [one.misconception for one in question.options]
        known += [row["misconception"] for row in question.data.get("wrong", [])]
        for words in dict.fromkeys(filter(None, known)):
            behind.setdefault(words, []).append(question.id)
    count = Counter({words: len(ids) for words, ids in behind.items()})
    lines = []
    for words, number in count.most_common():
        here = [name for name in behind[words] if name[:2] in lab.lessons]
        if number >= OFTEN and here:
            lines.append(f"- *{words}*: behind {number} questions, here {', '.join(here)}")
    return (
        "### What they believe\n\nFrom the bank of questions, the most frequent first. What the "
        "engine replies is on the card, or in the quiz of that lesson.\n\n" + "\n".join(lines)
    )


def _key(number: str) -> str:
    (lesson,) = [one for one in lessons.table() if one.number == number]
    lines = [f"### {lesson.number} {lesson.title}"]
    asked = predictions(number).values()
    if asked:
        lines.append("\n".join([_answer(one) for one in asked]))
    lines.append("\n".join([f"- {one.id}: {_right(one)}" for one in quiz.of_lesson(number)]))
    return "\n\n".join(lines)


def _answer(one: Asked) -> str:
    how = told(one.kernel, one.told.last)
    return (
        f"- **{one.question}** (Linux {one.kernel.version}): **{one.letter}** `{one.layout}`. "
        f"{how[0].upper()}{how[1:]}.\n  `{one.scenario}`"
    )


def _right(question: quiz.Question) -> str:
    if question.kind is quiz.Kind.FIND:
        return f"for example `{question.key[0]}`"
    texts = [option.text for option in question.options]
    letters = [question.listing[texts.index(key)][0] for key in question.key]
    key = "; ".join(question.key)
    return f"**{' '.join(letters)}** " + (f"`{key}`" if question.kind in NAMES else key)


def main(arguments: list[str]) -> int:
    """Make the plans; with --check, 1 if one differs; 2 if a table is wrong."""
    try:
        made = {LESSONS / f"{lab.file}.ipynb": cells(lab) for lab in labs()}
    except ValueError as wrong:
        print(f"notebooks: {wrong}", file=sys.stderr)
        return 2
    return keep(index.written(made), arguments, "is not as the tables have it")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
