"""Submitted answers: run in a sandbox, judged outside of it as any other answer.

Previous: exercise.py. What was submitted runs in bubblewrap, which starts one Python for each
answer: in namespaces of its own, with a read-only system, no network, nothing of the class and
strict limits. All that comes out is lines of JSON, held against a schema; what decides about points
is on this side of it. The README says what that protects, and what it does not.
"""

from __future__ import annotations

import ast
import base64
import dataclasses
import json
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from vmakernel.exercise import Exercise, Feedback, Grade, find, grade, untouched
from vmakernel.flags import InputError, OneSentence
from vmakernel.guard import Guarded, Stopped
from vmakernel.judges import FUNCTIONS, SECONDS, shown

LONGEST: Final = 20_000  # characters of a submission
START: Final = 30.0  # seconds that starting Python may take on a busy machine
BUDGET: Final = 20.0  # seconds for all the questions about one answer
LARGEST: Final = 64 << 10  # bytes of one line of JSON
DEEPEST: Final = 8  # containers in containers
MEGABYTES: Final = 1024
NOBODY: Final = 65534
AROUND: Final = {"HOME": "/tmp"}  # the whole environment in the sandbox, also of its first process
DISPOSABLE: Final = "VMAKERNEL_DISPOSABLE"


class NotRight(AssertionError):
    """An answer that gets no points; the message is what check() would say."""


class Refused(OneSentence, RuntimeError):
    """There is no sandbox here."""


def grade_sealed(name: str, source: object) -> Feedback:
    """Judge a submitted answer, given as text. Raises NotRight unless it is right, and Refused."""
    exercise = find(name)
    told = _judged(exercise, source)
    if not told.right:
        raise NotRight(repr(told))
    return told


def _judged(exercise: Exercise, source: object) -> Feedback:
    if type(source) is not str or len(source) > LONGEST:
        return Feedback(Grade.WRONG, [f"an answer is text of at most {LONGEST:,} characters"])
    if _same(source, exercise.starter):
        return Feedback(Grade.NOT_TRIED, ["the answer is as it was given"])
    sandboxed = Sandboxed(exercise, source)
    try:
        value = sandboxed.answer()
        if untouched(exercise, value):
            return Feedback(Grade.NOT_TRIED, ["there is a ... left in the answer"])
        return grade(exercise, value)
    except Stopped as stopped:
        return Feedback(Grade.WRONG, [str(stopped)])
    finally:
        sandboxed.close()


def _same(source: str, starter: str) -> bool:
    try:
        return ast.dump(ast.parse(source)) == ast.dump(ast.parse(starter))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def try_out(name: str, answer: Any) -> Feedback:
    """Judge a function in the one situation that everybody may see."""
    exercise = find(name)
    if untouched(exercise, answer):
        return Feedback(Grade.NOT_TRIED, [f"write {exercise.answer} first"])
    told = grade(dataclasses.replace(exercise, asks={**exercise.asks, "only": 1}), answer)
    if told.right:
        told.lines = ["here it does what it must; it will be tried elsewhere, too"]
    return told


@cache
def sandbox() -> tuple[str, ...]:
    """Return the command that Python is started with. Raises Refused where there is no sandbox."""
    python, engine = Path(sys.executable).resolve(), Path(__file__).parent
    home = python.parents[1]
    bare = (str(python), "-I", "-S", "-B", "-c", _PROGRAM)
    command = (
        shutil.which("bwrap") or "/nowhere/bwrap",
        "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        # Root's processes have no limit on their number: there, serve() becomes somebody else.
        *(
            ("--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY)) if os.geteuid()
            else ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
        ),
        "--ro-bind", "/usr", "/usr", "--ro-bind-try", "/lib", "/lib",
        "--ro-bind-try", "/lib64", "/lib64", *_seen(home / "bin", home / "bin"),
        *_seen(home / "lib", home / "lib"), *_seen(engine, Path("/engine/vmakernel")),
        "--proc", "/proc", "--dev", "/dev",
        "--size", str(16 << 20), "--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/tmp",
        "--remount-ro", "/dev", "--remount-ro", "/",
    )  # fmt: skip
    try:
        tried = subprocess.run(
            [*command, *bare[:-1], "pass"],
            env=AROUND,
            capture_output=True,
            text=True,
            timeout=START,
        )
        if not tried.returncode:
            return (*command, *bare, "/engine")
        why = f"bubblewrap cannot start ({shown(tried.stderr)})"
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"bubblewrap cannot start ({type(error).__name__})"
    if os.environ.get(DISPOSABLE) == "1":
        return (*bare, str(engine.parent))
    raise Refused(
        f"{why}, so what was submitted is not run: install it (on Debian: apt-get install "
        f"bubblewrap), or set {DISPOSABLE}=1 on a machine that is thrown away afterwards"
    )


def _seen(place: Path, inside: Path) -> list[str]:
    """Return how bubblewrap shows a folder, read-only, to whoever runs inside."""
    if inside.is_relative_to("/usr"):
        return []
    above = [str(one) for one in reversed(inside.parents)][1:]
    dirs = [word for one in above for word in ("--perms", "0755", "--dir", one)]
    return [*dirs, "--ro-bind", str(place), str(inside)]


_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from vmakernel.sealed import serve; serve()"
)


class Sandboxed(Guarded):
    """What was submitted, in a sandbox; called as the function that it defines. Raises Stopped."""

    def __init__(self, exercise: Exercise, source: str) -> None:
        super().__init__(serve, seconds=SECONDS, name=exercise.answer)
        self.is_function = exercise.judge in FUNCTIONS
        self.process = subprocess.Popen(
            sandbox(), bufsize=0, env=AROUND, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.ask, self.hear, self.heard = self.process.stdin, self.process.stdout, b""
        self.until = time.monotonic() + START
        self._talk((exercise.setup, source, exercise.answer, self.is_function), START)
        self.until = time.monotonic() + BUDGET
        os.set_blocking(self.ask.fileno(), False)  # from here on, who listens is not to be trusted

    def answer(self) -> Any:
        """Run what was submitted and return the answer: this, where it is a function."""
        value = self()
        return self if self.is_function else value

    def __call__(self, *arguments: Any) -> Any:
        """Ask the function; before the first question, what was submitted is run."""
        return self._talk(arguments, self.seconds)

    def each(self, questions: Sequence[tuple[Any, ...]]) -> list[Any] | None:
        """Ask one question after the other."""
        return [self(*question) for question in questions]

    def close(self) -> None:
        """End all that runs in the sandbox: its first process dies with the one that is killed."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.ask.close()
        self.hear.close()

    def _talk(self, question: Any, seconds: float) -> Any:
        if self.ask.closed:
            raise Stopped(f"{self.name} was stopped before")
        ends = min(time.monotonic() + seconds, self.until)
        line = base64.b64encode(pickle.dumps(question)) + b"\n"
        with suppress(OSError):  # it is gone, or does not listen; what it says shows which
            while line:
                line = line[self.ask.write(line) or len(line) :]
        while b"\n" not in self.heard:
            ready = select.select([self.hear], [], [], max(ends - time.monotonic(), 0))[0]
            more = os.read(self.hear.fileno(), LARGEST) if ready else b""
            self.heard += more
            if not more or len(self.heard) > LARGEST:
                raise self._stopped(bool(ready), bool(more), seconds)
        said, _, self.heard = self.heard.partition(b"\n")
        try:
            kind, value = _value(json.loads(said))
        except (ValueError, TypeError, RecursionError):
            self.close()
            raise Stopped(f"{self.name} is what cannot be handed over: plain values can") from None
        if kind != "returned":
            self.close()
            raise Stopped(f"{self.name} {shown(value, 240)}")
        return value

    def _stopped(self, ended: bool, more: bool, seconds: float) -> Stopped:
        if more:
            said = f"answered more than {LARGEST >> 10} kB"
        elif not ended and time.monotonic() >= self.until:
            said = f"took more than {BUDGET:g} s for all questions together"
        else:
            said = f"did not come back within {seconds:g} s and was stopped"
        if ended and not more:
            with suppress(subprocess.TimeoutExpired):
                said = f"ended its process with exit status {self.process.wait(1.0)}"
        self.close()
        return Stopped(f"{self.name} {said}")


_KINDS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "list": list, "tuple": tuple, "set": set, "dict": dict, "...": lambda _: ...,
}  # fmt: skip


def _value(told: Any, deep: int = DEEPEST) -> Any:
    """Return what JSON tells of. Raises ValueError or TypeError where it is not in the schema."""
    if told is None or type(told) in (bool, int, float):
        return told
    if type(told) is str:
        return told.encode("utf-8", "replace").decode()
    if type(told) is not dict or len(told) != 1 or not deep:
        raise InputError("not in the schema")
    ((kind, inside),) = told.items()
    if kind not in _KINDS or type(inside) is not list:
        raise InputError("not in the schema")
    return _KINDS[kind]([_value(one, deep - 1) for one in inside])


# --- in the sandbox: nothing that is decided here counts ------------------------------------------


def serve() -> None:
    """Run what was submitted and answer questions: the main program in the sandbox."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    setup, source, name, is_function = _asked(questions.readline())
    around: dict[str, Any] = {"__name__": "__main__"}
    exec(setup, around)
    _limit()

    def begin() -> Any:
        exec(compile(source, "<answer>", "exec"), around)
        if name not in around:
            raise NameError(f"there is no {name} in the answer")
        return None if is_function else around[name]

    _tell(answers, lambda: None)
    deed: Callable[..., Any] = begin
    while line := questions.readline():
        _tell(answers, partial(deed, *_asked(line)))
        deed = around.get(name, begin)


def _asked(line: bytes) -> Any:
    return pickle.loads(base64.b64decode(line))


def _tell(answers: BinaryIO, deed: Callable[[], Any]) -> None:
    try:
        said = json.dumps({"tuple": ["returned", _plain(deed())]})
    except MemoryError:
        said = json.dumps({"tuple": ["failed", f"needed more than {MEGABYTES} MB of memory"]})
    except BaseException as error:
        text = f"raised {type(error).__name__}: {error}"[:1000]
        said = json.dumps({"tuple": ["failed", text]})
    answers.write(said.encode() + b"\n")
    answers.flush()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if value is ...:
        return {"...": []}
    for kind, one in (("dict", dict), ("list", list), ("tuple", tuple), ("set", set | frozenset)):
        if isinstance(value, one):
            inside = value.items() if isinstance(value, dict) else value
            return {kind: [_plain(part) for part in inside]}
    raise InputError(f"a {type(value).__name__} cannot be handed over: plain values can")


def _limit() -> None:
    import resource

    # Shared memory counts for no process: when memory is short, these are the first to go.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for which, most in (
        (resource.RLIMIT_AS, MEGABYTES << 20),
        (resource.RLIMIT_CPU, int(START)),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 1),  # no other process, and no thread
    ):
        resource.setrlimit(which, (most, most))
