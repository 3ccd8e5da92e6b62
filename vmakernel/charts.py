"""Charts: numbers over the calls of a program, drawn by matplotlib.

A face. matplotlib is imported when a chart is shown, so that the text beside it needs nothing.
Where it is not to be had, as in a browser without a network, a plain drawing of ours stands in.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from vmakernel import draw
from vmakernel.call_pictures import predictions, read
from vmakernel.kernels import kernel
from vmakernel.scenario import Scenario

# Okabe and Ito's colours; marker and dash say the same without them.
_STYLES: Final = (("#0072B2", "o", "-"), ("#D55E00", "X", "--"), ("#009E73", "s", ":"))
# The same in our own drawing.
_MARKS: Final = {"o": "●", "X": "✖", "s": "■"}
_DASHES: Final = {"--": "8 4", ":": "2 4"}
_SIDE, _HIGH = 60, 140


class Chart:
    """A chart: its text says every number in it, its PNG draws them."""

    def __init__(
        self, title: str, ticks: Sequence[str], lines: Mapping[str, Sequence[int]]
    ) -> None:
        self.title, self.ticks, self.lines = title, tuple(ticks), dict(lines)

    def __repr__(self) -> str:
        told = [
            f"{name}: " + ", ".join([f"{t} {v}" for t, v in zip(self.ticks, values, strict=True)])
            for name, values in self.lines.items()
        ]
        return f"{self.title}. " + "; ".join(told)

    def png(self) -> bytes:
        """Return the chart as PNG, on white, so that it reads in the dark and in print."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(7, 2.6), dpi=100, layout="constrained", facecolor="white")
        axes = figure.subplots()
        for (name, values), (color, marker, dash) in zip(self.lines.items(), _STYLES, strict=False):
            axes.plot(values, color=color, marker=marker, linestyle=dash, label=name)
        axes.set_xticks(range(len(self.ticks)), self.ticks)
        axes.set_ylim(bottom=-0.3)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(self.title, fontsize=10)
        axes.legend(fontsize=9)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
        return out.getvalue()

    def plain(self) -> draw.Picture:
        """Return the chart in lines of our own, each mark with its number."""
        sheet = draw.Sheet()
        sheet.width = draw.WIDEST
        sheet.say(self.title, "vk-head")
        step = (draw.WIDEST - 2 * _SIDE) / max(len(self.ticks) - 1, 1)
        unit = _HIGH / max([1, *[value for line in self.lines.values() for value in line]])
        low = sheet.y + _HIGH + 24
        marks: dict[tuple[int, int], str] = {}  # lines that meet share their number
        drawn = list(zip(self.lines.items(), _STYLES, strict=False))
        for (_, values), (color, marker, dash) in drawn:
            at = [(_SIDE + step * n, low - unit * value) for n, value in enumerate(values)]
            points = " ".join([f"{x:g},{y:g}" for x, y in at])
            gaps = "" if dash == "-" else f' stroke-dasharray="{_DASHES[dash]}"'
            style = f"fill:none;stroke:{color};stroke-width:2"
            sheet.parts.append(f'<polyline points="{points}" style="{style}"{gaps}/>')
            for n, value in enumerate(values):
                marks[n, value] = marks.get((n, value), "") + _MARKS[marker]
        for (n, value), told in marks.items():
            sheet.text(_SIDE + step * n, low - unit * value - 5, f"{told} {value}", "vk-mid")
        for n, tick in enumerate(self.ticks):
            # Long names, such as calls, take turns on two lines.
            sheet.text(_SIDE + step * n, low + 18 + 14 * (n % 2), tick, "vk-small vk-mid")
        sheet.y = round(low) + 40
        for (name, _), (_, marker, _) in drawn:
            sheet.say(f"{_MARKS[marker]} {name}")
        return sheet.picture(self.title, repr(self))

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, Any]:
        try:
            png = self.png()
        except ModuleNotFoundError:
            return self.plain()._repr_mimebundle_()
        # JupyterLab shows image/png without an alt text.
        source = f"data:image/png;base64,{b64encode(png).decode()}"
        html = f'<img alt="{escape(repr(self))}" style="max-width:none" src="{source}">'
        return {"text/plain": repr(self), "text/html": html, "image/png": png}


def counts(program: str | Scenario, *rules: str) -> Chart:
    """Return how many VMAs there are after each call of `program`, under up to three rules."""
    calls = [str(call) for call in read(program).calls]
    return Chart(
        "VMAs after each call",
        calls,
        {
            str(kernel(rule)): [len(step.vmas) for step in story.steps]
            for rule, story in zip(rules, predictions(program, rules), strict=True)
        },
    )
