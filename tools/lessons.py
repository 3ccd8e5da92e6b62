"""Give every lesson its form: head and foot, made from notebooks/lessons.toml, and links to terms.

``.venv/bin/python -m tools.lessons`` writes these cells into the lessons, ``--check`` only names
the lessons that differ. ``make notebooks`` does it first, then runs and stores them. The form of a
lesson:

    head        made here: number and title, the way (previous, contents, next), minutes, kernel
                versions, you'll do / you'll learn / you need
    remember    made here, from lesson 02 on: questions from two lessons before
    ...         the lesson: situation, predict, run, why, change one thing; one idea to a cell
    quiz        made here: the questions of this lesson
    learned     made here: what you learned, before the first cell whose id begins with "check"
    check-...   the one-minute check
    foot        made here: further reading, and the way again

A cell's id says what it is about, in words joined by "-". Cells tagged `reveal` keep their output
folded until they are run, so that a prediction is one. Cells tagged `claim` hold the assertions
behind the prose above them; JupyterLab folds their source, a click unfolds it. The first use of a
term is linked to the glossary (tools/glossary.py); the contents of the course are made by
tools/index.py.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from tools import glossary
from tools.notebooks import LESSONS, canonical, keep, read

TABLE: Final = LESSONS / "lessons.toml"
CONTENTS: Final = "[contents](index.ipynb)"
MADE: Final = ("head", "remember", "remember-ask", "quiz", "quiz-ask", "learned", "foot")
REMEMBER: Final = """\
## Do you remember?

From earlier lessons. Answer from memory, before you look anything up."""
QUIZ: Final = """\
## Quiz

What you answer stays on this machine; [your progress](progress.ipynb) shows it."""
FOLDED: Final = {"reveal": "outputs_hidden", "claim": "source_hidden"}


class Lesson(NamedTuple):
    """One entry of the table."""

    file: str
    title: str
    minutes: int
    versions: str
    finds: str
    do: str
    learn: str
    need: str
    learned: list[str]
    reading: list[str]
    needs: list[str]
    helps: Sequence[str] = ()

    @property
    def number(self) -> str:
        """The two digits its file begins with."""
        return self.file[:2]

    @property
    def path(self) -> Path:
        """Where the notebook is."""
        return LESSONS / f"{self.file}.ipynb"

    @property
    def link(self) -> str:
        """A link to it, with its number and title."""
        return f"[{self.number} {self.title}]({self.file}.ipynb)"


def table() -> list[Lesson]:
    """Read the table; the lessons in order."""
    rows: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["lesson"]
    lessons = [Lesson(**row) for row in rows]
    check(lessons)
    return lessons


class Wrong(ValueError):
    """A table that contradicts itself; the message says what to change."""


def check(lessons: list[Lesson]) -> None:
    """Raise Wrong unless every lesson needs earlier ones alone, and says so in its words."""
    numbers = [lesson.number for lesson in lessons]
    for place, lesson in enumerate(lessons):
        for number in (*lesson.needs, *lesson.helps):
            if number not in numbers:
                raise Wrong(f"lesson {lesson.number} needs {number}, and there is no such lesson")
        # Without this there could be a circle.
        for number in lesson.needs:
            if number not in numbers[:place]:
                raise Wrong(f"lesson {lesson.number} needs {number}: put {number} before it")
        first, _, rest = lesson.need.replace(". ", ";").partition(";")
        said = _numbers(first), _numbers(rest)
        if said != (lesson.needs, list(lesson.helps)):
            raise Wrong(
                f"lesson {lesson.number}: `need` speaks of {said[0]}, then of {said[1]}; "
                f"`needs` is {lesson.needs} and `helps` {list(lesson.helps)}: let them agree"
            )


def _numbers(words: str) -> list[str]:
    """Return the numbers of the lessons that `words` names; 02 to 04 are three."""
    spread = re.sub(
        r"\b(\d\d) to (\d\d)\b",
        lambda m: " ".join([f"{n:02}" for n in range(int(m[1]), int(m[2]) + 1)]),
        words,
    )
    return re.findall(r"\b\d\d\b", spread)


def way(lesson: Lesson, lessons: list[Lesson]) -> str:
    """Link the lesson before, the contents and the lesson after, where there are such."""
    there = [one for one in lessons if one is lesson or one.path.exists()]
    at = there.index(lesson)
    links = [f"← {there[at - 1].link}"] if at else []
    links += [CONTENTS]
    links += [f"{there[at + 1].link} →"] if at + 1 < len(there) else []
    return " · ".join(links)


def head(lesson: Lesson, lessons: list[Lesson]) -> str:
    """Write the first cell."""
    return f"""\
# {lesson.number} · {lesson.title}

{way(lesson, lessons)}

**{lesson.minutes} minutes** · holds for Linux {lesson.versions}

- **You'll do:** {lesson.do}
- **You'll learn:** {lesson.learn}
- **You need:** {lesson.need}"""


def learned(lesson: Lesson) -> str:
    """Write what the reader takes along."""
    return "## What you learned\n\n" + "\n".join([f"- {line}" for line in lesson.learned])


def foot(lesson: Lesson, lessons: list[Lesson]) -> str:
    """Write the last cell."""
    reading = "\n".join([f"- {line}" for line in lesson.reading])
    return f"## Further reading\n\n{reading}\n\n---\n\n{way(lesson, lessons)}"


def formed(notebook: NotebookNode, lesson: Lesson, lessons: list[Lesson]) -> NotebookNode:
    """Return the notebook with its made cells as the table has them; twice is as once."""
    body = [cell for cell in notebook.cells if cell.id not in MADE]
    for cell in body:
        for tag, fold in FOLDED.items():
            if tag in cell.metadata.get("tags", []):
                cell.metadata.setdefault("jupyter", {})[fold] = True
    checks = [at for at, cell in enumerate(body) if cell.id.startswith("check")]
    at = checks[0] if checks else len(body)
    old = {cell.id: cell for cell in notebook.cells}
    first = [told("head", head(lesson, lessons))]
    if lesson.number >= "02":
        first += [told("remember", REMEMBER), asked("remember-ask", "recall", lesson, old)]
    middle = [told("quiz", QUIZ), asked("quiz-ask", "quizzes", lesson, old)]
    middle += [told("learned", learned(lesson))]
    last = told("foot", foot(lesson, lessons))
    notebook.cells = [*first, *body[:at], *middle, *body[at:], last]
    glossary.link(notebook.cells)
    return notebook


def told(name: str, text: str) -> NotebookNode:
    """Return a made cell of text."""
    cell: NotebookNode = new_markdown_cell(text, id=name, metadata={"tags": ["made"]})
    return cell


def asked(name: str, what: str, lesson: Lesson, old: dict[str, NotebookNode]) -> NotebookNode:
    """Return a cell that asks questions, with what it showed if it was there already."""
    source = f'from vmakernel import quiz_widgets\n\nquiz_widgets.{what}("{lesson.number}")'
    if name in old and old[name].source == source:
        return old[name]
    cell: NotebookNode = new_code_cell(source, id=name, metadata={"tags": ["made"]})
    return cell


def main(arguments: list[str]) -> int:
    """Form all lessons; with --check, 1 if one differs; 2 if a table is wrong."""
    try:
        lessons = table()
        glossary.terms()
    except ValueError as wrong:
        print(f"notebooks: {wrong}", file=sys.stderr)
        return 2
    made = {
        one.path: canonical(formed(read(one.path), one, lessons))
        for one in lessons
        if one.path.exists()
    }
    return keep(made, arguments, f"head or foot is not as {TABLE.name} has it")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
