"""Witnesses that open in the toggle lab: a list of the scenarios a machine has found, and a choice.

A face; previous: toggle_lab.py. explore.py finds the scenarios; the lab shows what they are about.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class Witness(NamedTuple):
    """A scenario, what it shows in words, and the kernels under which it shows it."""

    words: str
    scenario: str
    kernel: Kernel
    compared: Kernel | None = None


class Witnesses(Panel):
    """A list of witnesses; the one that is chosen below it opens in the toggle lab.

    `drawn`: each is shown as a picture as well.
    """

    top: tuple[ipywidgets.Widget, ...] = ()
    bottom: tuple[ipywidgets.Widget, ...] = ()

    def __init__(self, witnesses: Sequence[Witness] = (), *, drawn: bool = False) -> None:
        super().__init__()
        self.drawn = drawn
        self.listed = ipywidgets.HTML()
        self.choice = ipywidgets.Dropdown(
            options=[("none", 0)],
            description=OPEN,
            style={"description_width": "initial"},
            layout={"width": "auto"},
        )
        # There from the start: making its many controls would keep the reader waiting later.
        self.lab = ToggleLab()
        self.choice.observe(self._chosen, "value")
        parts = (self.listed, self.choice, self.message, self.lab.box)
        self.show(*self.top, *parts, *self.bottom)
        self.set(witnesses)

    def set(self, witnesses: Sequence[Witness]) -> None:
        """Put other witnesses in the place of those that are listed."""
        self.witnesses = tuple(witnesses)
        self.listed.value = f"<ol>{''.join(map(self._item, self.witnesses))}</ol>"
        lines = [f"{at}: {one.words.rstrip(':')}" for at, one in enumerate(self.witnesses, 1)]
        self.choice.value = 0
        self.choice.options = [(line, at) for at, line in enumerate(["none", *lines])]
        self.choice.layout.display = None if lines else "none"
        self._show_lab()

    def _item(self, one: Witness) -> str:
        shown = draw.before_after(one.scenario, one.kernel).svg if self.drawn else ""
        return f"<li>{escape(one.words)}<br><code>{escape(one.scenario)}</code>{shown}</li>"

    @property
    def opened(self) -> int:
        """The number of the witness that is open, from 1; 0 where none is."""
        return int(self.choice.value)

    @guarded
    def _chosen(self, _: object) -> None:
        self._show_lab()

    def _show_lab(self) -> None:
        if self.opened:
            one = self.witnesses[self.opened - 1]
            self.lab.open(one.scenario, one.kernel, one.compared or "")
        self.lab.box.layout.display = None if self.opened else "none"

    def open(self, number: int) -> Witnesses:
        """Open the witness with this number, from 1, in the lab; return the list."""
        self._open(number)
        return self

    @guarded
    def _open(self, number: int) -> None:
        if number not in range(1, len(self.witnesses) + 1):
            there = f"1 to {len(self.witnesses)}" if self.witnesses else "none"
            raise NotationError(f"there is no witness {number!r}: there is {there}")
        self.choice.value = number

    @property
    def svg(self) -> str:
        """The scenario that is open, as the lab shows it; else the list as text."""
        if self.opened:
            return self.lab.svg
        return f"<pre>{escape(self.text)}</pre>"

    @property
    def text(self) -> str:
        """The witnesses, and what the lab says where one is open."""
        lines = [f"{one.words}: {one.scenario}" for one in self.witnesses]
        if self.opened:
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
        return f"{told}\n\n{self.lab!r}" if self.opened else told


def _words(group: Group) -> str:
    would = f"case {group.situation}" if group.situation else "no case"
    return f"{would} ({group.size:,} configurations): {group.before} → {group.told_after}"


def diff_lab(diff: Diff) -> DiffLab:
    """Return what explore.diff() found, with a choice of the witness that the lab shows."""
    return DiffLab(diff)
