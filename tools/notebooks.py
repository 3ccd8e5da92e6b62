"""Run the lessons anew and store what they show, so that doing it twice changes no byte.

`make notebooks` runs all of them; with --check nothing is written, and a notebook that would
change is named instead. Exit status: 0 all well, 1 a lesson fails or drifts, 2 a wrong argument.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets.config import Config

LESSONS = Path(__file__).resolve().parent.parent / "notebooks"
SOLUTIONS = LESSONS.parent / "exercises" / "solutions"
SECONDS_PER_CELL = 60
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Failed(Exception):
    """A lesson that cannot be stored; the message names the cell and the reason."""


def executed(path: Path) -> str:
    """Give the text of a notebook as it should be stored, after running all its cells afresh."""
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None  # so that a count tells which cells this run has begun
    os.environ["VMAKERNEL_PROGRESS"] = ""  # what is stored depends on nobody's progress
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        config=Config(KernelManager={"transport_encryption": "auto"}),
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise Failed(f"{path.name}, cell {stopped_at(notebook)}: {reason(error)}") from None
    return canonical(notebook)


def read(path: Path) -> NotebookNode:
    """Read a notebook; Failed if it is none."""
    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise Failed(f"{path.name} is not a notebook: {str(error).splitlines()[0]}") from None
    return notebook


def ran(source: str, names: dict[str, Any]) -> Any:
    """Run a cell among `names` and return the value of its last line, which a notebook shows."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def keep(made: Mapping[Path, str], arguments: list[str], wrong: str) -> int:
    """Write the files that are not as they were made; with --check only say so, and return 1."""
    differ = False
    for path, text in made.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            differ = True
            print(f"{path.name}: {wrong}")
            if arguments != ["--check"]:
                path.write_text(text, encoding="utf-8", newline="\n")
    return int(differ and arguments == ["--check"])


def canonical(notebook: NotebookNode) -> str:
    """Write a notebook without what differs from run to run or from machine to machine."""
    notebook.metadata.kernelspec = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata.language_info = {"file_extension": ".py", "name": "python"}
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for fleeting in ("collapsed", "execution", "jp-MarkdownHeadingCollapsed", "scrolled"):
            cell.metadata.pop(fleeting, None)
        for output in cell.get("outputs", []):
            # The view of a widget is an id; what it showed is gone with its kernel.
            output.get("data", {}).pop(WIDGET_VIEW, None)
    text: str = nbformat.writes(notebook, version=4)
    return text.rstrip("\n") + "\n"


def faults(notebook: NotebookNode) -> list[str]:
    """Tell what nbval lets pass: cells never run, run out of order, or ending in an error."""
    found = []
    expected = 1
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        count = cell.execution_count
        if count is None:
            found.append(f"cell {number} was never run")
        elif count != expected:
            found.append(f"cell {number} was run as number {count} instead of {expected}")
        expected += 1
        tags = cell.metadata.get("tags", [])
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in tags:
            found.append(f"cell {number} ends in {errors[0].ename}")
    return found


def stopped_at(notebook: NotebookNode) -> int:
    """Give the number of the last cell that was begun, counted from 1 as JupyterLab shows them."""
    begun = [n for n, cell in enumerate(notebook.cells, 1) if cell.get("execution_count")]
    return begun[-1] if begun else 1


def reason(error: Exception) -> str:
    """Say in a few words why a cell did not end well."""
    if isinstance(error, CellExecutionError):
        return f"{error.ename}: {error.evalue}"
    if isinstance(error, CellTimeoutError):
        return f"still running after {SECONDS_PER_CELL} seconds"
    return "its kernel died"


def main() -> int:
    """Run the notebooks named, or all lessons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, name what drifts")
    parser.add_argument("notebook", nargs="*", type=Path, help="default: every lesson and solution")
    options = parser.parse_args()
    everything = [path for at in (LESSONS, SOLUTIONS) for path in sorted(at.glob("*.ipynb"))]
    paths = options.notebook or everything
    for path in paths:
        if not path.is_file():
            parser.error(f"there is no notebook {path}")
    status = 0
    for path in paths:
        try:
            fresh = executed(path)
        except Failed as failed:
            print(f"{failed} (the stored notebook is as it was)", file=sys.stderr)
            status = 1
            continue
        if fresh == path.read_text(encoding="utf-8"):
            print(f"{path.name}: as stored")
        elif options.check:
            print(f"{path.name}: drifts from what is stored; `make notebooks` stores it anew")
            status = 1
        else:
            path.write_text(fresh, encoding="utf-8", newline="\n")
            print(f"{path.name}: stored anew")
    return status


if __name__ == "__main__":
    sys.exit(main())
