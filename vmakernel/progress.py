"""What a learner has answered: a local file, one line an answer, and when to ask again.

Previous: __main__.py; next: judges.py. Nothing here knows a question or a notebook.

The file is `mine/progress.jsonl` in a clone of the course and in the course inside a browser, where
it is on the page's own drive; else it is in the user's data folder.
VMAKERNEL_PROGRESS names another file; if it is empty, nothing is read and nothing is written, as in
the tests and when notebooks are stored. forget() deletes the file.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

VARIABLE: Final = "VMAKERNEL_PROGRESS"
DRIVE: Final = Path("/drive")  # where JupyterLite puts what the browser keeps, if it can
NO_DRIVE: Final = (
    "This page has no drive to write on, so your answers are kept only until its kernel ends: "
    "open the course in a window that is not private, from an address with https or localhost."
)
DAY: Final = 24 * 60 * 60
LATEST: Final = 1 << 37  # the year 6325: every calendar can still say it
BOXES: Final = (1, 3, 7, 21)  # days until a question that was answered right is due again


class Result(NamedTuple):
    """One answer: when (seconds since 1970), to what, what was said, and whether it held."""

    at: int
    id: str
    held: bool
    said: str = ""


class Standing(NamedTuple):
    """How one question stands: its box, when it is due, how often it was tried and missed."""

    box: int  # 0: missed last; 1 to 4: BOXES[box - 1] days
    due: int
    tries: int
    missed: int


# What was answered while this Python runs, so that running a cell again loses nothing.
SAID: Final[dict[str, list[str]]] = {}
_WARNED: Final[list[Path]] = []


def path() -> Path | None:
    """Return where the results are kept, None where none are."""
    if (told := os.environ.get(VARIABLE)) is not None:
        return Path(told).expanduser() if told.strip() else None
    if sys.platform == "emscripten" and DRIVE.is_dir():
        return DRIVE / "mine" / "progress.jsonl"
    course = Path(__file__).resolve().parent.parent
    if (course / "notebooks" / "lessons.toml").is_file():
        return course / "mine" / "progress.jsonl"
    return _data() / "vmakernel" / "progress.jsonl"


def _data() -> Path:
    """Return the folder in which this system keeps what programs remember about a user."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def record(name: str, held: bool, said: str = "") -> str:
    """Keep one result; return "" or one sentence, if it could not be written or will not last."""
    if (file := path()) is None:
        return ""
    result = Result(int(time.time()), name, held, said[:400])
    # One write at the end of the file: two notebooks do not tear each other's lines. The line break
    # comes first as well, so that a line that was cut off spoils itself alone.
    line = "\n" + json.dumps(result._asdict(), ensure_ascii=True) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.write(handle, line.encode("ascii")) < len(line):  # a second write might tear
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return f"This answer could not be kept in {file} ({why}); let {VARIABLE} name another file."
    if sys.platform == "emscripten" and VARIABLE not in os.environ and DRIVE not in file.parents:
        if not _WARNED:
            _WARNED.append(file)
            return NO_DRIVE
    return ""


def results() -> tuple[list[Result], str]:
    """Return every result that can be read, and one sentence if something could not."""
    file = path()
    if file is None:
        return [], ""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        why = error.strerror or type(error).__name__
        return [], f"{file} cannot be read ({why}); let {VARIABLE} name another file."
    lines = [line for line in lines if line.strip()]
    read = [one for one in map(_read, lines) if one is not None]
    if bad := len(lines) - len(read):
        told = "1 line of it is" if bad == 1 else f"{bad} lines of it are"
        return read, f"{file}: {told} damaged and left out; the others count, and the file stays."
    return read, ""


def _read(line: bytes) -> Result | None:
    with suppress(ValueError, TypeError, RecursionError):
        one = Result(**json.loads(line))
        if tuple(map(type, one)) == (int, str, bool, str) and 0 <= one.at < LATEST:
            return one
    return None


def standings(read: Iterable[Result]) -> dict[str, Standing]:
    """Return how each question stands, oldest answer first.

    A miss is due at once. A right answer moves a question that was due one box on; one that was
    not due yet moves nothing, so that clicking again is no learning.
    """
    found: dict[str, Standing] = {}
    for one in sorted(read, key=lambda result: result.at):
        box, due, tries, missed = found.get(one.id, Standing(0, one.at, 0, 0))
        if not one.held:
            box, due = 0, one.at
        elif one.at >= due:
            box = min(box + 1, len(BOXES))
            due = one.at + BOXES[box - 1] * DAY
        found[one.id] = Standing(box, due, tries + 1, missed + (not one.held))
    return found


def forget() -> str:
    """Delete all that was kept, and say what that was; it asks nothing and keeps nothing."""
    SAID.clear()
    file = path()
    if file is None:
        return f"Nothing is kept: {VARIABLE} is empty."
    count = len(results()[0])
    try:
        file.unlink()
    except FileNotFoundError:
        return f"There is nothing to delete: {file} does not exist."
    except OSError as error:
        why = error.strerror or type(error).__name__
        return f"{file} could not be deleted ({why})."
    answers = "1 answer" if count == 1 else f"{count} answers"
    return f"Deleted: {file}, with {answers}."
