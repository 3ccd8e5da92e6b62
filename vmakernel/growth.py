"""What a call costs as the VMAs get more: measured on this machine, and drawn with its slope.

A face; previous: charts.py. Costs are measured when they are asked for and stored nowhere: they
hold for one machine on one day. Only the slopes and the ratios carry over.
"""

from __future__ import annotations

import io
import math
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from vmakernel import callers
from vmakernel.draw import MARGIN, Picture, Sheet
from vmakernel.flags import VM_READ, VM_WRITE, InputError
from vmakernel.kernels import Kernel, kernel
from vmakernel.space import AddressSpace
from vmakernel.vma import PLAIN_OPS, VMA

SIZES: Final = (10, 1_000, 60_000)
PAIRS: Final = 2000  # of calls in a round, where a call is quick
FEW: Final = 10  # and where it is slow: with the plain list, among many VMAs


# --- measuring -----------------------------------------------------------------------------------


class ListOfVmas:
    """The address space as a plain list, searched from its start."""

    def __init__(self, vmas: Iterable[VMA]) -> None:
        self.vmas = list(vmas)

    def __len__(self) -> int:
        return len(self.vmas)

    def __iter__(self) -> Iterator[VMA]:
        return iter(self.vmas)

    def around(self, address: int) -> tuple[VMA | None, VMA | None, VMA | None]:
        """Return (the VMA before, the VMA that holds `address`, the next one above it)."""
        before = None
        for index, vma in enumerate(self.vmas):
            if vma.vm_start > address:
                return before, None, vma
            if vma.vm_end > address:
                return before, vma, self.vmas[index + 1] if index + 1 < len(self) else None
            before = vma
        return before, None, None

    def add(self, vma: VMA) -> None:
        """Insert `vma`."""
        for index, other in enumerate(self.vmas):
            if other.vm_start > vma.vm_start:
                self.vmas.insert(index, vma)
                return
        self.vmas.append(vma)

    def remove(self, vma: VMA) -> None:
        """Take `vma` out."""
        self.vmas.remove(vma)


def spaces(count: int) -> tuple[AddressSpace, AddressSpace]:
    """Return `count` VMAs of three pages, readable and writable by turns: the engine's, a list."""
    vmas = [
        VMA(f"V{n}", 3 * n, 3 * n + 3, VM_READ | VM_WRITE * (n % 2), "1", 3 * n, PLAIN_OPS)
        for n in range(count)
    ]
    ours, plain = AddressSpace(vmas), AddressSpace(vmas)
    plain.tree = ListOfVmas(vmas)  # type: ignore[assignment]
    return ours, plain


def per_call(space: AddressSpace, chosen: Kernel, count: int, pairs: int) -> float:
    """Return the seconds of processor time of a mprotect(): a VMA is split, and merged again."""
    dice = random.Random(count)
    places = [dice.randrange(count) for _ in range(pairs)]
    start = time.process_time()
    for n in places:
        at, mark = 3 * n + 1, space.mark()
        flags = VM_READ | VM_WRITE * (n % 2)
        callers.protect(space, chosen, at, at + 1, flags ^ VM_WRITE)
        callers.protect(space, chosen, at, at + 1, flags)
        space.undo(mark)  # so that no history piles up
    return (time.process_time() - start) / (2 * pairs)


def slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Return the exponent with which the costs grow between the two largest sizes."""
    return math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])


def measure(rule: str = "6.5", sizes: Sequence[int] = SIZES, rounds: int = 5) -> Growth:
    """Measure a mprotect() among so many VMAs, in the engine and in a plain list; takes seconds.

    Each cost is the median of `rounds` rounds. Raises UnknownKernel, and InputError for sizes that
    give no slope.
    """
    if len(sizes) < 2 or sizes[0] < 1 or list(sizes) != sorted({*sizes}):
        raise InputError(f"sizes {sizes} give no slope: write two or more, rising, such as {SIZES}")
    chosen = kernel(rule)
    engine, listed = [], []
    for count in sizes:
        ours, plain = spaces(count)
        pairs = PAIRS if count < 10_000 else FEW
        both = [
            (per_call(ours, chosen, count, PAIRS), per_call(plain, chosen, count, pairs))
            for _ in range(rounds)
        ]
        tree, naive = [statistics.median(column) for column in zip(*both, strict=True)]
        engine.append(tree)
        listed.append(naive)
    return Growth(tuple(sizes), tuple(engine), tuple(listed))


# --- showing -------------------------------------------------------------------------------------

LEFT, WIDTH, HEIGHT, RIGHT = 78, 420, 230, 180
_LINES: Final = (("#0072b2", ""), ("#d55e00", "6 3"))
TITLE: Final = "What a mprotect() costs among so many VMAs"


class Growth(NamedTuple):
    """Seconds a call at each number of VMAs, in the engine and in a plain list; shown as a chart.

    The two newest sizes give the slope: n^0 does not grow, n^1 doubles with the number of VMAs.
    """

    sizes: tuple[int, ...]
    engine: tuple[float, ...]
    listed: tuple[float, ...]

    @property
    def lines(self) -> dict[str, tuple[float, ...]]:
        """The costs by name."""
        return {"the engine": self.engine, "a plain list": self.listed}

    @property
    def slopes(self) -> dict[str, float]:
        """The exponent of each line between the two largest sizes."""
        return {name: slope(self.sizes, costs) for name, costs in self.lines.items()}

    @property
    def text(self) -> str:
        """Every number of the chart."""
        told = []
        for name, costs in self.lines.items():
            pairs = zip(self.sizes, costs, strict=True)
            each = ", ".join([f"{size:,} VMAs {micro(cost)}" for size, cost in pairs])
            told.append(f"{name}: {each}, grows as n^{self.slopes[name]:.2f}")
        low, high = self.sizes[-2:]
        return f"{TITLE}. {'; '.join(told)} (from {low:,} to {high:,} VMAs)"

    @property
    def picture(self) -> Picture:
        """The chart: both axes count in powers of ten."""
        return _chart(self)

    @property
    def svg(self) -> str:
        """The chart as SVG."""
        return self.picture.svg

    def png(self) -> bytes:
        """Return the chart as PNG, on white; drawn by matplotlib."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 3.6), dpi=100, layout="constrained", facecolor="white")
        axes = figure.subplots()
        for (name, costs), (colour, dash), marker in zip(
            self.lines.items(), _LINES, "os", strict=True
        ):
            label = f"{name}: n^{self.slopes[name]:.2f}"
            values = [cost * 1e6 for cost in costs]
            style = "--" if dash else "-"
            axes.loglog(
                self.sizes, values, color=colour, marker=marker, linestyle=style, label=label
            )
        axes.set(title=TITLE, xlabel="VMAs", ylabel="µs a call")
        axes.grid(alpha=0.3)
        axes.legend()
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None, "Description": self.text})
        return out.getvalue()

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return self.picture._repr_mimebundle_()


def micro(cost: float) -> str:
    """Return seconds as microseconds."""
    return f"{cost * 1e6:,.1f} µs"


def _chart(growth: Growth) -> Picture:
    sheet = Sheet()
    sheet.width = LEFT + WIDTH + RIGHT
    sheet.say(TITLE, "vk-head")
    sheet.text(MARGIN, sheet.y + 12, "µs a call, both axes in powers of ten", "vk-small")
    top = sheet.y + 30
    costs = [cost * 1e6 for line in growth.lines.values() for cost in line]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    if min(costs) < 4 * 10**low:
        low -= 1  # room for the words below the lowest mark
    first, last = math.floor(math.log10(growth.sizes[0])), math.ceil(math.log10(growth.sizes[-1]))

    def x(size: float) -> float:
        return round(LEFT + WIDTH * (math.log10(size) - first) / (last - first), 1)

    def y(cost: float) -> float:
        return round(top + HEIGHT * (high - math.log10(cost)) / max(high - low, 1), 1)

    for power in range(low, high + 1):
        words = f"{10**power:,}" if power >= 0 else f"{10**power:g}"
        sheet.parts.append(f'<path d="M{LEFT} {y(10**power)}H{LEFT + WIDTH}"/>')
        sheet.text(LEFT - 6 - 7.3 * len(words), y(10**power) + 4, words)
    for size in (10**power for power in range(first, last + 1)):
        sheet.parts.append(f'<path d="M{x(size)} {top}V{top + HEIGHT}"/>')
        sheet.text(x(size), top + HEIGHT + 16, f"{size:,}", "vk-mid")
    sheet.text(x(10**last) + 34, top + HEIGHT + 16, "VMAs")
    columns = zip(growth.engine, growth.listed, strict=True)
    costs_at = {x(size): column for size, column in zip(growth.sizes, columns, strict=True)}
    for (name, line), (colour, dash) in zip(growth.lines.items(), _LINES, strict=True):
        points = [(x(size), y(cost * 1e6)) for size, cost in zip(growth.sizes, line, strict=True)]
        path = "M" + "L".join([f"{px:g} {py:g}" for px, py in points])
        dashes = f";stroke-dasharray:{dash}" if dash else ""
        style = f"stroke:{colour};stroke-width:3;stroke-opacity:1{dashes}"
        sheet.parts.append(f'<path d="{path}" style="{style}"/>')
        for (px, py), cost in zip(points, line, strict=True):
            if dash:
                sheet.rect(px - 5, py - 5, 10, 10, ' class="vk-paper"')
            else:
                sheet.parts.append(
                    f'<circle cx="{px:g}" cy="{py:g}" r="5" style="fill:{colour};'
                    'stroke:var(--ink)"/>'
                )
            above = cost == max(costs_at[px])
            first_one = px == points[0][0]  # the numbers of the axis stand to its left
            sheet.text(
                px + 9 * first_one,
                py + (-10 if above else 20),
                micro(cost),
                "vk-small" if first_one else "vk-small vk-mid",
            )
        px, py = points[-1]
        sheet.text(px + 40, py + 4, f"{name}: n^{growth.slopes[name]:.2f}", "vk-head")
    sheet.y = top + HEIGHT + 26
    return sheet.picture(TITLE, growth.text)
