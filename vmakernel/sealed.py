"""Submitted answers: text that is run far from the grader, and judged as any other answer.

Previous: exercise.py. What protects, and what does not:

- The grader's own process never runs a line that was submitted. A process of its own does, with a
  limit on time and memory, and only plain values come back from it (guard.py).
- On Linux from 5.13 on the kernel itself (Landlock) keeps that process from writing, making or
  removing any file, from reading any but those of Python, and from starting a program; from 6.7 on
  from making TCP connections, from 6.12 on from sending signals to others.
- Elsewhere only Python's audit events stand between it and the files. That stops accidents and
  simple attempts. It does not stop somebody who means it: use a container or an account without
  rights for that, and `protection()` to see what there is.
- Nothing keeps a learner from copying a solution: the course is public.
"""

from __future__ import annotations

import ast
import ctypes
import dataclasses
import os
import struct
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any, Final

from vmakernel.exercise import Exercise, Feedback, Grade, find, grade, untouched
from vmakernel.guard import Guarded, Stopped
from vmakernel.judges import FUNCTIONS

LONGEST: Final = 20_000  # characters of a submission
BUDGET: Final = 20.0  # seconds for all the questions about one answer


class NotRight(AssertionError):
    """An answer that gets no points; the message is what check() would say."""


def grade_sealed(name: str, source: object) -> Feedback:
    """Judge a submitted answer, given as text. Raises NotRight unless it is right."""
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
    function = exercise.judge in FUNCTIONS
    ask = partial(answer, source, exercise.setup, exercise.answer, function)
    try:
        if function:
            return grade(exercise, ask)
        guard = Guarded(ask, name=exercise.answer)
        try:
            value = guard()
        finally:
            guard.close()
    except Stopped as stopped:
        return Feedback(Grade.WRONG, [str(stopped)])
    if untouched(exercise, value):
        return Feedback(Grade.NOT_TRIED, ["there is a ... left in the answer"])
    return grade(exercise, value)


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


# --- in the other process ----------------------------------------------------------------------

_MADE: dict[str, Any] = {}
_SINCE: list[float] = []


def answer(source: str, setup: str, name: str, call: bool, *arguments: Any) -> Any:
    """Run what was submitted and return the answer, or what it returns when it is called."""
    if not _SINCE:
        _SINCE.append(time.monotonic())
        around: dict[str, Any] = {"__name__": "__main__"}
        exec(setup, around)
        lock_down()
        exec(compile(source, "<answer>", "exec"), around)
        _MADE.update(around)
    if time.monotonic() > _SINCE[0] + BUDGET:
        raise TimeoutError(f"all questions together took more than {BUDGET:g} s")
    if name not in _MADE:
        raise NameError(f"there is no {name} in the answer")
    return _MADE[name](*arguments) if call else _MADE[name]


def lock_down() -> None:
    """Give up, for good, whatever an answer has no need of."""
    _landlock()
    sys.addaudithook(_refuse)


def protection() -> str:
    """Say what keeps submitted code from the files of this machine."""
    version = _landlock_version()
    if not version:
        return "Python's audit events only: no protection from somebody who means it"
    more = [", and from TCP"] * (version >= 4) + [", and from signals to others"] * (version >= 6)
    return f"the kernel (Landlock, version {version}): from files and programs{''.join(more)}"


_FORBIDDEN: Final = (
    "os.", "shutil.", "subprocess.", "socket.", "ctypes.", "signal.", "pty.", "fcntl.", "resource.",
    "mmap.", "sqlite3.", "urllib.", "http.", "tempfile.", "_winapi.", "winreg.", "msvcrt.",
)  # fmt: skip
_ALLOWED: Final = ("os.listdir", "os.scandir")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise PermissionError for what an answer may not do (an audit hook)."""
    if event == "open":
        _, mode, flags = arguments
        if (mode or "r").strip("bt") not in ("r", "") or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError("an answer may not write files")
    elif event.startswith(_FORBIDDEN) and event not in _ALLOWED:
        raise PermissionError(f"an answer may not do this ({event})")


# Landlock: numbers of the system calls, which are the same on every architecture.
_CREATE, _ADD, _RESTRICT, _NO_NEW_PRIVS = 444, 445, 446, 38
_READ, _LIST = 1 << 2, 1 << 3


def _landlock_version() -> int:
    if not sys.platform.startswith("linux"):
        return 0
    with suppress(OSError, AttributeError):
        return max(int(ctypes.CDLL(None).syscall(_CREATE, None, 0, 1)), 0)
    return 0


def _landlock() -> None:
    """Keep this process from files and programs, by the kernel; nothing where it cannot."""
    version = _landlock_version()
    if not version:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    bits = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    files, net, scoped = (1 << bits) - 1, 3 * (version >= 4), 3 * (version >= 6)
    attributes = struct.pack("QQQ", files, net, scoped)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = libc.syscall(_CREATE, attributes, size, 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock gave no rules")
    for place in {sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", *filter(None, sys.path)}:
        with suppress(OSError):
            folder = os.open(place, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
            rule = struct.pack("=Qi", _READ | _LIST, folder)
            libc.syscall(_ADD, rules, 1, rule, 0)
            os.close(folder)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(_RESTRICT, rules, 0) != 0:
        raise OSError(ctypes.get_errno(), "Landlock did not take hold")
    os.close(rules)
