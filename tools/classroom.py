"""Export the exercises as an nbgrader course.

``.venv-classroom/bin/python -m tools.classroom FOLDER`` makes FOLDER with the sources of six
assignments and a configuration. In it, ``nbgrader generate_assignment NAME`` makes what learners
get, without the solutions and hidden tests; ``nbgrader autograde NAME`` and ``nbgrader
generate_feedback NAME`` grade what came back. What was submitted runs in
bubblewrap only (vmakernel/sealed.py); where that cannot start, this says so, and nothing is graded.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.exercises import how
from tools.notebooks import canonical
from vmakernel.exercise import Chapter, Exercise, chapters
from vmakernel.judges import FUNCTIONS
from vmakernel.sealed import Refused, sandbox

CONFIG: Final = '''\
"""How this course is graded; made by tools/classroom.py."""

from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute

from vmakernel.classroom import Judge

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "vmakernel"
c.ClearSolutions.code_stub = {"python": ""}
# Notebooks are not run: each answer goes to the sandbox, and is judged outside of it.
steps = Autograde.autograde_preprocessors.default_args[0]
c.Autograde.autograde_preprocessors = [Judge if step is Execute else step for step in steps]
'''
BEGIN, END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"


def marked(name: str, **what: bool | int) -> dict[str, object]:
    """Return the metadata by which nbgrader knows a cell."""
    cell = {"schema_version": 3, "grade": False, "solution": False, "locked": True, "task": False}
    return {"nbgrader": {**cell, "grade_id": name, **what}}


def assignment(chapter: Chapter) -> NotebookNode:
    """Return the source of one assignment."""
    cells = [
        new_markdown_cell(f"# {chapter.title}\n\n{how()}", id="head", metadata=marked("head")),
        new_code_cell(
            f"{chapter.setup}\nfrom vmakernel.sealed import try_out",
            id="setup",
            metadata=marked("setup"),
        ),
    ]
    for number, one in enumerate(chapter.exercises, 1):
        text = (
            f"## {number} · {one.title}\n\n*{one.minutes} minutes: {one.objective}*\n\n{one.task}"
        )
        text = text.replace("](../", "](")
        cells += [new_markdown_cell(text, id=one.id, metadata=marked(f"{one.id}-task"))]
        if one.example:
            look = f"{one.id}-look"
            cells += [new_code_cell(one.example, id=look, metadata=marked(look))]
        cells += graded(one)
    made: NotebookNode = new_notebook(cells=cells)
    return made


def graded(one: Exercise) -> list[NotebookNode]:
    """Return the cell for the answer, solution included, and the test, hidden part included."""
    answer = f"{one.starter}\n### BEGIN SOLUTION\n{one.solution}\n### END SOLUTION"
    ask = "try_out" if one.judge in FUNCTIONS else "check"
    secret = f'from vmakernel.exercise import grade, find\n\nassert grade(find("{one.id}"), '
    test = f'print({ask}("{one.id}", {one.answer}))\n{BEGIN}\n{secret}{one.answer}).right\n{END}'
    mine = marked(f"{one.id}-answer", solution=True, locked=False)
    theirs = marked(f"{one.id}-check", grade=True, points=one.minutes)
    return [
        new_code_cell(answer, id=f"{one.id}-answer", metadata=mine),
        new_code_cell(test, id=f"{one.id}-check", metadata=theirs),
    ]


def export(folder: Path) -> None:
    """Write the course. Raises FileExistsError where there is one already."""
    folder.mkdir(parents=True)
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    for chapter in chapters():
        place = folder / "source" / chapter.file
        place.mkdir(parents=True)
        text = canonical(assignment(chapter))
        (place / f"{chapter.file}.ipynb").write_text(text, encoding="utf-8", newline="\n")


def main(arguments: list[str]) -> int:
    """Export to the folder named."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("Say where: .venv-classroom/bin/python -m tools.classroom FOLDER", file=sys.stderr)
        return 2
    try:
        export(Path(arguments[0]))
    except FileExistsError:
        print(f"{arguments[0]} is there already: name a folder that is not", file=sys.stderr)
        return 2
    print(f"{len(chapters())} assignments in {arguments[0]}/source.")
    try:
        sandbox()
    except Refused as refused:
        print(refused)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
