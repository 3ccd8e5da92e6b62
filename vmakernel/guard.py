"""A learner's function in a process of its own, where it can do no harm.

Previous: run.py; next: own.py.

It may loop for ever, take all memory, print without end, recurse until the stack bursts or leave
with sys.exit(): the caller gets one sentence, at the latest when the time is up. Only a process can
promise that on every system. An alarm signal does not exist on Windows and works in the main thread
only; a trace function slows every line down and never sees a loop inside one call of C; neither
limits memory. The price is that the function gets copies of what it is given, and that what it
changes outside itself is not seen here.

In a browser there is no other process: there it is called here, on copies, and watched (_Here).
"""

from __future__ import annotations

import builtins
import dis
import enum
import importlib
import io
import marshal
import os
import pickle
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
from typing import Any, ClassVar, Final, TextIO

from vmakernel.flags import OneSentence

IDLE: Final = 2.0  # seconds after which the watch over a process that nobody asks ends
TICK: Final = 0.02  # seconds between two looks at the clock
LARGEST: Final = 64 << 20  # bytes of one message
PLAIN: Final = ("bytearray", "complex", "frozenset", "range", "set", "slice")
VALUES: Final = (tuple, enum.Enum)  # the engine's own that may come back
START: Final = 30.0  # seconds that starting Python may take on a busy machine
IN_BROWSER: Final = sys.platform == "emscripten"
NOT_WATCHED: Final = nullcontext()


class Stopped(OneSentence, RuntimeError):
    """A function did not end as it should; the message is one sentence that says what happened."""


class Guarded:
    """A function that runs in a process of its own; call it as you would call the function.

    Each call may take `seconds`, the process `megabytes` (where the system can limit that: not on
    Windows and macOS), and the first `lines` that it prints are shown. Raises Stopped.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        seconds: float = 2.0,
        megabytes: int = 1024,
        lines: int = 20,
        name: str = "",
    ) -> None:
        self.function, self.seconds, self.megabytes, self.lines = (
            function,
            seconds,
            megabytes,
            lines,
        )
        named = name or getattr(function, "__name__", "")
        self.name = named if named.isidentifier() else "your function"
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

    def _put(self, question: bytes) -> Any:
        if self._child is None:
            self._child = self._start()
        answered = False
        try:
            kind, value = self._child.ask(question, self.seconds)
            answered = True
        finally:
            if not answered:
                self.close()  # stopped, or interrupted: what it says next belongs to no question
        if kind != "returned":
            raise Stopped(f"{self.name} {value}")
        try:
            return _loads(value)
        except Exception:
            raise Stopped(f"{self.name} returned what cannot be handed over") from None

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
        child = _Here(self.name) if IN_BROWSER else _Child(self.name, self.megabytes)
        weakref.finalize(self, child.end)
        child.ask(pickle.dumps((shipped, self.megabytes, self.lines)), START)
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
    """The other process, one question at a time, and a thread that watches the clock."""

    def __init__(self, name: str, megabytes: int) -> None:
        self.name, self.megabytes = name, megabytes
        self.deadline = self.used = 0.0
        self.watch: threading.Thread | None = None
        program = f"import sys; sys.path[:] = {sys.path!r}; import vmakernel.guard as g; g.serve()"
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise Stopped(f"{name} cannot run: no process can be started ({error})") from None

    def ask(self, question: bytes, seconds: float) -> tuple[str, Any]:
        """Return what became of it, ``returned`` or ``failed``, and the value or a clause."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.used = time.monotonic()
        self.deadline = self.used + seconds
        if self.watch is None or not self.watch.is_alive():
            self.watch = threading.Thread(target=self._look, daemon=True)
            self.watch.start()
        with suppress(OSError):  # it is gone; what is read says why
            _write(self.process.stdin, question)
        while (answer := _read(self.process.stdout)) is not None:
            try:
                kind, value = _loads(answer)
            except Exception:
                break
            if kind != "printed":
                self.deadline = 0.0
                return kind, value
            print(value, end="", flush=True)
        late, self.deadline = time.monotonic() >= self.deadline, 0.0
        if late:
            raise Stopped(f"{self.name} did not come back within {seconds:g} s and was stopped")
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:  # it lives, but will not answer any more
            self.process.kill()
            raise Stopped(f"{self.name} closed the way back and was stopped") from None
        ending = f"by signal {-code}" if code < 0 else f"with exit status {code}"
        raise Stopped(f"{self.name} ended its process {ending}")

    def _look(self) -> None:
        """Kill the process when its time is up."""
        while self.deadline or time.monotonic() < self.used + IDLE:
            if self.deadline and time.monotonic() >= self.deadline:
                self.process.kill()
                return
            time.sleep(TICK)

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
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
            self.function, self.printed = pickle.loads(shipped), _Printed(sys.stdout, lines)
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
    stream.write(len(message).to_bytes(8, "big") + message)
    stream.flush()


def _read(stream: Any) -> bytes | None:
    head = stream.read(8)
    if len(head) < 8:
        return None
    size = int.from_bytes(head, "big")
    message: bytes = stream.read(size) if size <= LARGEST else b""
    return message if len(message) == size else None


class _Unpickler(pickle.Unpickler):
    """Reads what comes back: plain values and those of the engine, and nothing that would run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a value class. Raises UnpicklingError for anything else."""
        found: Any = None
        if module == "builtins" and name in PLAIN:
            found = getattr(builtins, name)
        elif module.startswith("vmakernel.") and module in sys.modules:
            found = getattr(sys.modules[module], name, None)
            found = found if isinstance(found, type) and issubclass(found, VALUES) else None
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} is no plain value")
        return found


def _loads(message: bytes) -> Any:
    return _Unpickler(io.BytesIO(message)).load()


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
            _write(self.answers, pickle.dumps(("printed", text)))
        else:
            self.answers.write(text)


def serve() -> None:
    """Answer questions until nobody asks any more: the main program of the other process."""
    with suppress(AttributeError, ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # interrupting is for this side to decide
    # What is written to the output by other ways than print() is not to be taken for an answer.
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nowhere, stream)
    first = _read(questions)
    if first is None:
        return
    shipped, megabytes, lines = pickle.loads(first)
    printed = _Printed(answers, lines)
    with redirect_stdout(printed), redirect_stderr(printed):
        _limit(megabytes)
        function = pickle.loads(shipped)
        _write(answers, pickle.dumps(("returned", None)))
        while (question := _read(questions)) is not None:
            answer = _answer(function, question, megabytes)
            printed.flush()
            _write(answers, pickle.dumps(answer))


def _limit(megabytes: int) -> None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


def _answer(
    function: Callable[..., Any],
    question: bytes,
    megabytes: int,
    watch: AbstractContextManager[None] = NOT_WATCHED,
) -> tuple[str, Any]:
    try:
        arguments = pickle.loads(question)
        with watch:
            if isinstance(arguments, list):
                value = [function(*one) for one in arguments]
            else:
                value = function(*arguments)
    except MemoryError:
        return "failed", f"needed more than {megabytes} MB of memory"
    except BaseException as error:
        return "failed", _told(error, function)
    try:
        return "returned", _dumps(value)
    except Exception:
        return "failed", f"returned a {type(value).__name__}, which cannot be handed over"


def _told(error: BaseException, function: Callable[..., Any]) -> str:
    """Say in a clause what was raised, and in which line of the function."""
    place = ""
    code = getattr(function, "__code__", None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code is code and code is not None:
            place = f" in its line {line - code.co_firstlineno + 1}"
    said = " ".join(str(error).split())
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
