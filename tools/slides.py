"""Make the slides of the labs: ``make slides`` or ``.venv/bin/python -m tools.slides [FOLDER]``.

One page of HTML for each lab, in FOLDER unless told otherwise; it needs no network and no script. A
slide is what notebooks/teaching.toml names: cells of a lesson as stored, or a card, both sides. A
prediction shows its question and the layouts to vote on. The browser does the rest: Page Down and
the arrow keys go on, printed it is a slide a page, and it is dark where the reader's system is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

from nbconvert.filters import markdown2html
from nbformat import NotebookNode

from tools import teaching
from tools.lessons import Wrong
from tools.notebooks import LESSONS
from tools.teaching import Lab, Step, predictions, shown
from vmakernel import draw
from vmakernel.card import Card

FOLDER: Final = LESSONS.parent / "dist" / "slides"
SHORT: Final = 3  # lines of code that are worth showing above what they give
WIDEST: Final = 100  # letters in a line

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1a1a1a;--paper:#fff;--line:#999}
@media(prefers-color-scheme:dark){:root{--ink:#eee;--paper:#111;--line:#777}}
html{scroll-snap-type:y mandatory;background:var(--paper);color:var(--ink);
font:clamp(16px,2.1vmin + .4vw,34px)/1.4 system-ui,sans-serif}
body{margin:0}
section{box-sizing:border-box;height:100vh;padding:2.5vmin 5vw 5vmin;display:flex;overflow:auto;
flex-direction:column;justify-content:safe center;scroll-snap-align:start;position:relative}
section>*{margin:.35em 0;max-width:100%}
h1,h2,h3{line-height:1.2}footer{position:absolute;bottom:1.2vmin;right:5vw;font-size:.55em}
pre,code{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.35}
pre.code{border-left:.3em solid var(--line);padding-left:.8em}
ol.vote{list-style:lower-alpha;font-family:ui-monospace,Menlo,Consolas,monospace}
svg.vk{width:min(100%,60rem);height:auto;max-height:75vh;min-height:0}
img{align-self:start;max-width:100%;max-height:60vh}
img{background:#fff}table{border-collapse:collapse}td,th{padding:.1em .6em;text-align:left}
@page{size:A4 landscape;margin:8mm}
@media print{:root{--ink:#000;--paper:#fff;color-scheme:light}html{font-size:15pt}
section{height:190mm;break-after:page;break-inside:avoid;overflow:hidden}
section:last-child{break-after:auto}svg.vk{max-height:140mm}img{max-height:110mm}}
"""


class Slide(NamedTuple):
    """One slide: what a screen reader calls it, and what is on it."""

    name: str
    html: str


def deck(lab: Lab) -> list[Slide]:
    """Return the slides of a lab, in order. Raises Wrong where a cell is missing."""
    made = [Slide(lab.title, _first(lab))]
    for step in lab.steps:
        made.append(Slide(step.title, f"<h2>{escape(step.title)}</h2><p>{step.clock}</p>"))
        made += [Slide(" ".join(one), _cells(one[0], shown(*one))) for one in step.slides]
        made += _cards(step)
    return made


def _cards(step: Step) -> Iterator[Slide]:
    for name in step.cards:
        card = Card(name)
        yield Slide(f"card {name}", card.front)
        yield Slide(f"card {name}, its back", card.back)


def _first(lab: Lab) -> str:
    goals = "\n".join([f"- {goal}" for goal in lab.goals])
    return _prose(f"# {lab.tour.name}\n\nAfterwards you can\n\n{goals}")


def _cells(number: str, cells: list[NotebookNode]) -> str:
    return "\n".join([_cell(number, cell) for cell in cells])


def _cell(number: str, cell: NotebookNode) -> str:
    if cell.cell_type == "markdown":
        return _prose(cell.source)
    if asked := predictions(number).get(cell.id):
        listed = "".join([f"<li>{escape(layout)}</li>" for layout in asked.options])
        return (
            f"<h3>{escape(asked.question)}</h3><p>Under Linux {asked.kernel.version}:</p>"
            f'{draw.before_after(asked.scenario).svg}<ol class="vote">{listed}</ol>'
        )
    lines = [line for line in cell.source.splitlines() if not re.match("(from|import) ", line)]
    source = "\n".join(lines).strip()
    told = "\n".join([_output(one) for one in cell.outputs])
    # What holds a guess against the engine is for the lesson: here the class has said it aloud.
    short = source.count("\n") < SHORT and "said(" not in source
    return _pre(source, "code") + told if short or not told else told


def _output(output: NotebookNode) -> str:
    """Return what a cell showed; a picture as a part of the page, all else as text."""
    data = output.get("data", {})
    if "image/svg+xml" in data:
        return str(data["image/svg+xml"])
    if "image/png" in data:
        told = escape(data["text/plain"])
        return f'<img alt="{told}" src="data:image/png;base64,{data["image/png"].strip()}">'
    text = output.get("text") or data.get("text/plain", "")
    return _pre(text.replace("You have not said yet. ", ""))


def _pre(text: str, kind: str = "") -> str:
    """Return lines as large as they fit; what is longer than WIDEST is broken."""
    lines = text.strip("\n").splitlines()
    wide = min(max(map(len, lines), default=1), WIDEST)
    high = sum([1 + len(line) // WIDEST for line in lines])
    size = f"font-size:min(1em,{148 / max(wide, 1):.2f}vw,{52 / max(high, 1):.2f}vh)"
    named = f' class="{kind}"' if kind else ""
    return f'<pre{named} style="{size}">{escape(chr(10).join(lines))}</pre>' if lines else ""


def _prose(text: str) -> str:
    """Return Markdown as HTML without links: there is nowhere to go from a slide."""
    html: str = markdown2html(text)
    html = re.sub(r'<a class="anchor-link".*?</a>', "", html, flags=re.S)
    return re.sub(r"</?a\b[^>]*>", "", html)


def page(lab: Lab) -> str:
    """Return the whole page."""
    slides = deck(lab)
    parts = [
        f'<section aria-label="{escape(one.name)}">{one.html}'
        f"<footer>{at} / {len(slides)}</footer></section>"
        for at, one in enumerate(slides, 1)
    ]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" '
        f'content="light dark"><title>{escape(lab.title)}</title><style>{STYLE}</style></head>'
    )
    left = 'preserveAspectRatio="xMinYMid"'
    body = "\n".join(parts).replace('xmlns="http://www.w3.org/2000/svg"', left)
    return f"{head}\n<body>\n{body}\n</body></html>\n"


def main(arguments: list[str]) -> int:
    """Write the slides of every lab into a folder; 2 if a table is wrong."""
    folder = Path(arguments[0]) if arguments else FOLDER
    try:
        pages = {f"{lab.file}.html": page(lab) for lab in teaching.labs()}
    except Wrong as wrong:
        print(f"slides: {wrong}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for name, html in pages.items():
        (folder / name).write_text(html, encoding="utf-8", newline="\n")
        print(f"{folder / name}: {html.count('<section')} slides")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
