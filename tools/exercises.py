"""Make what teachers and learners get from the exercises as they are written down.

``.venv/bin/python -m tools.exercises`` writes learner notebooks, solution notebooks and the
teacher's key; ``--check`` only names those that differ. The masters are in
vmakernel/data/exercises/. A solution notebook keeps what it showed when it was last run, where its
cells are as they were.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.lessons import table
from tools.notebooks import SOLUTIONS, canonical, keep
from vmakernel.exercise import Chapter, Exercise, chapters, grade

EXERCISES: Final = SOLUTIONS.parent
KEY: Final = EXERCISES / "teachers-key.md"
TICKS: Final = "```"


def way(chapter: Chapter, *, top: str = "") -> str:
    """Link the notebook before, the lessons and the notebook after, where there are such."""
    told = chapters()
    at = told.index(chapter)
    links = [f"← [{told[at - 1].title}]({told[at - 1].file}.ipynb)"] if at else []
    links += [f"[contents](../{top}notebooks/00-start-here.ipynb)"]
    if at + 1 < len(told):
        links += [f"[{told[at + 1].title}]({told[at + 1].file}.ipynb) →"]
    return " · ".join(links)


def head(chapter: Chapter, *, solved: bool) -> str:
    """Write the first cell."""
    minutes = sum([one.minutes for one in chapter.exercises])
    name = "Solutions" if solved else "Exercises"
    place = (
        f"The tasks without the solutions are in [`{chapter.file}.ipynb`](../{chapter.file}.ipynb)."
        if solved
        else "Work in a copy: `make work` (or `python3 tools/course.py work`) puts one into the "
        "folder `work/`, which no update touches, and never writes over one that is there."
    )
    return f"""\
# {name} {chapter.file[0]} · {chapter.title}

{way(chapter, top="../" if solved else "")}

**{minutes} minutes** · holds for Linux {chapter.versions}

- **You'll do:** {chapter.do}
- **You'll learn:** {chapter.learn}
- **You need:** {chapter.need}

{place}"""


def how() -> str:
    """Say how an exercise works."""
    return """\
## How it works

Put your answer where the `...` is (or change what is given), then run that cell and the next one.
`check(...)` says how it stands: ○ not yet tried, ✗ wrong, with what the kernel does with *your*
input, or ✓ right. The engine runs what you wrote, so every right answer passes. `hint(...)` tells a
little more each time; `solution(...)` answers once you have tried."""


def foot(chapter: Chapter, *, solved: bool) -> str:
    """Write the last cell."""
    top = "../" if solved else ""
    reading = "\n".join([f"- {line}" for line in chapter.reading]).replace("](../", f"](../{top}")
    return f"## Further reading\n\n{reading}\n\n---\n\n{way(chapter, top=top)}"


def about(exercise: Exercise, number: int, *, top: str = "") -> str:
    """Write what stands above an exercise."""
    (lesson,) = [one for one in table() if one.number == exercise.lesson]
    link = f"[lesson {lesson.number}](../{top}notebooks/{lesson.file}.ipynb)"
    return (
        f"## {number} · {exercise.title}\n\n"
        f"*{exercise.kind}, {exercise.minutes} minutes, after {link}: {exercise.objective}*\n\n"
        f"{exercise.task}"
    )


def notebook(chapter: Chapter, *, solved: bool) -> NotebookNode:
    """Return the learner's notebook, or the one with the solutions."""
    made = {"tags": ["made"]}
    cells = [new_markdown_cell(head(chapter, solved=solved), id="head", metadata=made)]
    if not solved:
        cells += [new_markdown_cell(how(), id="how", metadata=made)]
    cells += [new_code_cell(chapter.setup, id="setup")]
    for number, one in enumerate(chapter.exercises, 1):
        top = "../" if solved else ""
        cells += [new_markdown_cell(about(one, number, top=top), id=one.id)]
        if one.example:
            cells += [new_code_cell(one.example, id=f"{one.id}-look")]
        code = one.solution if solved else one.starter
        cells += [new_code_cell(code, id=f"{one.id}-answer")]
        cells += [new_code_cell(f'check("{one.id}", {one.answer})', id=f"{one.id}-check")]
        if solved:
            cells += [new_markdown_cell(unfolded(one), id=f"{one.id}-hints")]
        else:
            for ask, when in ("hint", "as often as you like"), ("solution", "after an attempt"):
                call = f'# {ask}("{one.id}")  # take the first # away, {when}'
                cells += [new_code_cell(call, id=f"{one.id}-{ask}")]
    cells += [new_markdown_cell(foot(chapter, solved=solved), id="foot", metadata=made)]
    made_notebook: NotebookNode = new_notebook(cells=cells)
    return made_notebook


def unfolded(one: Exercise) -> str:
    """Write the hints, folded."""
    hints = "\n".join([f"{n}. {text}" for n, text in enumerate(one.hints, 1)])
    return f"<details><summary>The hints</summary>\n\n{hints}\n\n</details>"


def kept(fresh: NotebookNode, path: Path) -> NotebookNode:
    """Give cells that did not change what they showed when they were run."""
    if path.exists():
        stored = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
        for cell in fresh.cells:
            old = stored.get(cell.id)
            if cell.cell_type == "code" and old is not None and old.source == cell.source:
                cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return fresh


def key() -> str:
    """Write the teacher's key: every exercise with its answers, and what is said to each."""
    rows = [
        f"| {chapter.file[0]}.{number} | {one.title} | {one.objective} | {one.lesson} | {one.kind} "
        f"| {one.minutes} | {len(one.wrong)} |"
        for chapter in chapters()
        for number, one in enumerate(chapter.exercises, 1)
    ]
    minutes = sum([one.minutes for chapter in chapters() for one in chapter.exercises])
    parts = [
        "# The teacher's key",
        "Made by `.venv/bin/python -m tools.exercises`. Behind each wrong answer: the first line\n"
        "of what `check()` says to it, and the misconception where there is one.",
        "| | exercise | objective | lesson | kind | minutes | wrong answers |\n"
        "|---|---|---|---|---|--:|--:|\n" + "\n".join(rows),
        f"{len(rows)} exercises, together about {minutes / 60:.1f} hours.",
    ]
    for chapter in chapters():
        parts += [f"## {chapter.file[0]} · {chapter.title}"]
        for number, one in enumerate(chapter.exercises, 1):
            parts += [f"### {chapter.file[0]}.{number} {one.title}", one.task]
            parts += ["**Solution**", fenced(one.solution), f"**Remember:** {one.remember}"]
            parts += ["**Also right**", *[fenced(code) for code in one.right]]
            parts += ["**Typical wrong answers**"]
            for mistake in one.wrong:
                said = grade(one, one.value(mistake.answer)).lines
                told = [said[0], *([mistake.why] if mistake.why else [])]
                parts += [fenced(mistake.answer), "\n".join([f"> {line}" for line in told])]
            parts += ["**Hints**", "\n".join([f"{n}. {h}" for n, h in enumerate(one.hints, 1)])]
    return "\n\n".join(parts) + "\n"


def fenced(code: str) -> str:
    """Put an answer between fences, as it was written."""
    return f"{TICKS}text\n{code.strip()}\n{TICKS}"


def files() -> dict[Path, str]:
    """Return the text of every file that is made."""
    made = {}
    for chapter in chapters():
        learner, solved = (EXERCISES / f"{chapter.file}.ipynb", SOLUTIONS / f"{chapter.file}.ipynb")
        made[learner] = canonical(notebook(chapter, solved=False))
        made[solved] = canonical(kept(notebook(chapter, solved=True), solved))
    return made | {KEY: key()}


def main(arguments: list[str]) -> int:
    """Write what differs; with --check, only name it and answer 1."""
    SOLUTIONS.mkdir(parents=True, exist_ok=True)
    return keep(files(), arguments, "not as the exercises are written down")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
