"""The shortest program: a search through all programs of memory calls, shortest first.

Previous: programs.py; the faces (pictures, widgets, the command line) come after this.

It tries every program of one call, of two, of three ... until a close is lost, or the maps of two
kernels differ, or a condition of the reader's own holds. Two programs are one story if they leave
the same address space behind, up to where it lies and what things are called: only the first of
them is followed. A search can be interrupted, and goes on from where it was.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from vmakernel import calls
from vmakernel import flags as vm
from vmakernel import scenario as sc
from vmakernel.flags import InputError
from vmakernel.guard import Guarded, Stopped
from vmakernel.kernels import Kernel, kernel
from vmakernel.predict import Prediction, predict
from vmakernel.process import Declined, Errno, Process, kind, layout_line, source
from vmakernel.programs import as_c, as_python
from vmakernel.scenario import Call, Scenario, Segment
from vmakernel.vma import VMA

LEAK: Final = "leak"
DIFFER: Final = "differ"
PAGES: Final = 3  # of the segment
WINDOW: Final = 4  # pages in which all that is mapped at one time lies
MOST: Final = 500_000  # states that a search remembers, in about 100 bytes each
ORIGIN: Final = 64  # where the first call maps; a program is moved to page 0 in the end
EVERY: Final = 0.2  # seconds between two reports of progress


class View(NamedTuple):
    """What a condition of the reader's own is asked about: a process after some calls.

    Pages are counted from the lowest that is mapped.
    """

    layout: tuple[str, ...]  # as /proc/self/maps shows it, in pages: 0-4 rw-s 0 shm:A
    vmas: tuple[VMA, ...]
    nattch: int  # of the segment
    lost: int  # attaches among them that no VMA stands for
    errno: str  # of the last call, empty if it went well
    calls: tuple[str, ...]


class Progress(NamedTuple):
    """How far a search has come."""

    states: int
    depth: int  # of the programs that are tried, in calls
    waiting: int  # programs to be continued
    seconds: float

    @property
    def rate(self) -> float:
        """States a second."""
        return self.states / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"programs of {self.depth} calls: {self.states:,} states, {self.waiting:,} to go on "
            f"from, {self.rate:,.0f} states/s"
        )


Condition = Callable[..., bool]


class Search:
    """A search for the shortest program; `run` starts it, and continues it.

    `until` is "leak", "differ" (for two kernels and more) or a function that is given a View for
    each kernel and returns True where it is content. `found` is the program, None so far.
    Raises InputError for a wrong `until`.
    """

    def __init__(
        self,
        *kernels: Kernel | str,
        until: str | Condition = LEAK,
        pages: int = PAGES,
        window: int = WINDOW,
        most: int = MOST,
    ) -> None:
        if not kernels:
            raise InputError("name a kernel to search in")
        if until == DIFFER and len(kernels) < 2:
            raise InputError("only two kernels can differ: name another one")
        if isinstance(until, str) and until not in (LEAK, DIFFER):
            raise InputError(f"{until!r} is nothing to search for: write leak or differ")
        if not 0 < pages <= window or most < 1:
            raise InputError(
                f"a segment of {pages} pages in a window of {window}, {most} states: "
                "write numbers from 1, and no window smaller than the segment"
            )
        self.kernels = tuple([kernel(one) for one in kernels])
        self.until, self.window, self.most = until, window, most
        self.segments = (Segment("A", pages),)
        self.found: Scenario | None = None
        self.ended = ""  # why it cannot go on
        self.seconds = 0.0
        self.depth = 0
        self._condition = Guarded(until) if callable(until) else None
        self._waiting: deque[tuple[Call, ...]] = deque([()])
        self._seen: set[bytes] = set()
        self._started = 0.0

    def run(
        self, progress: Callable[[Progress], object] | None = None, seconds: float | None = None
    ) -> Search:
        """Search until something is found, `seconds` are over, or the reader interrupts.

        `progress` is called now and then. Returns the search itself, which can be run again.
        Raises Stopped where the reader's condition does not answer.
        """
        self._started = time.monotonic() - self.seconds
        stop = None if seconds is None else time.monotonic() + seconds
        report = time.monotonic() + EVERY
        try:
            while not self.ended:
                if not self._waiting:
                    self.ended = "there is no such program"
                    break
                # It leaves the queue when it is done with, so that nothing is lost in between.
                self._continue(self._waiting[0])
                self._waiting.popleft()
                now = time.monotonic()
                if progress is not None and now >= report:
                    report = now + EVERY
                    progress(self.progress)
                if stop is not None and now >= stop:
                    break
        except KeyboardInterrupt:
            pass
        self.seconds = time.monotonic() - self._started
        if progress is not None:
            progress(self.progress)
        return self

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        seconds = self.seconds if self.ended else time.monotonic() - self._started
        return Progress(len(self._seen), self.depth, len(self._waiting), seconds)

    def _continue(self, program: tuple[Call, ...]) -> None:
        """Try every call after `program`."""
        self.depth = len(program) + 1
        processes = [Process(one, self.segments) for one in self.kernels]
        for process in processes:
            for call in program:
                _do(process, call)
        for call in _moves(processes, self.segments[0].pages, self.window):
            after = [process.copy() for process in processes]
            try:
                errnos = [_do(process, call) for process in after]
            except Declined:
                continue
            state = b"".join([_digest(process) for process in after])
            new = state not in self._seen
            if self._holds(after, errnos, (*program, call), new=new):
                self.found = _scenario((*program, call), self.segments)
                self.ended = "found"
                return
            if new:
                self._waiting.append((*program, call))
                self._seen.add(state)
            if len(self._seen) >= self.most:
                self.ended = (
                    f"{self.most:,} states are as many as it may remember: none of the programs of "
                    f"up to {self.depth - 1} calls does it; give most= a larger number, or window= "
                    "a smaller one"
                )
                return

    def _holds(
        self, after: Sequence[Process], errnos: list[str], program: tuple[Call, ...], *, new: bool
    ) -> bool:
        if self.until == LEAK:
            return any(process.lost for process in after)
        if self.until == DIFFER:
            return len({process.layout() for process in after}) > 1
        if not new and not any(errnos):
            return False
        assert self._condition is not None
        lines = tuple(map(str, _scenario(program, self.segments).calls))
        views = [_view(*one, lines) for one in zip(after, errnos, strict=True)]
        try:
            answer = self._condition(*views)
        except Stopped as stopped:
            raise Stopped(f"{stopped} (it was asked after: {'; '.join(lines)})") from None
        if not isinstance(answer, bool):
            raise Stopped(
                f"{self._condition.name} answered {answer!r:.40} after {'; '.join(lines)}: "
                "return True where the search is to end, or False"
            )
        return answer

    # --- what came of it -------------------------------------------------------------------------

    @property
    def predictions(self) -> list[Prediction]:
        """What each kernel does with the program that was found."""
        return [predict(self.found, one) for one in self.kernels] if self.found else []

    @property
    def note(self) -> str:
        """What to expect of the program that was found, for the comment in it."""
        return "\n".join([f"{one.kernel}: {_told(one)}" for one in self.predictions])

    def as_c(self) -> str:
        """Return the program that was found in C, or "" if none was."""
        return as_c(self.found, self.note) if self.found else ""

    def as_python(self) -> str:
        """Return the program that was found in Python, or "" if none was."""
        return as_python(self.found, self.note) if self.found else ""

    def as_json(self) -> dict[str, Any]:
        """Return what was found as what JSON can hold.

        rules, until, found (bool), ended (why the search ended), states, depth, seconds; and if
        found: calls (their number), scenario (its text), and outcomes: for each rule its layout
        at the end, nattch, and nattch_after_exit.
        """
        told: dict[str, Any] = {
            "rules": [str(one) for one in self.kernels],
            "until": self.until if isinstance(self.until, str) else "condition",
            "found": self.found is not None,
            "ended": self.ended or "interrupted",
            "states": len(self._seen),
            "depth": self.depth,
            "seconds": round(self.seconds, 3),
        }
        if self.found is not None:
            told["calls"] = len(self.found.calls)
            told["scenario"] = str(self.found)
            told["outcomes"] = [
                {
                    "rule": str(one.kernel),
                    "layout": list(one.steps[-1].step.layout),
                    "nattch": (one.steps[-1].step.nattch or {}).get("A", 0),
                    "nattch_after_exit": one.nattch_after_exit.get("A", 0),
                }
                for one in self.predictions
            ]
        return told

    def __str__(self) -> str:
        effort = f"{len(self._seen):,} states, {self.seconds:.1f} s"
        if self.found is None:
            why = self.ended or f"interrupted while trying programs of {self.depth} calls"
            return f"Nothing found yet: {why} ({effort})."
        lines = [f"{len(self.found.calls)} calls, the shortest there is ({effort}):", ""]
        lines += [f"    {line}" for line in str(self.found).splitlines()]
        return "\n".join([*lines, "", self.note])


def _view(process: Process, errno: str, lines: tuple[str, ...]) -> View:
    found = process.space.vmas
    base = found[0].vm_start if found else 0
    vmas = []
    for vma in found:
        moved = vma.moved(vma.vm_start - base, vma.vm_end - base)
        vmas.append(moved if vma.vm_file is None else moved._replace(vm_pgoff=vma.vm_pgoff))
    layout = tuple([layout_line(vma) for vma in vmas])
    return View(layout, tuple(vmas), process.nattch()["A"], process.lost["A"], errno, lines)


def _told(one: Prediction) -> str:
    """Say how a program ends under a kernel."""
    step = one.steps[-1].step
    told = " | ".join([" ".join(line.split()[:2]) for line in step.layout]) or "nothing mapped"
    if step.nattch:
        told += f"; nattch {step.nattch['A']}, {one.nattch_after_exit['A']} after the end"
    return told


def shortest(
    *kernels: Kernel | str,
    until: str | Condition = LEAK,
    progress: Callable[[Progress], object] | None = None,
    **limits: int,
) -> Search:
    """Search for the shortest program and return the search; see Search, also for `limits`.

    Raises InputError, Stopped.
    """
    return Search(*kernels, until=until, **limits).run(progress)


# --- the calls that are tried --------------------------------------------------------------------


def _do(process: Process, call: Call) -> str:
    """Make a call and return its errno. Raises Declined."""
    try:
        calls.do(process, call)
    except Errno as error:
        return error.name
    return ""


def _moves(processes: Sequence[Process], pages: int, window: int) -> Iterator[Call]:
    """Yield the calls worth trying: those that could matter to one of the processes."""
    tried = set()
    for process in processes:
        for call in _calls(process.space.vmas, pages, window):
            if call not in tried:
                tried.add(call)
                yield call


def _calls(vmas: tuple[VMA, ...], pages: int, window: int) -> Iterator[Call]:
    """Yield every call that fits these VMAs, within the window.

    A range never begins or ends in a hole: munmap() would do no more, mprotect() would fail.
    """
    if not vmas:
        yield sc.Shmat("A", ORIGIN)
        for count in range(1, window + 1):
            for prot in ("rw", "r"):
                yield sc.Mmap(ORIGIN, count, prot, False, "anon")
        return
    low, high = vmas[-1].vm_end - window, vmas[0].vm_start + window
    mapped = {page for one in vmas for page in range(one.vm_start, one.vm_end)}

    def free(at: int, count: int) -> bool:
        return at + count <= high and mapped.isdisjoint(range(at, at + count))

    for one in vmas:
        if kind(one) == "shm":
            yield sc.Shmdt(one.vm_start - one.vm_pgoff)
        if one.vm_flags & vm.VM_WRITE and kind(one) == "anon" and one.anon_vma is None:
            yield sc.Touch(one.vm_start, 1)
        if free(one.vm_end, 1):
            yield sc.Mremap(one.vm_start, one.pages, one.pages + 1)
    for at in range(low, high):
        for end in range(at + 1, high + 1):
            count = end - at
            if mapped.issuperset(range(at, end)):
                yield sc.Mprotect(at, count, "r")
                yield sc.Mprotect(at, count, "rw")
                yield sc.Munmap(at, count)
                if any(one.vm_start <= at and end <= one.vm_end for one in vmas):
                    for to in range(low, high):
                        if free(to, count):
                            yield sc.Mremap(at, count, count, to=to)
            elif free(at, count):
                yield sc.Mmap(at, count, "rw", False, "anon")
                yield sc.Mmap(at, count, "r", False, "anon")
                if count == pages:
                    yield sc.Shmat("A", at)


# --- when two states are one ---------------------------------------------------------------------


def _digest(process: Process) -> bytes:
    """Return what a process may do from here on, whatever its place and its names, in 16 bytes."""
    vmas = process.space.vmas
    base = vmas[0].vm_start if vmas else 0
    names: dict[str, int] = {}

    def number(name: str) -> int:
        return names.setdefault(name, len(names))

    state: list[object] = [sorted(process.lost.items())]
    for vma in vmas:
        anonymous = vma.vm_file is None
        state.append(
            (
                vma.vm_start - base,
                vma.vm_end - base,
                vma.vm_flags,
                vma.vm_file and (source(vma.vm_file), number(vma.vm_file)),
                vma.vm_pgoff - base if anonymous else vma.vm_pgoff,
                vma.anon_vma and (number(f"anon_vma {vma.anon_vma.name}"), vma.anon_vma.chain),
                vma.anon_pgoff - base,
            )
        )
    return blake2b(repr(state).encode(), digest_size=16).digest()


def _scenario(program: tuple[Call, ...], segments: tuple[Segment, ...]) -> Scenario:
    """Return the program as a scenario that begins at page 0."""
    places = [getattr(call, "at", ORIGIN) for call in program]
    places += [call.to for call in program if isinstance(call, sc.Mremap) and call.to is not None]
    shift = min(places)
    moved = []
    for call in program:
        changes: dict[str, Any] = {"at": call.at - shift} if hasattr(call, "at") else {}
        if isinstance(call, sc.Mremap) and call.to is not None:
            changes["to"] = call.to - shift
        moved.append(replace(call, **changes))
    used = segments if any(isinstance(call, sc.Shmat) for call in program) else ()
    return Scenario("shortest", used, tuple(moved))
