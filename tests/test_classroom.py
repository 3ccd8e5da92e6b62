"""Grading: answers in the sandbox, hostile ones, and a whole nbgrader course."""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest

from tools import classroom
from tools.course import ROOT
from vmakernel import sealed
from vmakernel.exercise import Exercise, chapters, exercises
from vmakernel.judges import FUNCTIONS, SECONDS
from vmakernel.sealed import NotRight, Refused, grade_sealed, try_out

ALL = exercises()


try:
    NO_SANDBOX = "" if "bwrap" in sealed.sandbox()[0] else "the sandbox is switched off"
except Refused as refused:
    NO_SANDBOX = str(refused)
needs_sandbox = pytest.mark.skipif(bool(NO_SANDBOX), reason=NO_SANDBOX)


# --- in the sandbox --------------------------------------------------------------------------


@needs_sandbox
@pytest.mark.parametrize("name", ["first-split", "who-vanishes", "make-it-leak", "complete-after",
                                  "from-one-sentence", "mend-the-workaround"])  # fmt: skip
def test_what_is_right_is_right_in_the_sandbox(name: str) -> None:
    one = ALL[name]

    assert grade_sealed(name, one.solution).right
    with pytest.raises(NotRight, match="not yet tried"):
        grade_sealed(name, one.starter)


@needs_sandbox
def test_what_was_left_out_comes_back_as_left_out() -> None:
    with pytest.raises(NotRight, match=re.escape("there is a ... left in the answer")):
        grade_sealed("first-split", "layout = [...]")


@needs_sandbox
def test_an_answer_may_be_checked_where_it_is_written() -> None:
    for name in ("first-split", "from-one-sentence"):
        one = ALL[name]
        assert grade_sealed(name, f'{one.solution}\nprint(check("{name}", {one.answer}))').right


@needs_sandbox
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("while True:\n    pass", "did not come back within 2 s"),
        ("layout = (", "raised SyntaxError"),
        ("lay_out = 1", "there is no layout in the answer"),
        ("raise SystemExit", "raised SystemExit"),
        ("import os\nos._exit(7)", "ended its process with exit status 7"),
        ("layout = [0] * 10**11", "memory"),
        ("while True:\n    print('again')", "did not come back"),
        ("layout = object()", "cannot be handed over"),
        ("layout = 10**5000", "raised ValueError"),
        ("layout = '\\ud800'", "'?' is no layout"),
        ("layout = 'P' * 10**6", "answered more than 64 kB"),
        ("layout = []\nfor _ in range(20): layout = [layout]", "cannot be handed over"),
        ("layout = []\nfor _ in range(60): layout = [layout, layout]", "layout"),
        (f"layout = {'9' * 30_000}", "at most 20,000 characters"),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E", "exit status 1"),
    ],
)
def test_what_misbehaves_gets_a_sentence(source: str, says: str) -> None:
    with pytest.raises(NotRight, match="wrong") as told:
        grade_sealed("first-split", source)

    assert says in str(told.value)


@needs_sandbox
def test_all_questions_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "BUDGET", 3.0)
    one = ALL["from-one-sentence"]
    slow = f"{one.solution}\nimport time\nquick = {one.answer}\ndef {one.answer}(ask):\n"
    since = time.monotonic()

    with pytest.raises(NotRight, match="more than 3 s for all questions together"):
        grade_sealed(one.id, f"{slow}    time.sleep(0.9)\n    return quick(ask)\n")
    assert time.monotonic() - since < 3 + ROOM


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 60_000, b"null", b"[]", b"{}", b'{"list": 1}', b'{"object": []}', b"\xff",
        b'{"tuple": ["returned"]}', b'{"tuple": [[], []]}', b"9" * 5000, b'{"set": [{"list": []}]}',
        b'{"list": [' * 9 + b"]}" * 9, b'{"dict": [1]}', b'{"list": [], "set": []}',
    ],
)  # fmt: skip
def test_only_what_is_in_the_schema_is_read(line: bytes) -> None:
    with pytest.raises((ValueError, TypeError, RecursionError)):
        _, _ = sealed._value(json.loads(line))


# --- hostile -----------------------------------------------------------------------------------

ROOM = 6.0  # seconds that starting a sandbox and a busy machine may cost on top of a limit
KEY = 0x5EA1ED  # of a segment that no sandbox may leave
CANARY = "what nobody may see"
WRONG = "def really_removed(ask):\n    return False\n"
SAYS_TRUE = '{"tuple": ["returned", true]}\\n'
ATTACKS = {
    "attributes": """
import enum, vmakernel.exercise, vmakernel.judges, vmakernel.own
for module in [one for name, one in sys.modules.items() if name.startswith("vmakernel")]:
    for thing in list(vars(module).values()):
        for name in ("__eq__", "__reduce__", "right", "said", "grade", "after", "leaked"):
            try:
                setattr(thing, name, lambda *_: True)
            except Exception:
                pass
vmakernel.judges.JUDGES = {}
vmakernel.exercise.grade = vmakernel.judges.judge = lambda *_: None
""",
    "json and builtins": """
import builtins, json
json.dumps = lambda *_: '''SAYS_TRUE'''
builtins.isinstance = builtins.callable = lambda *_: True
""",
    "pickle": """
class really_removed:
    def __new__(cls, *_):
        return object.__new__(cls)
    def __reduce__(self):
        return os.system, ("touch FOLDER/owned",)
    __bool__ = __eq__ = lambda *_: True
WRONG = ""
""",
    "pickle on the way back": """
import pickle
class E:
    def __reduce__(self):
        return os.system, ("touch FOLDER/owned",)
everywhere(pickle.dumps(E()) + b"\\n")
""",
    "attributes by pickle": r"""
everywhere(b"\x80\x04cvmakernel.vma\nVMA\nN}Vhas_close\nK\x00s\x86b.\n")
""",
    "the protocol": "everywhere(b'''SAYS_TRUE''' * 100)",
    "the protocol, deep": "everywhere(b'{\"list\": [' * 6000 + b'\\n')",
    "the protocol, without end": "while True: everywhere(b'''SAYS_TRUE''' * 100)",
    "questions": """
for fd in range(3, 64):
    try:
        os.set_blocking(fd, False); os.read(fd, 10**6); os.close(fd)
    except OSError:
        pass
while True: pass
""",
    "files": """
found = []
for top in ("/", "FOLDER"):
    for folder, inside, names in os.walk(top):
        inside[:] = [one for one in inside if one not in ("usr", "proc", "lib", "lib64", "engine")]
        found += [folder, *names]
for path in ("FOLDER/gradebook.db", "FOLDER/submitted/bob/answer", "/proc/PID/environ",
             "/proc/PID/cwd/gradebook.db", "/etc/shadow"):
    try:
        found.append("CAN" + "ARY " + open(path).read())
    except OSError:
        pass
raise ValueError([one for one in found if "CAN" + "ARY" in one or "gradebook" in one])
""",
    "environment": """
found = [str(dict(os.environ))]
for one in os.listdir("/proc"):
    try:
        found.append(open(f"/proc/{one}/environ").read())
    except OSError:
        pass
raise ValueError(found)
""",
    "changes": """
import shutil
for deed in (
    lambda: open("FOLDER/gradebook.db", "w"), lambda: open("FOLDER/owned", "x"),
    lambda: os.remove("FOLDER/gradebook.db"), lambda: os.chmod("FOLDER", 0o777),
    lambda: os.truncate("FOLDER/gradebook.db", 0), lambda: shutil.rmtree("FOLDER"),
    lambda: open("/engine/vmakernel/owned", "x"), lambda: os.remove("/engine/vmakernel/sealed.py"),
    lambda: open("/usr/owned", "x"), lambda: open("/proc/sys/kernel/core_pattern", "w"),
    lambda: os.makedirs("/var/owned"), lambda: os.symlink("FOLDER", "/dev/owned"),
):
    try:
        deed()
        raise SystemExit("CAN" + "ARY")
    except OSError:
        pass
""",
    "network": """
import socket
for kind, where in ((socket.AF_INET, ("127.0.0.1", PORT)), (socket.AF_UNIX, "\\0vmakernel-PORT")):
    try:
        socket.socket(kind).connect(where)
        raise SystemExit("CAN" + "ARY")
    except OSError:
        pass
""",
    "the grader": """
import ctypes, resource, signal
libc = ctypes.CDLL(None)
for pid in (PID, os.getppid(), 1, -1):
    libc.ptrace(16, pid, 0, 0)
    for deed in (
        lambda: os.kill(pid, signal.SIGTERM), lambda: os.kill(pid, signal.SIGKILL),
        lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)),
    ):
        try:
            deed()
        except (OSError, ValueError):
            pass
""",
    "more rights": """
import ctypes, resource
for deed in (
    lambda: os.setuid(0), lambda: os.setgroups([0]),
    lambda: resource.setrlimit(resource.RLIMIT_NPROC, (99, 99)),
    lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
):
    try:
        deed()
        raise SystemExit("CAN" + "ARY")
    except (OSError, ValueError):
        pass
libc = ctypes.CDLL(None)
if not libc.unshare(0x10000000) and not libc.mount(b"none", b"/usr", b"tmpfs", 0, None):
    raise SystemExit("CAN" + "ARY")
""",
    "segments": """
import ctypes
libc = ctypes.CDLL(None)
for more in range(9):
    libc.shmget(KEY + more, 1 << 20, 0o1666)
""",
    "segments without end": """
import ctypes
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
while True:
    at = libc.shmat(libc.shmget(0, 64 << 20, 0o1600), None, 0)
    ctypes.memset(at, 1, 64 << 20)
    libc.shmdt(ctypes.c_void_p(at))
""",
    "a daemon": """
if not os.fork():
    os.setsid()
    if not os.fork():
        while True: pass
    os._exit(0)
""",
    "a fork bomb": """
while True:
    try:
        os.fork()
        raise SystemExit("CAN" + "ARY")
    except OSError:
        pass
""",
    "threads": """
import threading
threading.Thread(target=lambda: everywhere(b'''SAYS_TRUE'''), daemon=True).start()
""",
    "another program": "os.execv('/usr/bin/yes', ['yes', '''SAYS_TRUE'''[:-1]])",
    "memory": "held = []\nwhile True: held.append(bytearray(1 << 20))",
    "scratch": """
written = 0
for number in range(10**9):
    try:
        with open(f"/tmp/{number}", "wb") as file:
            written += file.write(bytes(1 << 19))
    except OSError:
        break
    if written > 32 << 20:
        raise SystemExit("CAN" + "ARY")
""",
    "names": "for number in range(10**9): os.mkdir(f'/tmp/{number}')",
    "output": "while True: print('again' * 1000)",
    "a loop": """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    try:
        while True: pass
    except BaseException:
        pass
""",
    "_exit": "os._exit(0)",
    "a crash": "import ctypes\nctypes.string_at(0)",
    "huge": "def really_removed(ask): return 'x' * 10**8\nWRONG = ''",
    "deep": """
def really_removed(ask):
    made = []
    for _ in range(10**5): made = [made]
    return made
WRONG = ""
""",
    "wide": """
def really_removed(ask):
    made = []
    for _ in range(60): made = [made, made]
    return made
WRONG = ""
""",
    "as good as True": """
class T(int):
    __eq__ = __ne__ = lambda *_: True
    __hash__ = int.__hash__
def really_removed(ask): return T(1)
WRONG = ""
""",
    "settrace": """
def look(frame, *_):
    for name in list(frame.f_locals):
        frame.f_locals[name] = True
    return look
sys.settrace(look); sys.setprofile(look)
""",
    "atexit": """
import atexit
@atexit.register
def late():
    while True: everywhere(b'''SAYS_TRUE''')
sys.exit(0)
""",
}
EVERYWHERE = """
import os, sys
def everywhere(what):
    for fd in range(3, 64):
        try:
            os.write(fd, what)
        except OSError:
            pass
"""


def attack(name: str, folder: Path, port: int = 9) -> str:
    """An attack as a learner would submit it, with an answer that is worth nothing."""
    text = ATTACKS[name]
    wrong = "" if "WRONG = " in text else WRONG
    for word, is_ in {"FOLDER": folder, "PORT": port, "PID": os.getpid(), "KEY": KEY,
                      "SAYS_TRUE": SAYS_TRUE}.items():  # fmt: skip
        text = text.replace(word, str(is_))
    return f"{EVERYWHERE}{wrong}{text}\n{wrong}".replace('"CAN" + "ARY"', repr(CANARY))


def course(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What is in a folder: modes and bytes."""
    return {
        str(path): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def left() -> list[str]:
    """Segments with our key and processes of a sandbox, once they had time to go."""
    found: list[str] = []
    for _ in range(100):
        shm = Path("/proc/sysvipc/shm").read_text("ascii").splitlines()[1:]
        found = [line for line in shm if KEY <= int(line.split()[0]) < KEY + 9]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                line = path.read_bytes()
                found += [str(line)] * (OWN in line or line.startswith(b"yes\0"))
        if not found:
            break
        time.sleep(0.02)
    return found


OWN = str(ROOT / "vmakernel").encode() + b"\0/engine/vmakernel"


@needs_sandbox
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_earns_changes_leaves_or_sees_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "course"
    (folder / "submitted/bob").mkdir(parents=True)
    (folder / "gradebook.db").write_text(CANARY, "utf-8")
    (folder / "submitted/bob/answer").write_text(CANARY, "utf-8")
    monkeypatch.setenv("SECRET", CANARY)
    before = course(folder)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as other:
        port = server.getsockname()[1]
        other.bind(f"\0vmakernel-{port}")
        other.listen()
        since = time.monotonic()

        with pytest.raises(NotRight, match="wrong") as told:
            grade_sealed("from-one-sentence", attack(name, folder, port))

        assert time.monotonic() - since < SECONDS + ROOM
        assert select.select([server, other], [], [], 0) == ([], [], [])
    assert "SyntaxError" not in str(told.value)  # it was run
    assert "NotFound" not in str(told.value)
    assert "NameError" not in str(told.value)
    assert CANARY not in str(told.value)
    assert "gradebook" not in str(told.value)
    assert course(folder) == before
    assert not left()


def test_without_a_sandbox_nothing_is_run_unless_the_machine_may_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(sealed.DISPOSABLE, raising=False)
    sealed.sandbox.cache_clear()
    one = ALL["first-split"]
    deed = f"{one.solution}\nopen({str(tmp_path / 'written')!r}, 'x')"
    try:
        with pytest.raises(Refused, match="so what was submitted is not run"):
            grade_sealed(one.id, deed)
        assert not list(tmp_path.iterdir())

        if os.name == "posix" and os.geteuid():
            monkeypatch.setenv(sealed.DISPOSABLE, "1")
            assert grade_sealed(one.id, deed).right
            assert list(tmp_path.iterdir())  # no protection, as the README says
    finally:
        sealed.sandbox.cache_clear()


@needs_sandbox
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
    assert NO_SANDBOX in capsys.readouterr().out
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
# What lies beside a notebook, and would be imported by a kernel that is started there.
BESIDE = ("ipykernel_launcher", "vmakernel", "json", "random", "sitecustomize", "nbgrader_config")


def submitted(released: Path, answers: dict[str, str], extra: str = "") -> nbformat.NotebookNode:
    """Fill a released notebook in, as a learner would."""
    notebook: nbformat.NotebookNode = nbformat.read(released, as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.nbgrader.grade_id
        if name.endswith("-answer"):
            cell.source = answers.get(name.removesuffix("-answer"), cell.source)
        if extra and name.endswith("-check"):
            cell.source = "pass  # never mind"
    if extra:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(extra, id="mine"))
    return notebook


@needs_sandbox
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
    deed = f"open({str(tmp_path / 'owned')!r}, 'w')\n"
    # Every attack once, as answer to one exercise or the other.
    hostile = {
        name.replace(" ", "-").replace(",", ""): submitted(
            released,
            {one.id: attack(name, folder).replace("really_removed", one.answer)
             for one in chapter.exercises[at % len(right) :][:1]},
            deed,
        )
        for at, name in enumerate(ATTACKS)
    }  # fmt: skip
    for name, notebook in {
        "ada": submitted(released, right),
        "bob": submitted(released, hard),
        "eve": submitted(released, mixed, deed),
        **hostile,
    }.items():
        place = folder / "submitted" / name / ASSIGNMENT
        place.mkdir(parents=True)
        nbformat.write(notebook, place / f"{ASSIGNMENT}.ipynb")
        for beside in BESIDE if name == "eve" else ():
            (place / f"{beside}.py").write_text(deed, "utf-8")
    before = {path.name for path in folder.iterdir()}
    sent = course(folder / "submitted")

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
    assert scores == {"ada": [most, most], "bob": [0, most], "eve": [most - endless, most]} | {
        name: [0, most] for name in hostile
    }
    assert {path.name for path in folder.iterdir()} - before == {"autograded", "feedback"}
    assert not list(tmp_path.rglob("owned"))
    assert course(folder / "submitted") == sent
    assert not left()
    said = (folder / "feedback/eve" / ASSIGNMENT / f"{ASSIGNMENT}.html").read_text("utf-8")
    assert "did not come back within 2 s" in said


def hard_coded(one: Exercise) -> str:
    """An answer that fits what can be seen."""
    assert one.judge in FUNCTIONS
    return HARD_CODED[one.id]
