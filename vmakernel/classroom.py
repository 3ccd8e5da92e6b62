"""For nbgrader: puts what was submitted under seal before anything is run.

Needs the extra `classroom`. An exported course names `Seal` in its nbgrader_config.py. The notebook
that is run then holds no line of the learner's as code: answers become text, cells that were added
become raw text, and every test is written anew from the exercise.
"""

from __future__ import annotations

from typing import Any

from nbgrader.preprocessors import NbGraderPreprocessor

from vmakernel.exercise import exercises

ANSWER, CHECK = "-answer", "-check"


def hidden(name: str) -> str:
    """Return the test of an exercise that no learner's notebook shows."""
    return f'from vmakernel.sealed import grade_sealed\n\ngrade_sealed("{name}", sealed["{name}"])'


class Seal(NbGraderPreprocessor):  # type: ignore[misc]
    """Turn a submission into answers as text and tests as they were exported."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Seal a notebook; the first cell that is left as code makes the place for answers."""
        known = exercises()
        for cell in nb.cells:
            name = str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
            exercise = name.removesuffix(ANSWER).removesuffix(CHECK)
            if cell.cell_type != "code":
                continue
            if name.endswith(ANSWER) and exercise in known:
                cell.source = (
                    f'sealed = {{**globals().get("sealed", {{}}), "{exercise}": {cell.source!r}}}'
                )
            elif name.endswith(CHECK) and exercise in known:
                cell.source = hidden(exercise)
            else:
                cell.cell_type = "raw"
                for field in ("outputs", "execution_count"):
                    cell.pop(field, None)
        return nb, resources
