"""What the lessons say in one line: a scenario under a kernel, and an output of this machine alone.

The last face but one; the command line and the lessons themselves come after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import Any

from vmakernel import geometry, live, recorded
from vmakernel.explain import Mark, Step, owed, questions, trace, verdict
from vmakernel.kernels import Kernel, kernel
from vmakernel.layout import strip
from vmakernel.maps import Maps
from vmakernel.patch import proposal
from vmakernel.predicates import ask_sides
from vmakernel.shortest import Progress, Search
from vmakernel.vma import VMA


class Told:
    """What became of a scenario under a kernel: the VMAs left, and what its last operation did."""

    def __init__(self, rule: Kernel | str, scenario: str) -> None:
        self.kernel = kernel(rule)
        self.scenario = scenario
        self.steps: list[Step] = trace(self.kernel, scenario)
        self.last = self.steps[-1]

    @property
    def vmas(self) -> tuple[VMA, ...]:
        """The VMAs at the end, lowest address first."""
        return self.last.after

    @property
    def layout(self) -> str:
        """The VMAs at the end as a strip."""
        return strip(self.vmas)

    @property
    def case(self) -> int:
        """The case that the last operation was, 0 where nothing merged."""
        outcome = self.last.result.outcome
        return outcome.case if outcome and outcome.merged else 0

    @property
    def merged(self) -> bool:
        """True where the last operation extended a VMA."""
        return self.last.result.status == "merged"

    @property
    def grew(self) -> tuple[str, ...]:
        """The names of the VMAs that the last operation made longer."""
        outcome = self.last.result.outcome
        return tuple([vma.name for vma in outcome.grown]) if outcome else ()

    @property
    def shrank(self) -> tuple[str, ...]:
        """The names of the VMAs that the last operation made shorter."""
        outcome = self.last.result.outcome
        return tuple([vma.name for vma in outcome.shrunk]) if outcome else ()

    @property
    def removed(self) -> tuple[str, ...]:
        """The names of the VMAs that vanished in a merge."""
        return tuple([n for step in self.steps for n in step.removed if n not in step.closed])

    @property
    def lost(self) -> tuple[str, ...]:
        """The names of those that vanished owing a ->close that was never called."""
        return tuple([name for step in self.steps for name in step.leaked])

    @property
    def nattch(self) -> int:
        """What an owner has counted who adds 1 in ->open and takes 1 away in ->close.

        At first each VMA with ->close is counted once.
        """
        count = sum([vma.has_close for vma in self.steps[0].before])
        for step in self.steps:
            born = {vma.name for vma in step.after} - {vma.name for vma in step.before}
            count += sum([vma.has_close for vma in step.after if vma.name in born])
            count -= len(step.closed)
        return count

    @property
    def cell(self) -> str:
        """The last operation as the recordings put it: ``P0-8 N8-12 -C leak C``, or no."""
        if not self.merged:
            return "no"
        cell = " ".join([f"{vma.name}{vma.vm_start}-{vma.vm_end}" for vma in self.vmas])
        cell += f" -{','.join(self.last.removed)}" if self.last.removed else ""
        return cell + (f" leak {','.join(self.last.leaked)}" if self.last.leaked else "")

    @property
    def checks(self) -> str:
        """The questions that decided the last operation, one to a line, with every check."""
        return "\n".join(questions(self.kernel, self.last.result.outcome)) or "nobody was asked"

    def __str__(self) -> str:
        said = verdict(self.kernel, self.last)
        if self.last.leaked:
            said += f"; {owed(self.last)}"
        return f"{self.layout}  {said}"

    def __repr__(self) -> str:
        # JupyterLab shows the first line even where the output is folded: it must not tell.
        calls = "; ".join([str(step.operation) for step in self.steps])
        return f"{self.kernel.version}, after {calls}:\n{self}"


def under(rule: Kernel | str, scenario: str) -> Told:
    """Run `scenario` (``VMA* | OP; OP``) under a kernel ("6.5", "pre_git", "6.5:both", own(...)).

    Raises NotationError, SpaceError or UnknownKernel.
    """
    return Told(rule, scenario)


def falls_short(told: Told) -> bool:
    """True where a safe merge would have taken in more than the one that was made, if any.

    Tried are the ways that the code of 6.12 has: with prev, with next or with both, as far as they
    match. A way is safe if nobody who has ->close vanishes. `told`: one operation, new or modify.
    """
    asked, code = proposal(told.scenario), kernel("6.12:none")
    prev, next, _ = ask_sides(code, asked)
    ways = [geometry.take_prev(code, asked, prev, ())] if prev else []
    ways += [geometry.take_next(code, asked, next, ())] if next else []
    ways += [geometry.take_both(code, asked, prev, next, ())] if prev and next else []
    best = max([1 + len(way.removed) for way in ways if not way.lost], default=0)
    return best > (1 + len(told.last.removed) if told.merged else 0)


def compare(*cases: int | str, close: str = "") -> str:
    """Return what the recorded kernels decided in each case, and whether the engine says the same.

    `case` and `close` as in recorded.situation(); versions in a row that agree share a line.
    """
    several = len(cases) > 1
    rows = [f"{'case  ' * several}{'kernels':22} {'recorded':22} the engine"]
    for case in cases:
        decided = recorded.decided(case, close)
        for cell, alike in groupby(decided, decided.__getitem__):
            versions = [version for group in alike for version in recorded.groups()[group]]
            told = [under(version, recorded.situation(case, close)).cell for version in versions]
            span = versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"
            row = f"{span:22} {cell:22} the same in {told.count(cell)} of {len(told)}"
            rows.append(f"{case!s:6}{row}" if several else row)
    return "\n".join(rows)


def table(heads: str, rows: Iterable[Sequence[object]]) -> str:
    """Return rows under the words of `heads`, in columns; names are joined, nothing is ``-``."""
    cells = [heads.split()]
    for row in rows:
        told = [" ".join(cell) if isinstance(cell, tuple) else str(cell) for cell in row]
        cells.append([cell or "-" for cell in told])
    widths = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
    lines = ["".join(map(str.ljust, row, widths)) for row in cells]
    return "\n".join([line.rstrip() for line in lines])


def said(guess: object, truth: object) -> str:
    """Hold a guess against what the engine says; ``...`` in it is a guess not made yet."""
    if guess is ... or (isinstance(guess, tuple | list) and ... in guess):
        return f"You have not said yet. It is {truth}."
    if guess == truth:
        return f"You said {guess} {Mark.HELD}."
    return f"You said {guess} {Mark.FAILED}. It is {truth}."


class Here:
    """What only this machine can show: `summary` and, unfolded, `full`; stored is only `text`."""

    def __init__(self, text: str, summary: str, full: str) -> None:
        self.text, self.summary, self.full = text, summary, full

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, Any]:
        from ipywidgets import HTML

        summary, full = escape(self.summary), escape(self.full)
        html = HTML(f"<details><summary>{summary}</summary><pre>{full}</pre></details>")
        return dict(html._repr_mimebundle_()) | {"text/plain": self.text}


class OnThisMachine(Here):
    """A recorded program of calls, run on this machine's kernel, or as recorded where it cannot be.

    `counts` is how many VMAs there are after each call.
    """

    def __init__(self, scenario: str, otherwise: str = "6.12.117") -> None:
        self.recording = recorded.calls(otherwise, scenario)
        self.source = f"recorded on Linux {otherwise}"
        try:
            self.recording = live.run(self.recording.program())
            self.source = f"this machine, Linux {os.uname().release}"
        except live.LiveError as error:
            self.source += f" ({error})"
        self.counts = [len(step.layout) for step in self.recording.steps]
        calls = "; ".join([str(step.call) for step in self.recording.steps])
        text = f"{', '.join(map(str, self.counts))} VMAs after {calls}"
        super().__init__(text, f"{text} ({self.source})", recorded.shown(self.recording))


def on_this_machine(scenario: str) -> OnThisMachine:
    """Run the program of a recorded scenario on the running kernel; it leaves nothing behind."""
    return OnThisMachine(scenario)


def here(what: str, found: Sequence[object]) -> Here:
    """Show how much of `what` was found here, and all of it on request."""
    return Here(what, f"{what}: {len(found)}", "\n".join(map(str, found)) or "none")


def look(maps: Maps) -> Here:
    """Show the VMAs of a process: how many and whose, and all of them on request."""
    return Here(repr(maps), f"{len(maps)} VMAs: {maps.source}", str(maps))


class Watched:
    """A search that shows how far it has come while it runs; what it showed is not stored."""

    def __init__(self, search: Search) -> None:
        from ipywidgets import HTML

        self.search = search
        self.line = HTML()

    def tell(self, progress: Progress) -> None:
        """Show how far it has come."""
        end = self.search.ended or "interrupt it with ■; run the cell again to go on"
        self.line.value = f'<p role="status">{escape(str(progress))}<br>{escape(end)}</p>'

    def __repr__(self) -> str:
        return "a search, and how far it has come"

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, Any]:
        return dict(self.line._repr_mimebundle_()) | {"text/plain": repr(self)}


def watch(search: Search, seconds: float | None = None) -> None:
    """Go on with a search, for `seconds` at most, and show states, depth and rate meanwhile.

    Raises Stopped.
    """
    from IPython.display import display

    watched = Watched(search)
    display(watched)  # type: ignore[no-untyped-call]
    search.run(watched.tell, seconds)
