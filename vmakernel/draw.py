"""Pictures of address spaces: our own SVG, small, the same bytes every time.

A face: it shows what the engine says and decides nothing. Next: widgets.py.

A VMA is a box with its letter once a page, as in the one-line notation; below it stand its flags
and its file, and a tag tells that it has ``->close``. Colour only repeats what letters and words
say. Every picture has its text twin: it is the repr, and what a screen reader reads.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from vmakernel.explain import Mark, Step, owed, trace, verdict
from vmakernel.flags import print_flags
from vmakernel.kernels import Kernel, kernel
from vmakernel.layout import LONGEST, parse_layout, strip
from vmakernel.recorded import CASES, situation
from vmakernel.replay import Operation, parse_scenario
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA, parse_range


class Picture:
    """A picture and its text twin: `svg` to look at, `text` (the repr) to read."""

    __slots__ = ("svg", "text")

    def __init__(self, svg: str, text: str) -> None:
        self.svg = svg
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        # As HTML the SVG is part of the page: JupyterLab's theme and screen readers reach it. (It
        # puts image/svg+xml into an <img> without alt.) That form is for pages that take no HTML.
        return {"text/plain": self.text, "text/html": on_page(self.svg), "image/svg+xml": self.svg}


def on_page(svg: str) -> str:
    """Return `svg` as HTML; where an output is folded, JupyterLab shows its first line."""
    return f"<!-- Run this cell to see its picture. -->\n{svg}"


def picture(
    layout: AddressSpace | Iterable[VMA] | str,
    *,
    range: tuple[int, int] | str | None = None,
    title: str = "",
) -> Picture:
    """Draw `layout` (VMAs, or text as in a repr), with `range` of pages proposed as ``****``.

    Raises NotationError or SpaceError.
    """
    space = _space(layout)
    asked = parse_range(range) if isinstance(range, str) else range
    sheet = Sheet()
    if title:
        sheet.say(title, "vk-head")
    rows = _rows(space.vmas)
    for start, vmas in rows[:MOST_ROWS]:
        scale = Scale([start, *_borders(vmas), *_within(asked, start, rows)])
        sheet.row(scale, vmas)
        if asked and asked[0] < scale.end and asked[1] > start:
            sheet.propose(scale, *asked)
        sheet.ticks(scale, vmas, asked)
    if len(rows) > MOST_ROWS:
        left = sum(len(vmas) for _, vmas in rows[MOST_ROWS:])
        sheet.say(f"… and {left:,} more VMAs")
    text = repr(space) if space.vmas else "."
    if asked:
        text += f"  **** {asked[0]}-{asked[1]}"
    return sheet.picture(title or "Address space", f"{title}: {text}" if title else text)


def before_after(scenario: str, *rules: str | Kernel) -> Picture:
    """Draw `scenario` (``VMA* | OP; OP``) before, and after each of its calls under every rule.

    Raises NotationError, SpaceError or UnknownKernel.
    """
    kernels = [kernel(rule) for rule in rules]
    _, given, operations = parse_scenario(scenario)
    space = AddressSpace(given)
    vmas = space.vmas
    traces = [trace(one, scenario) for one in kernels]
    met = [step.before for step in traces[0]] if traces else [vmas] * len(operations)
    proposed = [_range_of(*pair) for pair in zip(operations, met, strict=True)]
    borders = _borders(vmas)
    for steps in traces:
        borders += [border for step in steps for border in _borders(step.after)]
    scale = Scale([0, *borders, *[page for span in proposed if span for page in span]])
    sheet = Sheet()
    words = [f"before {space!r} | {'; '.join(map(str, operations))}"]
    sheet.say("before", "vk-head")
    sheet.row(scale, vmas)
    for index, operation in enumerate(operations):
        span = proposed[index]
        if index:
            sheet.say(str(operation), "vk-head")
        if span:
            sheet.propose(scale, *span, "" if index else str(operation))
        if not index:
            sheet.ticks(scale, vmas, span)
        for one, steps in zip(kernels, traces, strict=True):
            step = steps[index]
            call = f"{operation} under " if len(operations) > 1 else ""
            words.append(f"{call}{one.version}: {strip(step.after)} {told(one, step)}")
            sheet.say(f"after · {one.version} · {one.rule.name}", "vk-head")
            sheet.after(scale, one, step)
    title = "Before and after" if kernels else "Before"
    return sheet.picture(title, " → ".join([words[0], "; ".join(words[1:])] if kernels else words))


def poster() -> Picture:
    """Draw the eight cases of vma_merge() up to v6.11, each as the engine decides it."""
    one = kernel("6.5")
    title = "The eight cases of vma_merge(), to v6.11"
    columns = (Sheet(), Sheet())
    columns[0].say(title, "vk-head")
    words = []
    for left in CASES[:4]:
        columns[0].y = columns[1].y = max(sheet.y for sheet in columns) + 12
        for case, sheet in zip((left, left + 4), columns, strict=True):
            step = trace(one, situation(case))[0]
            span = step.operation.start, step.operation.end
            scale = Scale([0, *_borders(step.before), *span])
            sheet.say(f"case {case}", "vk-head")
            sheet.row(scale, step.before)
            sheet.propose(scale, *span, str(step.operation))
            sheet.after(scale, one, step)
            words.append((case, f"{strip(step.before)} → {strip(step.after)} {verdict(one, step)}"))
    return beside(columns).picture(
        title, f"{title}: {'; '.join([told for _, told in sorted(words)])}"
    )


def told(one: Kernel, step: Step) -> str:
    """Say how a step ended, and what became of a ->close that was owed."""
    news = step.closed or step.leaked
    return verdict(one, step) + (f"; {owed(step)}" if news else "")


# --- from pages to places -----------------------------------------------------------------------

MARGIN: Final = 8
PLAIN_WIDTH: Final = 372  # of a sheet on which nothing asks for more
WIDEST: Final = 720
SMALLEST: Final = 0.8  # of its size; a page that has less room scrolls
MOST_CELLS: Final = 60  # in one row of picture()
MOST_ROWS: Final = 40


def _space(layout: AddressSpace | Iterable[VMA] | str) -> AddressSpace:
    if isinstance(layout, AddressSpace):
        return layout
    return AddressSpace(parse_layout(layout) if isinstance(layout, str) else layout)


def _borders(vmas: Iterable[VMA]) -> list[int]:
    return [border for vma in vmas for border in (vma.vm_start, vma.vm_end)]


def _cells(pages: int) -> int:
    """Return how many letters a run of pages takes, as strip() cuts it."""
    return pages if pages <= LONGEST else 9


def _rows(vmas: Iterable[VMA]) -> list[tuple[int, list[VMA]]]:
    """Return (first page, VMAs) of each row, so that no row gets too long to read."""
    start = at = used = 0
    rows: list[tuple[int, list[VMA]]] = [(0, [])]
    for vma in vmas:
        wide = _cells(vma.vm_start - at) + _cells(vma.pages)
        if used and used + wide > MOST_CELLS:
            start, used = at, 0
            rows.append((start, []))
        rows[-1][1].append(vma)
        used += wide
        at = vma.vm_end
    return rows


def _within(
    asked: tuple[int, int] | None, start: int, rows: Sequence[tuple[int, Sequence[VMA]]]
) -> list[int]:
    """Return the borders of the range that lie in the row that begins at page `start`."""
    if asked is None:
        return []
    above = [first for first, _ in rows if first > start]
    return [page for page in asked if start <= page and (not above or page <= above[0])]


def _range_of(operation: Operation, vmas: Iterable[VMA]) -> tuple[int, int] | None:
    """Return the pages an operation is about; mremap() asks for those behind its VMA."""
    if operation.kind != "mremap":
        return operation.start, operation.end
    ends = [vma.vm_end for vma in vmas if vma.name == operation.name]
    return (ends[0], ends[0] + operation.end) if ends else None


class Scale:
    """Where on the sheet each page lies; long stretches between borders are cut as in strip()."""

    def __init__(self, borders: Iterable[int]) -> None:
        self.borders = sorted(set(borders))
        self.end = self.borders[-1]
        cells = [0]
        for low, high in pairwise(self.borders):
            cells.append(cells[-1] + _cells(high - low))
        self._cells = dict(zip(self.borders, cells, strict=True))
        self.cell = min(30, max(8, (WIDEST - 2 * MARGIN) // max(cells[-1], 1)))

    @property
    def width(self) -> int:
        """The width of all pages together, in pixels."""
        return self._cells[self.end] * self.cell

    def x(self, page: int) -> int:
        """Return the place of a border."""
        return MARGIN + self._cells[page] * self.cell

    def letters(self, letter: str, start: int, end: int) -> str:
        """Return the letter once a page, long stretches cut and marked ``~``."""
        inside = [border for border in self.borders if start <= border <= end]
        runs = [high - low for low, high in pairwise(inside)]
        return "".join([letter * n if n <= LONGEST else f"{letter * 4}~{letter * 4}" for n in runs])


# --- ink ----------------------------------------------------------------------------------------

# Okabe and Ito's palette, which the colour-blind can tell apart; letters say the same.
_COLOURS: Final = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442")
_FIRST: Final = "PCN"

# JupyterLab's theme decides inside JupyterLab, the reader's system elsewhere, paper in print.
STYLE: Final = (
    ".vk{--vk-i:#1a1a1a;--vk-b:#fff;--ink:var(--jp-content-font-color1,var(--vk-i));"
    "--paper:var(--jp-layout-color0,var(--vk-b));max-width:100%;height:auto;color:var(--ink);"
    "font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
    "@media(prefers-color-scheme:dark){.vk{--vk-i:#eee;--vk-b:#111}}"
    "@media print{.vk{--ink:#000;--paper:#fff}}"
    ".vk text{fill:var(--ink);white-space:pre}.vk .vk-head{font-weight:bold}"
    ".vk .vk-small{font-size:10px}.vk .vk-mid{text-anchor:middle}"
    ".vk rect{stroke:var(--ink);fill:none}.vk .vk-fill{stroke:none;fill-opacity:.35}"
    ".vk .vk-tag{fill:var(--ink)}.vk .vk-tag+text{fill:var(--paper);font-weight:bold}"
    ".vk .vk-paper{fill:var(--paper)}.vk .vk-new{stroke-width:3}.vk .vk-dash{stroke-dasharray:3 3}"
    ".vk path{stroke:var(--ink);stroke-opacity:.45;fill:none}"
)


def _colour(letter: str) -> str:
    place = _FIRST.find(letter)
    return _COLOURS[place if place >= 0 else 3 + ord(letter) % 4]


@lru_cache(maxsize=256)
def hatch(x: int, y: int, width: int, height: int) -> str:
    """Return slanted lines that fill a rectangle; no pattern, whose id would have to be unique."""
    lines = []
    for k in range(6, width + height, 6):
        x1, y1 = max(0, k - height), min(k, height)
        x2, y2 = min(k, width), max(0, k - width)
        lines.append(f"M{x + x1} {y + y1}L{x + x2} {y + y2}")
    return f'<path d="{"".join(lines)}"/>'


class _Ghost(NamedTuple):
    """Where a VMA was that has vanished, and what is to say about it."""

    vma: VMA
    lost: bool


class Sheet:
    """What is drawn so far, from the top down."""

    BOX: Final = 40

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = MARGIN
        self.width = PLAIN_WIDTH

    def skip(self, pixels: int) -> None:
        """Leave some room."""
        self.y += pixels

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Write `words` with their base line at y."""
        style = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{style}>{escape(words, quote=False)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, more: str = "") -> None:
        """Draw a rectangle."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{more}/>'
        )

    def say(self, words: str, kind: str = "") -> None:
        """Write lines of text over the whole width."""
        columns = int((self.width - 2 * MARGIN) / 7.3)
        for line in textwrap.wrap(words, columns):
            self.text(MARGIN, self.y + 12, line, kind)
            self.y += 17

    def row(self, scale: Scale, vmas: Iterable[VMA], changed: Sequence[str] = ()) -> None:
        """Draw one layout, the VMAs named in `changed` with a bold border."""
        self.width = max(self.width, scale.width + 2 * MARGIN)
        self.y += 6
        at = scale.borders[0]
        for vma in vmas:
            self._hole(scale, at, vma.vm_start)
            self._box(scale, vma, vma.name in changed)
            at = vma.vm_end
        self._hole(scale, at, scale.end)
        self.y += self.BOX + 6

    def _hole(self, scale: Scale, start: int, end: int) -> None:
        if start < end:
            middle = (scale.x(start) + scale.x(end)) / 2
            self.text(middle, self.y + 17, scale.letters(".", start, end), "vk-mid")

    def _box(self, scale: Scale, vma: VMA, changed: bool) -> None:
        x, width = scale.x(vma.vm_start), scale.x(vma.vm_end) - scale.x(vma.vm_start)
        y, letter = self.y, vma.name[0]
        self.parts.append(f"<g><title>{escape(str(vma), quote=False)}</title>")
        self.rect(x, y, width, self.BOX, f' class="vk-fill" style="fill:{_colour(letter)}"')
        self.rect(x, y, width, self.BOX, ' class="vk-new"' if changed else "")
        step = f' textLength="{width - scale.cell // 2}"' if width > 3 * scale.cell else ""
        run = scale.letters(letter, vma.vm_start, vma.vm_end)
        self.parts.append(
            f'<text x="{x + width / 2:g}" y="{y + 19}" class="vk-head vk-mid"{step}>'
            f"{escape(run)}</text>"
        )
        room = int((width - 4) / 6.1)
        for words in (_details(vma), print_flags(vma.vm_flags)):
            if len(words) <= room:
                self.text(x + width / 2, y + 34, words, "vk-small vk-mid")
                break
        if vma.has_close:
            tag = "close" if room >= 6 else "c"
            wide = 6.1 * len(tag) + 6
            self.rect(x + width - wide - 2, y - 6, wide, 12, ' class="vk-tag"')
            self.text(x + width - wide + 1, y + 4, tag, "vk-small")
        self.parts.append("</g>")

    def propose(self, scale: Scale, start: int, end: int, words: str = "") -> None:
        """Draw the proposed range as ``****`` under the row it belongs to, with the call."""
        start, end = max(start, scale.borders[0]), min(end, scale.end)
        x, width = scale.x(start), scale.x(end) - scale.x(start)
        self.rect(x, self.y - 2, width, 16, ' class="vk-dash"')
        self.text(x + width / 2, self.y + 12, scale.letters("*", start, end), "vk-head vk-mid")
        if words:
            self._aside(x, width, words)
        self.y += 18

    def _aside(self, x: float, width: float, words: str) -> None:
        """Write beside a rectangle, on the side that has room, or below it."""
        wide = 7.3 * len(words)
        if x + width + 6 + wide <= self.width:
            self.text(x + width + 6, self.y + 10, words)
        elif x - 6 - wide >= 0:
            self.text(x - 6 - wide, self.y + 10, words)
        else:
            self.y += 18
            self.text(MARGIN, self.y + 10, words)

    def ticks(self, scale: Scale, vmas: Iterable[VMA], span: tuple[int, int] | None = None) -> None:
        """Write the page numbers at the borders."""
        free = 0.0
        for page in sorted({*_borders(vmas), *(span or ())} & set(scale.borders)):
            half = 3.05 * len(str(page))
            x = max(scale.x(page), half)
            if x - half >= free:
                self.text(x, self.y + 10, str(page), "vk-small vk-mid")
                free = x + half + 4
        self.y += 18

    def after(self, scale: Scale, one: Kernel, step: Step) -> None:
        """Draw how a step ended: the layout, who vanished from where, and what was owed."""
        outcome = step.result.outcome
        grown = [vma.name for vma in outcome.grown] if outcome and outcome.merged else []
        self.row(scale, step.after, grown)
        operation = step.operation
        if operation.kind in ("new", "mmap") and outcome and not outcome.merged:
            self._apart(scale, operation.start, operation.end)
        ghosts = [
            _Ghost(vma, vma.name in step.leaked) for vma in step.before if vma.name in step.removed
        ]
        if ghosts:
            self._haunt(scale, ghosts)
        self.say(told(one, step))
        self.y += 8

    def _apart(self, scale: Scale, start: int, end: int) -> None:
        """Draw a new range that did not merge into the row above: it becomes a VMA of its own."""
        x, width = scale.x(start), scale.x(end) - scale.x(start)
        y = self.y - self.BOX - 6
        self.rect(x, y, width, self.BOX, ' class="vk-paper vk-dash"')
        self.text(x + width / 2, y + 19, scale.letters("*", start, end), "vk-head vk-mid")

    def _haunt(self, scale: Scale, ghosts: Iterable[_Ghost]) -> None:
        for vma, lost in ghosts:
            x, width = scale.x(vma.vm_start), scale.x(vma.vm_end) - scale.x(vma.vm_start)
            self.rect(x, self.y - 2, width, 16, ' class="vk-dash"')
            self.parts.append(hatch(x, self.y - 2, width, 16))
            room = int((width - 2) / 6.1)
            long = f"{vma.name} gone, close {Mark.FAILED}" if lost else f"{vma.name} gone"
            short = vma.name[0] + (Mark.FAILED if lost else "")
            words = long if len(long) <= room else short
            wide = 6.1 * len(words) + 6
            self.rect(x + width / 2 - wide / 2, self.y, wide, 12, ' class="vk-tag"')
            self.text(x + width / 2, self.y + 10, words, "vk-small vk-mid")
        self.y += 20

    def picture(self, title: str, text: str) -> Picture:
        """Return what was drawn, with its text twin."""
        width, height = self.width, self.y + MARGIN
        twin, newline = escape(text), "\n"
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="vk" role="img" width="{width}" '
            f'height="{height}" viewBox="0 0 {width} {height}" '
            f'style="min-width:{round(width * SMALLEST)}px"\naria-label="{twin}">\n'
            f"<title>{escape(title, quote=False)}</title>"
            f"<desc>{twin}</desc>\n<style>{STYLE}</style>\n{newline.join(self.parts)}\n</svg>"
        )
        return Picture(svg, text)


def beside(sheets: Iterable[Sheet]) -> Sheet:
    """Return one sheet with all of `sheets` from left to right."""
    whole = Sheet()
    whole.width = whole.y = 0
    for sheet in sheets:
        whole.parts.append(f'<g transform="translate({whole.width})">')
        whole.parts += [*sheet.parts, "</g>"]
        whole.width += sheet.width
        whole.y = max(whole.y, sheet.y)
    return whole


def _details(vma: VMA) -> str:
    """Return flags, file and anon_vma as in the notation; ->close has its tag."""
    words = str(vma).partition(":")[2].split(",")
    return ",".join([word for word in words if word != "c"])
