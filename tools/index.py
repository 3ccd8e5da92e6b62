"""Make the contents of the course and its glossary, from notebooks/lessons.toml and glossary.toml.

``.venv/bin/python -m tools.index`` writes index.ipynb and glossary.ipynb, ``--check`` only says
whether they differ. ``--measure`` runs every notebook first and stores in notebooks/measured.toml
what can be measured: words to read, predictions to make, seconds to run. Minutes are a judgement.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import glossary, lessons, notebooks
from tools.lessons import CONTENTS, TABLE, Lesson, Wrong
from tools.notebooks import LESSONS, canonical, keep, read

MEASURED: Final = LESSONS / "measured.toml"
INDEX: Final = LESSONS / "index.ipynb"
GLOSSARY: Final = LESSONS / glossary.PAGE
SLACK: Final = 0.1  # how far a way may miss its target


class Beside(NamedTuple):
    """A notebook beside the lessons."""

    file: str
    title: str
    minutes: int
    finds: str

    @property
    def link(self) -> str:
        """A link to it."""
        return f"[{self.title}]({self.file}.ipynb)"


class Step(NamedTuple):
    """A step of a way: a lesson, some sections of one, or a talk."""

    minutes: int
    lesson: str = ""
    sections: Sequence[str] = ()
    talk: str = ""


class Tour(NamedTuple):
    """A way through the lessons; `instead` says what those left out would have taught."""

    name: str
    target: int
    whom: str
    steps: tuple[Step, ...]
    instead: Sequence[str] = ()
    after: str = ""

    @property
    def minutes(self) -> int:
        """The sum of its steps."""
        return sum([step.minutes for step in self.steps])


def table() -> dict[str, Any]:
    """Read the table as it is."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def beside() -> list[Beside]:
    """Return the notebooks beside the lessons."""
    return [Beside(**row) for row in table()["beside"]]


def tours(rows: Iterable[dict[str, Any]] | None = None) -> list[Tour]:
    """Return the ways; Wrong, naming the way, if one is not sound.

    A way is sound if its lessons exist, if each comes after all that it needs (or `instead` has a
    sentence for what is left out), and if its minutes come near its target.
    """
    found: list[Tour] = []
    known: dict[str, Lesson | Beside] = {one.number: one for one in lessons.table()}
    known |= {one.file: one for one in beside()}
    for row in table()["tour"] if rows is None else rows:
        name = row["name"]
        steps = [_step(name, step, known) for step in row["step"]]
        rest = [row.get("instead", ()), row.get("after", "")]
        tour = Tour(name, row["target"], row["for"], tuple(steps), *rest)
        _check(tour, known, found)
        found.append(tour)
    return found


def _step(name: str, row: dict[str, Any], known: dict[str, Lesson | Beside]) -> Step:
    if "talk" in row:
        if not row.get("minutes"):
            raise Wrong(f"the way {name!r}: say how many minutes the talk {row['talk']!r} takes")
        return Step(**row)
    number = row.get("lesson", "")
    if number not in known:
        raise Wrong(f"the way {name!r}: there is no lesson {number!r} in {TABLE.name}")
    if ("sections" in row) != ("minutes" in row):
        raise Wrong(f"the way {name!r}: sections of lesson {number} need minutes, and the reverse")
    for section in row.get("sections", ()):
        if section not in headings(known[number]):
            raise Wrong(f"the way {name!r}: lesson {number} has no section {section!r}")
    return Step(**{"minutes": known[number].minutes, **row})


def _check(tour: Tour, known: dict[str, Lesson | Beside], before: list[Tour]) -> None:
    told = {words[:2] for words in tour.instead}
    seen = {step.lesson for one in before if one.name == tour.after for step in one.steps}
    for step in tour.steps:
        lesson = known.get(step.lesson)
        for number in lesson.needs if isinstance(lesson, Lesson) else ():
            if number not in seen | told:
                raise Wrong(
                    f"the way {tour.name!r}: lesson {step.lesson} needs {number}; put it "
                    f"before, or say in `instead` what it would have taught"
                )
        seen.add(step.lesson)
    if twice := told & seen:
        raise Wrong(f"the way {tour.name!r} has lesson {min(twice)}, and a sentence instead of it")
    if abs(tour.minutes - tour.target) > SLACK * tour.target:
        raise Wrong(
            f"the way {tour.name!r} takes {tour.minutes} minutes, and is to take {tour.target}"
        )


def headings(lesson: Lesson | Beside) -> list[str]:
    """Return the sections of a lesson."""
    cells = read(LESSONS / f"{lesson.file}.ipynb").cells
    text = "\n".join([cell.source for cell in cells if cell.cell_type == "markdown"])
    return re.findall(r"^## (.+)$", text, re.M)


# --- the contents ----------------------------------------------------------------------------


def index() -> list[NotebookNode]:
    """Write the cells of the contents."""
    table = lessons.table()
    return [
        made_text("head", HEAD.format(minutes=table[0].minutes)),
        made_text("map", MAP),
        made_code("map-drawn", "from vmakernel.course_map import course_map\n\ncourse_map()"),
        made_text("lessons", _lessons(table)),
        *[made_text(f"way-{n}", text) for n, text in enumerate(_ways(table))],
        made_text("beside", _beside()),
        made_text("measured", _measured(table)),
    ]


HEAD: Final = """\
# Contents

**When may two VMAs be merged, if merging would make one of them vanish?** A course on one hard \
corner of the Linux kernel. New here? Begin with [lesson 00](00-start-here.ipynb): after {minutes} \
minutes you know what it is about. Then choose a way."""

MAP: Final = """\
## The map

Each lesson stands below all that it needs. An arrow that others imply is left out."""


def _lessons(table: list[Lesson]) -> str:
    rows = ["| lesson | what you find out | needs | minutes |", "|---|---|---|--:|"]
    for one in table:
        needs = ", ".join(one.needs) or "-"
        needs += f" ({', '.join(one.helps)} of use)" if one.helps else ""
        rows.append(f"| {one.link} | {one.finds} | {needs} | {one.minutes} |")
    minutes = sum([one.minutes for one in table])
    return "## The lessons\n\n" + "\n".join(rows) + f"\n\nTogether {_hours(minutes)}."


def _hours(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def _ways(table: list[Lesson]) -> list[str]:
    known: dict[str, Lesson | Beside] = {one.number: one for one in table}
    known |= {one.file: one for one in beside()}
    told = ["## Ways through"]
    for tour in tours():
        lines = [f"### {tour.name}", f"{tour.whom} **{_hours(tour.minutes)}.**"]
        steps = []
        for step in tour.steps:
            what = step.talk or known[step.lesson].link
            if step.sections:
                file = known[step.lesson].file
                parts = [f"[{s}]({file}.ipynb#{s.replace(' ', '-')})" for s in step.sections]
                what += f", only {' and '.join(parts)}"
            steps.append(f"1. {what} ({step.minutes} min)")
        lines.append("\n".join(steps))
        if tour.instead:
            left = [f"- {known[words[:2]].link}{words[2:]}" for words in tour.instead]
            lines.append("Left out, and taken on trust:\n\n" + "\n".join(left))
        told.append("\n\n".join(lines))
    return told


def _beside() -> str:
    rows = [f"- {one.link}: {one.finds}." for one in beside()]
    return "## Beside the lessons\n\n" + "\n".join(rows)


def _measured(table: list[Lesson]) -> str:
    known = measured()
    rows = ["| lesson | minutes | words | predictions | seconds |", "|---|--:|--:|--:|--:|"]
    for one in table:
        its = known["notebook"][one.number]
        cells = [its["words"], its["predictions"], f"{its['seconds']:.1f}"]
        rows.append(f"| {one.number} | {one.minutes} | " + " | ".join(map(str, cells)) + " |")
    return (
        "## How long it takes\n\n"
        "Minutes are a judgement: time to read, to commit to a prediction, to change one thing. "
        "The other columns are measured (`.venv/bin/python -m tools.index --measure`): words to "
        "read, folded outputs to predict, and how many seconds all cells of the lesson keep a core "
        f"busy, start of the kernel included, on {known['machine']}.\n\n" + "\n".join(rows)
    )


# --- the glossary ----------------------------------------------------------------------------


def page() -> list[NotebookNode]:
    """Write the cells of the glossary."""
    known: dict[str, Lesson | Beside] = {one.number: one for one in lessons.table()}
    known |= {one.file: one for one in beside()}
    cells = [made_text("head", f"# Glossary\n\n{CONTENTS}\n\n{GLOSSARY_HEAD}")]
    cells.append(made_code("imports", IMPORTS))
    for term in glossary.terms():
        text = f"## {term.name}\n\n{term.says} *Taught in {known[term.taught].link}.*"
        cells.append(made_text(term.cell, text))
        if term.holds:
            cells.append(made_code(f"{term.cell}-holds", term.holds, "claim"))
    return cells


GLOSSARY_HEAD: Final = """\
The words of this course, in a sentence or two. What can be computed is checked in a folded cell \
below; run all cells to check it again."""

IMPORTS: Final = """\
from vmakernel import RULES, AddressSpace, kernel, recorded
from vmakernel.explore import judge
from vmakernel.flags import VM_DONTEXPAND, VM_IO, VM_MIXEDMAP, VM_PFNMAP
from vmakernel.lesson import under
from vmakernel.recorded import CASES, situation"""


# --- making them -----------------------------------------------------------------------------


def made_text(name: str, text: str) -> NotebookNode:
    """Return a cell of text that a tool makes."""
    cell: NotebookNode = new_markdown_cell(text, id=name, metadata={"tags": ["made"]})
    return cell


def made_code(name: str, source: str, *tags: str) -> NotebookNode:
    """Return a cell of code that a tool makes; one tagged claim is folded."""
    cell: NotebookNode = new_code_cell(source, id=name, metadata={"tags": ["made", *tags]})
    if "claim" in tags:
        cell.metadata["jupyter"] = {lessons.FOLDED["claim"]: True}
    return cell


def formed(path_cells: list[NotebookNode], stored: NotebookNode | None) -> NotebookNode:
    """Return a notebook of these cells; what a cell showed is kept as long as its code is."""
    shown = {cell.id: cell for cell in stored.cells} if stored else {}
    for cell in path_cells:
        before = shown.get(cell.id)
        if cell.cell_type == "code" and before and before.source == cell.source:
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
    notebook: NotebookNode = new_notebook(cells=path_cells)
    return notebook


def measured() -> dict[str, Any]:
    """Return what was measured; Wrong if nothing was."""
    if not MEASURED.exists():
        raise Wrong("nothing is measured yet: run `.venv/bin/python -m tools.index --measure`")
    return tomllib.loads(MEASURED.read_text(encoding="utf-8"))


def size(lesson: Lesson) -> tuple[int, int]:
    """Count the words of a lesson, and the outputs that are folded until they are predicted."""
    cells = read(lesson.path).cells
    words = [len(cell.source.split()) for cell in cells if cell.cell_type == "markdown"]
    folded = ["reveal" in cell.metadata.get("tags", []) for cell in cells]
    return sum(words), sum(folded)


def _spent() -> float:
    """Return how long programs started from here have kept a core busy, in seconds."""
    spent = os.times()
    return spent.children_user + spent.children_system


def measure(machine: str) -> None:
    """Run every lesson, and store words, predictions and seconds."""
    lines = [
        "# Made by `.venv/bin/python -m tools.index --measure`: what can be measured of a lesson.",
        f'machine = "{machine}"',
    ]
    for lesson in lessons.table():
        before = _spent()
        notebooks.executed(lesson.path)
        seconds = _spent() - before
        words, predictions = size(lesson)
        lines += [
            "",
            f"[notebook.{lesson.number}]",
            f"words = {words}",
            f"predictions = {predictions}",
            f"seconds = {seconds:.1f}",
        ]
    MEASURED.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def main(arguments: list[str]) -> int:
    """Make both notebooks; with --check, 1 if one differs; 2 if a table is wrong."""
    try:
        if arguments[:1] == ["--measure"]:
            measure(" ".join(arguments[1:]) or "the machine it was stored on")
        made = {INDEX: index(), GLOSSARY: page()}
    except (ValueError, notebooks.Failed) as wrong:
        print(f"notebooks: {wrong}", file=sys.stderr)
        return 2
    return keep(written(made), arguments, "is not as the tables have it")


def written(made: Mapping[Path, list[NotebookNode]]) -> dict[Path, str]:
    """Return the text of notebooks made of these cells, with the outputs that are stored."""
    texts = {}
    for path, cells in made.items():
        stored = nbformat.read(path, 4) if path.exists() else None
        texts[path] = canonical(formed(cells, stored))
    return texts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
