"""Safe and permissive: every rule as a point on a plane, and a lab that moves one of them.

A face; previous: diff_widget.py. explore.py judges the rules; this file only says where they lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

import ipywidgets

from vmakernel import draw
from vmakernel.diff_widget import Witness, Witnesses
from vmakernel.explore import Judgement, plane, plane_table
from vmakernel.kernels import MOMENTS, Removal
from vmakernel.widgets import Panel, guarded

NEAR: Final = 0.03  # points closer than this, on both axes, share a mark
LEFT, WIDTH, HEIGHT, MARK = 56, 600, 240, 10
_RING: Final = "fill:none;stroke:#d55e00;stroke-width:4"
_HALO: Final = "paint-order:stroke;stroke:var(--paper);stroke-width:4"
_FILL: Final = {True: "fill:#56b4e9", False: "fill:var(--paper)"}


# --- the plane -----------------------------------------------------------------------------------


class Spot(NamedTuple):
    """A place on the plane and the rules that lie there; see Judgement.loss and .permission."""

    letter: str
    points: tuple[Judgement, ...]

    @property
    def safe(self) -> float:
        """The share of the ->close that could be lost and is not, 0 to 1."""
        return 1 - self.points[0].loss

    @property
    def permissive(self) -> float:
        """The share of the safe merges that are made where somebody has ->close, 0 to 1."""
        return self.points[0].permission

    @property
    def historic(self) -> list[Judgement]:
        """Those of its rules that a kernel has had."""
        return [point for point in self.points if point.kernel.rule.name in MOMENTS]

    @property
    def names(self) -> str:
        """Its rules: those of history by version, then the settings of the toggles."""
        told = [f"{p.kernel.version} {p.kernel.rule.name}" for p in self.historic]
        others = [p.kernel.rule.name for p in self.points if p not in self.historic]
        told += [f"toggles: {', '.join(others)}"] if others else []
        return "; ".join(told)

    def __str__(self) -> str:
        return (
            f"{self.letter}: {self.safe:.0%} safe, {self.permissive:.0%} permissive: {self.names}"
        )


def spots(points: Iterable[Judgement]) -> list[Spot]:
    """Return where the points lie, with a letter each; those that lie together share a spot."""
    found: list[list[Judgement]] = []
    for point in points:
        for there in found:
            first = there[0]
            gaps = first.loss - point.loss, first.permission - point.permission
            if max(map(abs, gaps)) < NEAR:
                there.append(point)
                break
        else:
            found.append([point])
    return [Spot(chr(ord("A") + at), tuple(there)) for at, there in enumerate(found)]


def plane_picture(points: Sequence[Judgement], mine: Judgement | None = None) -> draw.Picture:
    """Draw rules on the plane: to the right what they merge, upwards what they do not lose.

    `mine` is marked by a ring. Squares are rules of history, joined in their order.
    """
    title, found = "Every rule: how safe, and how permissive", spots(points)
    sheet = draw.Sheet()
    sheet.width = LEFT + WIDTH + 2 * MARK + 8
    sheet.say(title, "vk-head")
    sheet.text(draw.MARGIN, sheet.y + 24, "safe ↑", "vk-small")
    top = sheet.y + 50

    def at(safe: float, permissive: float) -> tuple[int, int]:
        return round(LEFT + WIDTH * permissive), round(top + HEIGHT * (1 - safe))

    (left, low), (right, high) = at(0, 0), at(1, 1)
    for share in (0, 0.5, 1):
        x, y = at(share, share)
        sheet.parts.append(f'<path d="M{left} {y}H{right}M{x} {low}V{high}"/>')
        sheet.text(draw.MARGIN, y + 4, f"{share:4.0%}")
        sheet.text(x, low + 28, f"{share:.0%}", "vk-mid")
    sheet.text(right - 84, low + 44, "permissive →", "vk-small")
    story = [at(spot.safe, spot.permissive) for spot in found if spot.historic]
    rising = [(x, y) for (x, y), (to, up) in pairwise(story) if abs(to - x) < MARK and up < y]
    for (x1, y1), (x2, y2) in pairwise(story):
        sheet.parts.append(f'<path d="M{x1} {y1}L{x2} {y2}" style="stroke-opacity:1"/>')
    for spot in found:
        place = at(spot.safe, spot.permissive)
        _mark(sheet, *place, spot, beside=place in rising)
    if mine is not None:
        x, y = at(1 - mine.loss, mine.permission)
        sheet.parts.append(f'<circle cx="{x}" cy="{y}" r="{MARK + 7}" style="{_RING}"/>')
        _over_lines(sheet, x, y + 32, mine.kernel.rule.name, "vk-head vk-mid")
    sheet.y = low + 54
    told = [str(spot) for spot in found]
    if mine is not None:
        told.append(f"ring: {placed(mine)}")
    for line in told:
        sheet.say(line)
    return sheet.picture(title, f"{title}: {'; '.join(told)}")


def _mark(sheet: draw.Sheet, x: int, y: int, spot: Spot, *, beside: bool) -> None:
    """Draw a spot: a square for rules of history, a circle for others, a letter in each.

    `beside`: the words stand beside it, for a line leads up from it.
    """
    style = _FILL[bool(spot.historic)]
    if spot.historic:
        words = " ".join([point.kernel.version for point in spot.historic])
        sheet.rect(x - MARK, y - MARK, 2 * MARK, 2 * MARK, f' class="vk-paper" style="{style}"')
        if beside:
            _over_lines(sheet, x + 2 * MARK + 4, y + 4, words, "vk-small")
        elif x < LEFT + 5 * MARK:  # beside the name of the axis
            _over_lines(sheet, x - MARK, y - MARK - 11, words, "vk-small")
        else:
            _over_lines(sheet, x, y - MARK - 11, words, "vk-mid vk-small")
    else:
        sheet.parts.append(
            f'<circle cx="{x}" cy="{y}" r="{MARK}" style="stroke:var(--ink);{style}"/>'
        )
    sheet.text(x, y + 4, spot.letter, "vk-head vk-mid")


def _over_lines(sheet: draw.Sheet, x: int, y: int, words: str, kind: str) -> None:
    sheet.parts.append(f'<g style="{_HALO}">')
    sheet.text(x, y, words, kind)
    sheet.parts.append("</g>")


def placed(point: Judgement) -> str:
    """Say where a rule lies, and whether that is safe, and minimal."""
    verdict = [word if holds else f"not {word}" for word, holds in _verdicts(point)]
    return (
        f"{point.kernel.rule.name} ({', '.join(verdict)}): {point.loss:.1%} of ->close lost, "
        f"{point.permission:.1%} permissive"
    )


def _verdicts(point: Judgement) -> tuple[tuple[str, bool], ...]:
    return ("safe", point.safe), ("minimal", point.minimal)


# --- the lab -------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _plane(base: str, uniform: bool) -> tuple[Judgement, ...]:
    """Judge all rules once: after that a change of a control only looks things up."""
    return tuple(plane(base, uniform=uniform))


class PlaneLab(Panel):
    """The plane, and switches that move a rule on it; the rule is put into the code of `base`."""

    def __init__(self, base: str = "6.5") -> None:
        super().__init__()
        self.base = base
        self.before = _box("test before (asks next)")
        self.after = _box("test after (asks prev)")
        self.removed = ipywidgets.Dropdown(
            options=[str(asked) for asked in Removal],
            description="ask who would go",
            style={"description_width": "initial"},
            layout={"width": "17em"},
        )
        self.mixed = _box("->close on any VMA, as no driver has it (takes a moment)")
        self.view = ipywidgets.HTML()
        self.against = Witnesses(drawn=True)
        self.before.value = True
        controls = (self.before, self.after, self.removed, self.mixed)
        for control in controls:
            control.observe(self._changed, "value")
        line = ipywidgets.HBox(controls, layout={"flex_flow": "row wrap"})
        self.show(line, self.message, self.view, self.against.box)
        self._update()

    @guarded
    def _changed(self, _: object) -> None:
        self._update()

    def _update(self) -> None:
        points = _plane(self.base, not self.mixed.value)
        wanted = self.before.value, self.after.value, Removal(self.removed.value)
        (self.mine,) = [
            point
            for point in points[len(MOMENTS) :]
            if (point.kernel.rule.before, point.kernel.rule.after, point.kernel.rule.removed)
            == wanted
        ]
        self.picture = plane_picture(points, self.mine)
        table = escape(plane_table(points))
        self.view.value = (
            f'{self.picture.svg}<p role="status"><b>{escape(self.text)}</b></p>'
            f"<details><summary>All of it as a table</summary><pre>{table}</pre>"
            "</details>"
        )
        self.against.set(
            [
                Witness(words, scenario, self.mine.kernel)
                for words, scenario in self.witnesses
                if scenario
            ]
        )

    @property
    def witnesses(self) -> list[tuple[str, str]]:
        """What speaks against the rule: in words, and the smallest scenario, "" for none."""
        return [
            ("It loses a ->close, for example here:", self.mine.unsafe_witness),
            ("It falls short of a safe merge, for example here:", self.mine.strict_witness),
        ]

    @property
    def svg(self) -> str:
        """The plane as it is shown now."""
        return self.picture.svg

    @property
    def text(self) -> str:
        """Where the chosen rule lies, and with whom, in one line."""
        points = _plane(self.base, not self.mixed.value)
        (spot,) = [spot for spot in spots(points) if self.mine in spot.points]
        return f"{placed(self.mine)}; at {spot.letter}: {spot.names}"


def _box(description: str) -> ipywidgets.Checkbox:
    return ipywidgets.Checkbox(description=description, indent=False, layout={"width": "auto"})


def plane_lab(base: str = "6.5") -> PlaneLab:
    """Return the plane with switches; `base` names the kernel whose merge code the rule is in.

    Raises UnknownKernel.
    """
    return PlaneLab(base)
