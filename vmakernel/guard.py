"""A learner's function in a process of its own, where it can do no harm.

Previous: plain.py; next: own.py.

It may loop for ever, take all memory, print without end, recurse until the stack bursts, start
processes or leave with sys.exit(): the caller gets one sentence, at the latest when the time is up.
Only a process can promise that on every system. An alarm signal does not exist on Windows and works
in the main thread only; a trace function slows every line down and never sees a loop inside one
call of C; neither limits memory. The price is that the function gets copies of what it is given,
that what it changes outside itself is not seen here, and that it can return plain values only.

What it started ends with it. On Linux it runs below a process that does nothing else (_apart): in a
PID namespace, which the kernel ends as a whole, or where none is allowed as a descendant that is
found and ended. On macOS its process group is ended, and on Windows its process.

In a browser there is no other process: there it is called here, on copies, and watched (_Here).
"""

from __future__ import annotations

import builtins
import ctypes
import dis
import enum
import importlib
import io
import json
import marshal
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from typing import Any, ClassVar, Final, NoReturn, TextIO

from vmakernel.flags import OneSentence
from vmakernel.plain import NotPlain, packed, unpacked

LARGEST: Final = 6 << 20  # bytes of all that is said to one question
TICK: Final = 0.002  # seconds between two looks at what is left
TOLD: Final = 400  # characters of a clause about what went wrong
ENDING: Final = 1.0  # seconds that ending everything may take
PROGRAM: Final = "from vmakernel import guard; guard.serve()"
START: Final = 30.0  # seconds that starting Python may take on a busy machine
IN_BROWSER: Final = sys.platform == "emscripten"
NOT_WATCHED: Final = nullcontext()


class Stopped(OneSentence, RuntimeError):
    """A function did not end as it should; the message is one sentence that says what happened."""


class Guarded:
    """A function that runs in a process of its own; call it as you would call the function.

    Each call may take `seconds`, all of them `total` (see afresh), the process `megabytes` (where
    the system can limit that: not on Windows and macOS), and the first `lines` that it prints are
    shown. Raises Stopped.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        seconds: float = 2.0,
        total: float = 60.0,
        megabytes: int = 1024,
        lines: int = 20,
        name: str = "",
    ) -> None:
        self.function, self.seconds, self.total = function, seconds, total
        self.megabytes, self.lines = megabytes, lines
        named = name or getattr(function, "__name__", "")
        self.name = named if named.isidentifier() else "your function"
        self.spent = 0.0
        self._child: _Child | _Here | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Call the function. Raises Stopped."""
        return self._put(_dumps(arguments))

    def each(self, questions: Sequence[tuple[Any, ...]]) -> list[Any] | None:
        """Call the function with each of these arguments, all of them in `seconds`.

        Return what it returned, or None where it did not come to the end: then one call after the
        other will say why.
        """
        with suppress(Stopped, pickle.PicklingError, AttributeError, TypeError):
            # Values of the engine need no code taken along, and are sooner written without it.
            found: list[Any] = self._put(pickle.dumps(list(questions)))
            return found
        return None

    def afresh(self) -> None:
        """Begin a new check: from now on the calls may take `total` once more."""
        self.spent = 0.0

    def _put(self, question: bytes) -> Any:
        if self.spent > self.total:
            self.close()
            self.afresh()
            raise Stopped(f"{self.name} took more than {self.total:g} s for all calls together")
        if self._child is None:
            self._child = self._start()
        answered, began = False, time.monotonic()
        try:
            kind, value = self._child.ask(question, self.seconds)
            answered = True
        finally:
            self.spent += time.monotonic() - began
            if not answered:
                self.close()  # stopped, or interrupted: what it says next belongs to no question
        if kind != "returned":
            raise Stopped(f"{self.name} {_clause(value)}")
        try:
            return unpacked(value)
        except NotPlain as no:
            raise Stopped(f"{self.name} {no}") from None

    def close(self) -> None:
        """End the process; the next call starts a new one."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _start(self) -> _Child | _Here:
        try:
            shipped = _dumps(self.function)
        except Exception as error:
            raise Stopped(
                f"{self.name} cannot be taken into a process of its own "
                f"({_blame(self.function) or error}): give it what it needs as plain values"
            ) from None
        child = _Here(self.name) if IN_BROWSER else _Child(self.name, self.lines)
        weakref.finalize(self, child.end)
        try:
            kind, value = child.ask(pickle.dumps((shipped, self.megabytes, self.lines)), START)
            if kind != "returned":
                raise Stopped(f"{self.name} {_clause(value)}")
        except BaseException:
            child.end()
            raise
        return child


def run(function: Callable[..., Any], *arguments: Any, **limits: Any) -> Any:
    """Call `function` once in a process of its own; the limits are those of Guarded.

    Raises Stopped.
    """
    guarded = Guarded(function, **limits)
    try:
        return guarded(*arguments)
    finally:
        guarded.close()


# --- this side -----------------------------------------------------------------------------------


class _Child:
    """The other process, one question at a time, and a thread that talks to it.

    Only the thread waits for the other side: whoever asks looks at the clock, and may go.
    """

    def __init__(self, name: str, lines: int) -> None:
        self.name, self.room = name, 200 * (lines + 1)
        self.questions: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        program = f"import sys; sys.path[:] = {sys.path!r}; {PROGRAM}"
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise Stopped(f"{name} cannot run: no process can be started ({error})") from None
        threading.Thread(target=self._talk, daemon=True).start()

    def ask(self, question: bytes, seconds: float) -> tuple[str, Any]:
        """Return what became of it, ``returned`` or ``failed``, and the value or a clause."""
        deadline = time.monotonic() + seconds
        self.questions.put(question)
        while (left := deadline - time.monotonic()) > 0:
            try:
                answer = self.answers.get(timeout=left)
            except queue.Empty:
                break
            if answer is None:
                raise Stopped(f"{self.name} {self._ending()}")
            try:
                kind, value = json.loads(answer)
            except (ValueError, TypeError, RecursionError):
                return "failed", "answered what cannot be read"
            if kind != "printed":
                return kind, value
            text = _writable(str(value)[: self.room])
            self.room -= len(text)
            print(text, end="", flush=True)
        raise Stopped(f"{self.name} did not come back within {seconds:g} s and was stopped")

    def _talk(self) -> None:
        """Put the questions, one by one, and gather what is said until each is answered."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(OSError), self.process.stdin as asked, self.process.stdout as said:
            for question in iter(self.questions.get, None):
                with suppress(OSError):  # it is gone; what is read says so
                    _write(asked, question)
                room = LARGEST
                while (answer := _read(said, room)) is not None:
                    self.answers.put(answer)
                    room -= len(answer) + 8
                    if not answer.startswith(b'["printed"'):
                        break
                else:
                    self.answers.put(None)

    def _ending(self) -> str:
        try:
            code = self.process.wait(ENDING)
        except subprocess.TimeoutExpired:  # it lives, but will not answer any more
            return "closed the way back, or said too much, and was stopped"
        # As a shell has it, for the function is not in the process that was started (_apart).
        code = 128 - code if code < 0 else code
        ending = f"by signal {code - 128}" if code > 128 else f"with exit status {code}"
        return f"ended its process {ending}"

    def end(self) -> None:
        """End the process, and what it started."""
        self.questions.put(None)
        self.process.terminate()
        if sys.platform == "linux":
            self.process.send_signal(signal.SIGCONT)  # it may have been stopped
            with suppress(subprocess.TimeoutExpired):  # it ends the others first
                self.process.wait(ENDING)
        if sys.platform != "win32":
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


class _Here:
    """A stand-in for the other process where none can be started: the function is called here.

    It is watched (_Watch), so a loop written in Python ends. What does not end is a single call of
    C, such as sum(itertools.count()); and memory has no limit but the browser's.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.function: Callable[..., Any] | None = None

    def ask(self, question: bytes, seconds: float) -> tuple[str, Any]:
        """Return what became of it, as _Child does."""
        if self.function is None:
            shipped, self.megabytes, lines = pickle.loads(question)
            try:
                self.function = pickle.loads(shipped)
            except Exception as error:
                return "failed", _told(error, None)
            self.printed = _Printed(sys.stdout, lines)
            return "returned", None
        watch = _Watch(seconds)
        with redirect_stdout(self.printed), redirect_stderr(self.printed):
            answer = _answer(self.function, question, self.megabytes, watch)
            self.printed.flush()
        if watch.late:
            raise Stopped(f"{self.name} did not come back within {seconds:g} s and was stopped")
        return answer

    def end(self) -> None:
        """Do nothing: there is no process to end."""


class _Late(BaseException):
    """The time is up."""


class _Watch:
    """While it is entered, looks at the clock before every line and at every jump.

    It raises when the time is up, and again at the next line, so that a loop that catches every
    exception ends as well. sys.monitoring came with Python 3.12; older ones are in no browser.
    """

    TOOL: Final = 4
    deadlines: ClassVar[list[float]] = []  # a function under watch may call another

    def __init__(self, seconds: float) -> None:
        self.seconds, self.late = seconds, False

    def __enter__(self) -> None:
        self.deadline = time.monotonic() + self.seconds
        self.deadlines.append(self.deadline)
        if len(self.deadlines) == 1 and sys.version_info >= (3, 12):
            events = sys.monitoring.events
            sys.monitoring.use_tool_id(self.TOOL, __name__)
            for event in events.LINE, events.JUMP, events.PY_START:
                sys.monitoring.register_callback(self.TOOL, event, self._look)
            sys.monitoring.set_events(self.TOOL, events.LINE | events.JUMP | events.PY_START)

    def __exit__(self, *_: object) -> None:
        self.late = time.monotonic() >= self.deadline
        self.deadlines.pop()
        if not self.deadlines and sys.version_info >= (3, 12):
            sys.monitoring.set_events(self.TOOL, sys.monitoring.events.NO_EVENTS)
            sys.monitoring.free_tool_id(self.TOOL)

    @classmethod
    def _look(cls, code: types.CodeType, *_: object) -> None:
        """Raise _Late when the time is up, but not in this file, which has to tell it."""
        if code.co_filename != __file__ and time.monotonic() >= min(cls.deadlines):
            raise _Late


def _write(stream: Any, message: bytes) -> None:
    left = memoryview(len(message).to_bytes(8, "big") + message)
    while left:
        left = left[stream.write(left) :]


def _read(stream: Any, most: int) -> bytes | None:
    """Return a message, or None where there is no more, or one of more bytes than that."""
    message, size = b"", 8
    for part in "head", "body":
        parts = []
        while size and (read := stream.read(size)):
            parts.append(read)
            size -= len(read)
        message = b"".join(parts)
        if size:
            return None
        if part == "head":
            size = int.from_bytes(message, "big")
            if size > most:
                return None
    return message


def _clause(said: object) -> str:
    """Return what the other side says went wrong, fit to be shown."""
    text = " ".join(said.split()) if isinstance(said, str) else "answered what cannot be read"
    text = "".join([char if char.isprintable() else "\ufffd" for char in text[: TOLD + 1]])
    return text if len(text) <= TOLD else text[: TOLD - 1] + "\u2026"


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


# --- the other side ------------------------------------------------------------------------------


class _Printed(io.TextIOBase):
    """Sends the first lines of what is printed, as they come; to a terminal as they are."""

    def __init__(self, answers: io.BufferedWriter | TextIO, lines: int) -> None:
        self.answers, self.lines = answers, lines
        self.line = ""

    def write(self, text: str) -> int:
        """Send every line that is complete, while there is room."""
        if self.lines > 0:
            *whole, self.line = (self.line + text[: 200 * self.lines]).split("\n")
            for line in whole[: self.lines]:
                self._send(f"{line[:200]}\n")
            self.lines -= len(whole)
            if self.lines <= 0:
                self._send("… and more, which is not shown\n")
        return len(text)

    def flush(self) -> None:
        """Send a line that has no end yet."""
        if self.line and self.lines > 0:
            self._send(self.line[:200])
        self.line = ""

    def _send(self, text: str) -> None:
        if isinstance(self.answers, io.BufferedWriter):
            _say(self.answers, "printed", text)
        else:
            self.answers.write(_writable(text))


def _say(answers: io.BufferedWriter, kind: str, value: object) -> None:
    _write(answers, json.dumps([kind, value]).encode())
    answers.flush()


def serve() -> None:
    """Answer questions until nobody asks any more: the main program of the other process."""
    with suppress(AttributeError, ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # interrupting is for this side to decide
    if sys.platform == "linux":
        _apart()
    # What is written to the output by other ways than print() is not to be taken for an answer.
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    _let_go()
    first = _read(questions, sys.maxsize)
    if first is None:
        return
    shipped, megabytes, lines = pickle.loads(first)
    printed = _Printed(answers, lines)
    with redirect_stdout(printed), redirect_stderr(printed):
        _limit(megabytes)
        try:
            function = pickle.loads(shipped)
        except BaseException as error:
            _say(answers, "failed", _told(error, None))
            return
        _say(answers, "returned", None)
        while (question := _read(questions, sys.maxsize)) is not None:
            answer = _answer(function, question, megabytes)
            printed.flush()
            _say(answers, *answer)


def _let_go() -> None:
    """Leave the ways in and out to others."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nowhere, stream)


# Numbers of the kernel's, from its headers linux/prctl.h and linux/sched.h.
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
PROCESSES: Final = 256  # that a function may have at a time, in a namespace of its own


def _apart() -> None:
    """Go on in a child; this process stays, and ends the child and all that comes of it.

    In a PID namespace there is one more between them, process 1: nobody inside can end it, it ends
    with this one, and everything inside ends with it. Without one, what is left behind becomes a
    child of this one; a function that means it can end this one first, and leave something behind.
    """
    libc, caller = ctypes.CDLL(None), os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    alone = _namespace(libc)
    if child := os.fork():
        _let_go()
        _attend(child, caller)
    if alone:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if child := os.fork():
            _let_go()
            while True:
                ended, status = os.wait()
                if ended == child:
                    _leave(status)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM})


def _namespace(libc: ctypes.CDLL) -> bool:
    """Have the next child be process 1 of a PID namespace; False where that is not allowed."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0:
        return bool(libc.unshare(CLONE_NEWPID) == 0)
    with suppress(OSError):  # who it is to others is the same without, only its name is not
        for name, line in (
            ("uid_map", f"{user} {user} 1"),
            ("setgroups", "deny"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)
    _set_limit("RLIMIT_NPROC", PROCESSES)
    return True


def _attend(child: int, caller: int) -> NoReturn:
    """Wait until the child has ended, or is to end, or nobody is left who asks; then end all."""
    status = 0
    while os.getppid() == caller:
        told = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, ENDING / 2)
        if told is not None and told.si_signo == signal.SIGTERM:
            break
        ended = child
        while ended:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                _end_children()
                _leave(status)
    _end_children()
    _leave(status)


def _end_children() -> None:
    """End what is below this process: a child's children become its own when the child ends."""
    until, mine = time.monotonic() + ENDING, str(os.getpid())
    with suppress(ChildProcessError, OSError):
        while time.monotonic() < until:
            for name in filter(str.isdigit, os.listdir("/proc")):
                with suppress(OSError), open(f"/proc/{name}/stat", errors="replace") as file:
                    if file.read().rpartition(")")[2].split()[1] == mine:
                        os.kill(int(name), signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(TICK)


def _leave(status: int) -> NoReturn:
    """End as another process did, in the way a shell tells it."""
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _limit(megabytes: int) -> None:
    _set_limit("RLIMIT_AS", megabytes << 20)


def _set_limit(name: str, most: int) -> None:
    with suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        resource.setrlimit(getattr(resource, name), (most, most))


def _answer(
    function: Callable[..., Any],
    question: bytes,
    megabytes: int,
    watch: AbstractContextManager[None] = NOT_WATCHED,
) -> tuple[str, Any]:
    try:
        with watch:
            try:
                arguments = pickle.loads(question)
                if isinstance(arguments, list):
                    value: Any = [function(*one) for one in arguments]
                else:
                    value = function(*arguments)
                return "returned", packed(value)
            except NotPlain as no:
                return "failed", str(no)
            except MemoryError:
                return "failed", f"needed more than {megabytes} MB of memory"
            except BaseException as error:
                return "failed", _told(error, function)
    except BaseException:  # out of what tells it
        return "failed", "raised what cannot be told"


def _told(error: BaseException, function: Callable[..., Any] | None) -> str:
    """Say in a clause what was raised, and in which line of the function."""
    place = ""
    code = getattr(function, "__code__", None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code is code and code is not None:
            place = f" in its line {line - code.co_firstlineno + 1}"
    try:
        said = " ".join(str(error).split())
    except BaseException:
        said = "what it says cannot be shown"
    said = said if len(said) <= 200 else said[:197] + "..."
    return f"raised {type(error).__name__}{place}" + (f": {said}" if said else "")


# --- across --------------------------------------------------------------------------------------
# What a notebook defines cannot be imported by another process, so its code goes along by value.


class _Pickler(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        """Take functions, classes and modules along that pickle would only name."""
        if isinstance(thing, enum.Enum):
            return type(thing), (thing.value,)  # Python 3.11.2 would name builtins.getattr
        if isinstance(thing, types.ModuleType):
            return importlib.import_module, (thing.__name__,)
        if isinstance(thing, types.CellType):
            held = () if thing == types.CellType() else (thing.cell_contents,)
            return _make_cell, (), held, None, None, _fill_cell
        if _importable(thing):
            return NotImplemented
        if isinstance(thing, types.FunctionType):
            code = thing.__code__
            made = marshal.dumps(code), len(code.co_freevars)
            return _make_function, made, _inside(thing), None, None, _fill_function
        if isinstance(thing, type):
            left = ("__dict__", "__weakref__", "__slots__")
            inside = {
                name: value
                for name, value in vars(thing).items()
                if name not in left and not isinstance(value, types.MemberDescriptorType)
            }
            made_class = type(thing), thing.__name__, thing.__bases__
            return _make_class, made_class, inside, None, None, _fill_class
        return NotImplemented


def _dumps(thing: Any) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol=5).dump(thing)
    return out.getvalue()


def _importable(thing: Any) -> bool:
    """True unless `thing` is a function or class that another process cannot find by its name."""
    if not isinstance(thing, types.FunctionType | type):
        return True
    found: Any = None if thing.__module__ == "__main__" else sys.modules.get(thing.__module__)
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _globals(code: types.CodeType) -> Iterator[str]:
    """Yield the global names that code looks up, also from functions inside it."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)


def _inside(function: types.FunctionType) -> dict[str, Any]:
    known = function.__globals__
    return {
        "globals": {name: known[name] for name in {*_globals(function.__code__)} if name in known},
        "closure": function.__closure__ or (),
        "defaults": function.__defaults__,
        "kwdefaults": function.__kwdefaults__,
        "name": (function.__name__, function.__qualname__),
    }


def _make_function(code: bytes, cells: int) -> types.FunctionType:
    around = {"__builtins__": builtins, "__name__": "__main__"}
    closure = tuple([types.CellType() for _ in range(cells)])
    return types.FunctionType(marshal.loads(code), around, None, None, closure)


def _fill_function(function: types.FunctionType, inside: dict[str, Any]) -> None:
    function.__globals__.update(inside["globals"])
    function.__defaults__, function.__kwdefaults__ = inside["defaults"], inside["kwdefaults"]
    function.__name__, function.__qualname__ = inside["name"]
    for mine, theirs in zip(function.__closure__ or (), inside["closure"], strict=True):
        with suppress(ValueError):  # a name that has no value yet
            mine.cell_contents = theirs.cell_contents


def _make_cell() -> types.CellType:
    return types.CellType()


def _fill_cell(cell: types.CellType, held: tuple[Any, ...]) -> None:
    if held:
        cell.cell_contents = held[0]


def _make_class(kind: type, name: str, bases: tuple[type, ...]) -> Any:
    return kind(name, bases, {})


def _fill_class(made: type, inside: dict[str, Any]) -> None:
    for name, value in inside.items():
        setattr(made, name, value)


def _blame(function: Callable[..., Any]) -> str:
    """Say which outside name of a function cannot be taken along."""
    if not isinstance(function, types.FunctionType):
        return ""
    for name, value in _inside(function)["globals"].items():
        try:
            _dumps(value)
        except Exception:
            return f"it uses {name}, which cannot be copied"
    return ""
