"""Witnesses that open in the toggle lab: a button for each scenario a machine has found.

A face; previous: toggle_lab.py. explore.py finds the scenarios; the lab shows what they are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Final, NamedTuple

import ipywidgets

from vmakernel import draw
from vmakernel.explore import Diff, Group
from vmakernel.flags import NotationError
from vmakernel.kernels import Kernel
from vmakernel.toggle_lab import ToggleLab
from vmakernel.widgets import Panel, guarded

OPEN: Final = "open in the toggle lab"
CLOSE: Final = "close the lab"


class Witness(NamedTuple):
    """A scenario, what it shows in words, and the kernels under which it shows it."""

    words: str
    scenario: str
    kernel: Kernel
    compared: Kernel | None = None


class Witnesses(Panel):
    """A list of witnesses; the button of each opens the toggle lab below it, and closes it again.

    `drawn`: each is shown as a picture as well.
    `opened` is the number of the witness that is open, from 0; None where none is.
    """

    top: tuple[ipywidgets.Widget, ...] = ()
    bottom: tuple[ipywidgets.Widget, ...] = ()

    def __init__(self, witnesses: Sequence[Witness] = (), *, drawn: bool = False) -> None:
        super().__init__()
        self.drawn = drawn
        self.lab: ToggleLab | None = None
        self.rows: list[ipywidgets.VBox] = []
        self.set(witnesses)

    def set(self, witnesses: Sequence[Witness]) -> None:
        """Put other witnesses in the place of those that are listed."""
        old = self.rows
        self.witnesses = tuple(witnesses)
        self.opened: int | None = None
        self.buttons: list[ipywidgets.Button] = []
        self.rows = [self._row(at, one) for at, one in enumerate(self.witnesses)]
        self._arrange()
        for row in old:
            for widget in (*row.children, row):
                widget.close()

    def _row(self, at: int, one: Witness) -> ipywidgets.VBox:
        words = f"<p>{escape(one.words)}<br><code>{escape(one.scenario)}</code></p>"
        shown = draw.before_after(one.scenario, one.kernel).svg if self.drawn else ""
        button = ipywidgets.Button(tooltip=f"{OPEN}: {one.words}", layout={"width": "14em"})
        button.on_click(partial(self._clicked, at))
        self.buttons.append(button)
        return ipywidgets.VBox([ipywidgets.HTML(words + shown), button])

    def _arrange(self) -> None:
        for at, button in enumerate(self.buttons):
            button.description = CLOSE if at == self.opened else OPEN
        parts = list(self.rows)
        if self.opened is not None and self.lab is not None:
            parts.insert(self.opened + 1, self.lab.box)
        # Set once: what stands before the lab is not drawn anew, and the button keeps the focus.
        self.show(*self.top, *parts, self.message, *self.bottom)

    @guarded
    def _clicked(self, at: int, _: object) -> None:
        self._open(None if at == self.opened else at)

    def _open(self, at: int | None) -> None:
        self.opened = at
        if at is not None:
            self.lab = self.lab or ToggleLab()
            one = self.witnesses[at]
            self.lab.open(one.scenario, one.kernel, one.compared or "")
        self._arrange()

    def open(self, number: int) -> Witnesses:
        """Open the witness with this number, from 1, in the lab; return the list."""
        self._open_number(number)
        return self

    @guarded
    def _open_number(self, number: int) -> None:
        if number not in range(1, len(self.witnesses) + 1):
            there = f"1 to {len(self.witnesses)}" if self.witnesses else "none"
            raise NotationError(f"there is no witness {number!r}: there is {there}")
        self._open(number - 1)

    @property
    def svg(self) -> str:
        """The scenario that is open, as the lab shows it; else the list as text."""
        if self.opened is not None and self.lab is not None:
            return self.lab.svg
        return f"<pre>{escape(self.text)}</pre>"

    @property
    def text(self) -> str:
        """The witnesses, and what the lab says where one is open."""
        lines = [f"{one.words}: {one.scenario}" for one in self.witnesses]
        if self.opened is not None and self.lab is not None:
            lines.append(repr(self.lab))
        return "\n".join(lines)


class DiffLab(Witnesses):
    """All that changes between two kernels: a group of configurations a row, with its witness."""

    def __init__(self, diff: Diff) -> None:
        self.diff = diff
        before, after = diff.kernels
        self.top = (ipywidgets.HTML(f"<p><b>{escape(diff.sentences)}</b></p>"),)
        self.bottom = (
            ipywidgets.HTML(
                "<details><summary>All of it as a table</summary>"
                f"<pre>{escape(str(diff))}</pre></details>"
            ),
        )
        super().__init__(
            [Witness(_words(group), group.witness, after, before) for group in diff.groups]
        )

    @property
    def text(self) -> str:
        """The table of all differences, and what the lab says where a witness is open."""
        told = str(self.diff)
        return told if self.opened is None else f"{told}\n\n{self.lab!r}"


def _words(group: Group) -> str:
    would = f"case {group.situation}" if group.situation else "no case"
    return f"{would} ({group.size:,} configurations): {group.before} → {group.told_after}"


def diff_lab(diff: Diff) -> DiffLab:
    """Return what explore.diff() found, with a button on each group that opens its witness."""
    return DiffLab(diff)
