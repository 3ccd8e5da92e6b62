"""Grading: answers under seal, and a whole nbgrader course with three invented submissions."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools import classroom
from tools.course import ROOT
from vmakernel import sealed
from vmakernel.exercise import Exercise, chapters, exercises
from vmakernel.judges import FUNCTIONS
from vmakernel.sealed import NotRight, grade_sealed, try_out

ALL = exercises()


# --- under seal ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["first-split", "who-vanishes", "make-it-leak", "complete-after",
                                  "from-one-sentence", "mend-the-workaround"])  # fmt: skip
def test_what_is_right_is_right_under_seal(name: str) -> None:
    one = ALL[name]

    assert grade_sealed(name, one.solution).right
    with pytest.raises(NotRight, match="not yet tried"):
        grade_sealed(name, one.starter)


FAKE = 'answer = "PP|PP|PPPP"\nlayout = answer\n'


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("while True:\n    pass", "did not come back within 2 s"),
        ("layout = (", "raised SyntaxError"),
        ("lay_out = 1", "there is no layout in the answer"),
        ("raise SystemExit", "raised SystemExit"),
        ("import os\nos._exit(0)", "ended its process"),
        ("layout = [0] * 10**11", "memory"),
        ("while True:\n    print('again')", "did not come back"),
        (
            "class E:\n    def __reduce__(self):\n        return exit, ()\nlayout = E()",
            "handed over",
        ),
        ("import os\nos.closerange(3, 99)\nwhile True:\n    pass", "closed the way back"),
        (FAKE + "import subprocess\nsubprocess.run(['true'])", "may not"),
        (FAKE + "import os\nos.kill(os.getppid(), 9)", "may not"),
        (FAKE + "import ctypes\nctypes.CDLL(None)", "may not"),
    ],
)
def test_what_misbehaves_under_seal_gets_a_sentence(source: str, says: str) -> None:
    with pytest.raises(NotRight, match="wrong") as told:
        grade_sealed("first-split", source)

    assert says in str(told.value)


def test_what_was_submitted_can_neither_write_nor_remove(tmp_path: Path) -> None:
    kept = tmp_path / "gradebook.db"
    kept.write_text("points", "utf-8")
    for deed in (
        f"open({str(kept)!r}, 'w')",
        f"open({str(tmp_path / 'new')!r}, 'x')",
        f"__import__('os').remove({str(kept)!r})",
        f"__import__('os').truncate({str(kept)!r}, 0)",
        f"__import__('shutil').rmtree({str(tmp_path)!r})",
    ):
        with pytest.raises(NotRight):
            grade_sealed("first-split", f"{FAKE}{deed}\n")

    assert [path.name for path in tmp_path.iterdir()] == ["gradebook.db"]
    assert kept.read_text("utf-8") == "points"


@pytest.mark.skipif(not sealed._landlock_version(), reason="this kernel has no Landlock")
def test_the_kernel_says_no_where_python_would_not_have(tmp_path: Path) -> None:
    kept = tmp_path / "gradebook.db"
    kept.write_text("points", "utf-8")
    program = f"""
import os
from vmakernel import sealed
sealed._landlock()
for deed in (
    lambda: open({str(kept)!r}, "w"), lambda: open({str(kept)!r}), lambda: os.remove({str(kept)!r}),
    lambda: os.mkdir({str(tmp_path / "d")!r}), lambda: os.execv("/bin/true", ["true"]),
):
    try:
        deed()
    except PermissionError:
        print("no")
import json.tool  # what Python itself needs can still be read
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, text=True, capture_output=True
    )

    assert done.stdout.split() == ["no"] * 5
    assert kept.read_text("utf-8") == "points"


def test_hard_coding_what_can_be_seen_is_not_enough() -> None:
    one = ALL["from-one-sentence"]
    told = try_out(one.id, one.value(HARD_CODED[one.id]))

    assert told.right
    with pytest.raises(NotRight, match="wrong"):
        grade_sealed(one.id, HARD_CODED[one.id])


HARD_CODED = {
    one.id: f"def {one.answer}(*asked):\n    return {{}}\n".replace("{}", seen)
    for one, seen in [
        (ALL["mend-before"], "True"),
        (ALL["complete-after"], "False"),
        (ALL["anon-contract"], "True"),
        (ALL["test-of-the-patch"], "False"),
        (ALL["fix-of-case-7"], "False"),
        (ALL["from-one-sentence"], "False"),
    ]
}


# --- the export ------------------------------------------------------------------------------


def test_the_course_is_exported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert classroom.main([str(tmp_path / "course")]) == 0
    assert sealed.protection() in capsys.readouterr().out
    assert classroom.main([str(tmp_path / "course")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert classroom.main([]) == 2

    for chapter in chapters():
        source = tmp_path / "course/source" / chapter.file / f"{chapter.file}.ipynb"
        notebook = nbformat.read(source, as_version=4)
        nbformat.validate(notebook)
        ids = [cell.metadata.nbgrader.grade_id for cell in notebook.cells]
        assert len(set(ids)) == len(ids)
        points = [cell.metadata.nbgrader.get("points", 0) for cell in notebook.cells]
        assert sum(points) == sum(one.minutes for one in chapter.exercises)


# --- three submissions -----------------------------------------------------------------------

NBGRADER = shutil.which("nbgrader") or shutil.which(
    "nbgrader", path=str(ROOT / ".venv-classroom" / ("Scripts" if os.name == "nt" else "bin"))
)
ASSIGNMENT = "4-repair"
ENDLESS = "def really_removed(ask):\n    while True:\n        pass\n"
ATTACK = """
import vmakernel.exercise, vmakernel.sealed, pathlib
vmakernel.exercise.grade = vmakernel.sealed.grade_sealed = lambda *a, **k: None
for path in pathlib.Path("..").rglob("*.db"):
    path.unlink()
pathlib.Path("owned").write_text("owned")
"""


def submitted(released: Path, answers: dict[str, str], extra: str = "") -> nbformat.NotebookNode:
    """Fill a released notebook in, as a learner would."""
    notebook: nbformat.NotebookNode = nbformat.read(released, as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.nbgrader.grade_id
        if name.endswith("-answer"):
            cell.source = answers[name.removesuffix("-answer")]
        if extra and name.endswith("-check"):
            cell.source = "pass  # never mind"
    if extra:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(extra, id="mine"))
    return notebook


@pytest.mark.skipif(NBGRADER is None, reason="nbgrader is not installed (README: To grade a class)")
def test_right_hard_coded_and_endless_get_what_they_deserve(tmp_path: Path) -> None:
    assert NBGRADER is not None
    folder = tmp_path / "course"
    classroom.export(folder)
    programs = Path(NBGRADER).parent
    python = shutil.which("python", path=str(programs)) or "python"
    around = {name: str(tmp_path / name) for name in ("HOME", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    around = {**os.environ, **around, "PATH": path, "PYTHONPATH": str(ROOT)}

    def nbgrader(*words: str) -> None:
        done = subprocess.run(
            [str(NBGRADER), *words], cwd=folder, env=around, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr[-3000:]

    nbgrader("generate_assignment", ASSIGNMENT)
    released = folder / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    text = released.read_text("utf-8")
    assert "HIDDEN TESTS" not in text
    (chapter,) = [one for one in chapters() if one.file == ASSIGNMENT]
    right = {one.id: one.solution for one in chapter.exercises}
    for one in chapter.exercises:
        assert json.dumps(one.solution)[1:-1] not in text
    hard = {one.id: hard_coded(one) for one in chapter.exercises}
    mixed = {**right, "from-one-sentence": ENDLESS}
    for name, notebook in {
        "ada": submitted(released, right),
        "bob": submitted(released, hard),
        "eve": submitted(released, mixed, ATTACK),
    }.items():
        place = folder / "submitted" / name / ASSIGNMENT
        place.mkdir(parents=True)
        nbformat.write(notebook, place / f"{ASSIGNMENT}.ipynb")
    before = {path.name for path in folder.iterdir()}

    nbgrader("autograde", ASSIGNMENT)
    nbgrader("generate_feedback", ASSIGNMENT)

    look = (
        "import json\nfrom nbgrader.api import Gradebook\n"
        "with Gradebook('sqlite:///gradebook.db') as book:\n"
        f"    print(json.dumps({{s.student.id: [s.score, s.max_score] for s in "
        f"book.assignment_submissions('{ASSIGNMENT}')}}))"
    )
    scores = json.loads(
        subprocess.run(
            [python, "-c", look], cwd=folder, env=around, text=True, capture_output=True, check=True
        ).stdout
    )
    most = sum(one.minutes for one in chapter.exercises)
    endless = ALL["from-one-sentence"].minutes
    assert scores == {"ada": [most, most], "bob": [0, most], "eve": [most - endless, most]}
    assert {path.name for path in folder.iterdir()} - before == {"autograded", "feedback"}
    assert not list(folder.rglob("owned"))
    said = (folder / "feedback/eve" / ASSIGNMENT / f"{ASSIGNMENT}.html").read_text("utf-8")
    assert "did not come back within 2 s" in said


def hard_coded(one: Exercise) -> str:
    """An answer that fits what can be seen."""
    assert one.judge in FUNCTIONS
    return HARD_CODED[one.id]
