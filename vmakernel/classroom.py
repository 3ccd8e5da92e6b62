"""For nbgrader: judges what was submitted, in the place of running the notebook.

Needs the extra `classroom`. An exported course names `Judge` in its nbgrader_config.py, instead of
nbgrader's Execute. No kernel is started, so nothing that lies beside a notebook is imported: each
answer goes to the sandbox as text (sealed.py), and the test shows what became of it.
"""

from __future__ import annotations

from typing import Any

from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor

from vmakernel.exercise import exercises
from vmakernel.sealed import NotRight, grade_sealed, sandbox

ANSWER, CHECK = "-answer", "-check"


class Judge(NbGraderPreprocessor):  # type: ignore[misc]
    """Write under each test what nbgrader reads the points from: an error, or none."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Judge a notebook. Raises Refused where there is no sandbox."""
        sandbox()
        answers = {}
        tests = []
        for cell in nb.cells:
            told = cell.metadata.get("nbgrader", {})
            if told.get("grade") and cell.cell_type == "code":
                tests.append((str(told.grade_id).removesuffix(CHECK), cell))
            answers[str(told.get("grade_id", ""))] = cell.source
        # A cell that a learner doubled is judged once.
        known = {name: judged(name, answers.get(name + ANSWER, "")) for name, _ in tests}
        for name, cell in tests:
            cell.outputs = [known[name]]
        return nb, resources


def judged(exercise: str, source: str) -> Any:
    """Return the output that a test gets."""
    try:
        if exercise not in exercises():
            raise NotRight("this test is not one of the course's: look at the answer yourself")
        return new_output("stream", name="stdout", text=repr(grade_sealed(exercise, source)))
    except NotRight as told:
        said = str(told)
    return new_output("error", ename="NotRight", evalue=said, traceback=said.splitlines())
