"""What a page without a kernel shows in the place of a widget: all its states, or before and after.

A widget that `twin()` does not know is asked for its `page`, as HTML; without one, the output that
is stored stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import singledispatch
from html import escape
from itertools import product
from typing import Final

from vmakernel import draw, widgets
from vmakernel.call_widgets import Composer, Pictured, Scrub
from vmakernel.diff_widget import Witnesses
from vmakernel.explain import owed, questions, trace
from vmakernel.kernels import MOMENTS, Removal, kernel
from vmakernel.layout import strip
from vmakernel.lesson import Here
from vmakernel.plane_widget import PlaneLab, placed
from vmakernel.quiz_widgets import Quiz, Quizzes
from vmakernel.toggle_lab import LABELS, LEGEND, SITUATIONS, ToggleLab

BOARD: Final = "../lab/index.html"
OWNERS: Final = {
    "everybody": "PCN",
    "only prev": "P",
    "only the middle": "C",
    "only next": "N",
    "nobody": "",
}


def folded(summary: str, inside: str, opened: bool = False) -> str:
    """Return a part that opens on a click; the summary is text."""
    return (
        f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>"
        f"{inside}</details>"
    )


@singledispatch
def twin(shown: object) -> str:
    """Return HTML that stands for `shown` on a page; empty where what is stored will do."""
    return str(getattr(shown, "page", ""))


@twin.register
def _quiz(shown: Quiz) -> str:
    right = "".join([f"<li>{code(one)}</li>" for one in shown.question.key])
    return shown.html + folded(
        "The answer", f"<ul>{right}</ul><p>{code(shown.question.because)}</p>"
    )


@twin.register
def _quizzes(shown: Quizzes) -> str:
    return "<hr>".join(map(twin, shown.quizzes))


def code(text: str) -> str:
    """Return text as HTML, with `code` set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


@twin.register
def _prediction(shown: widgets.Prediction) -> str:
    after = draw.before_after(shown.scenario, shown.kernel)
    options = [f"<li><code>{escape(one)}</code></li>" for one in shown.options.options[:-1]]
    asked = questions(shown.kernel, shown.steps[-1].result.outcome)
    told = "".join([f"<li>{escape(line)}</li>" for line in asked])
    return (
        f"<p><strong>{escape(shown.question)}</strong></p>{shown.before.svg}"
        f"<p>Choose one, or think of another, before you look:</p><ul>{''.join(options)}</ul>"
        + folded(f"What {shown.kernel} does", f"{after.svg}<ul>{told}</ul>")
    )


@twin.register
def _scrub(shown: Scrub) -> str:
    kept, parts = shown.call.value, []
    for call in range(1, shown.call.max + 1):
        shown.call.value = call
        parts.append(folded(shown.text, shown.svg, call == kept))
    shown.call.value = kept
    return "".join(parts)


@twin.register
def _composer(shown: Composer) -> str:
    return twin(shown.scrub)


@twin.register
def _here(shown: Here) -> str:
    if isinstance(shown, Pictured):
        return shown.html
    return folded(shown.summary, f'<pre class="told" tabindex="0">{escape(shown.full)}</pre>')


@twin.register
def _plane(shown: PlaneLab) -> str:
    kept = shown.before.value, shown.after.value, shown.removed.value
    parts = []
    for removed, before, after in product(map(str, Removal), (False, True), (False, True)):
        shown.before.value, shown.after.value, shown.removed.value = before, after, removed
        state = shown.view.value + shown.against.listed.value
        parts.append(folded(placed(shown.mine), state, (before, after, removed) == kept))
    shown.before.value, shown.after.value, shown.removed.value = kept
    return "".join(parts)


@twin.register
def _witnesses(shown: Witnesses) -> str:
    kept, parts = shown.opened, []
    for number, one in enumerate(shown.witnesses, 1):
        scenario = f"<p><code>{escape(one.scenario)}</code></p>"
        parts.append(folded(one.words, scenario + shown.open(number).lab.view.value))
    shown.choice.value = kept
    return "".join(
        [*[one.value for one in shown.top], *parts, *[one.value for one in shown.bottom]]
    )


@twin.register
def _board(shown: ToggleLab) -> str:
    name = shown.situation.value
    rows = "".join([row(one, shown.scenario) for one in MOMENTS])
    return (
        f"{shown.view.value}<table><caption>{escape(shown.situation.label)}</caption>"
        f"<thead><tr><th>rule</th><th>what is left</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<p><a href="{BOARD}">The whole board</a>: every situation under every rule, '
        f'this one <a href="../lab/{slug(name)}.html">with each choice of owners</a>.</p>'
    )


def row(moment: str, scenario: str) -> str:
    """Return a row of a table: what a moment's rule makes of a scenario."""
    return f"<tr><th>{escape(label(moment))}</th><td>{ending(moment, scenario)}</td></tr>"


def ending(moment: str, scenario: str) -> str:
    """Return the layout that a scenario leaves, and what was lost."""
    one = kernel(moment)
    steps = trace(one, scenario)
    lost = [owed(step) for step in steps if step.leaked]
    more = f"<br>{escape('; '.join(lost))}" if lost else ""
    return f"<code>{escape(strip(steps[-1].after))}</code>{more}"


def label(moment: str) -> str:
    """Return what the board calls a moment, and the version that had it."""
    named = {name: label for label, name in LABELS.items()}
    return f"{named[moment]} (Linux {kernel(moment).version})"


def slug(situation: str) -> str:
    """Return the name of a situation's page."""
    return situation.replace(" ", "-")


# --- the board, laid out ------------------------------------------------------------------------


def overview() -> str:
    """Return the table of all situations under the rule of every moment, everybody with close."""
    heads = "".join([f"<th scope=col>{escape(label(one))}</th>" for one in MOMENTS])
    rows = []
    for name, situation in SITUATIONS.items():
        lab = widgets.toggle_lab().choose(situation=name, close="all")
        cells = "".join([f"<td>{ending(one, lab.scenario)}</td>" for one in MOMENTS])
        link = f'<a href="{slug(name)}.html">{escape(name)}</a>'
        rows.append(
            f"<tr><th scope=row>{link}<br><small>{escape(situation.title)}</small></th>{cells}</tr>"
        )
    return (
        f"<table><thead><tr><th>situation</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def states(name: str) -> Iterator[tuple[str, str]]:
    """Yield (who has close, HTML) for each choice of owners: all moments, one after the other."""
    seen = set()
    for who, letters in OWNERS.items():
        lab = widgets.toggle_lab().choose(situation=name, close=letters, compared="")
        if lab.scenario in seen:
            continue  # that VMA is not there
        seen.add(lab.scenario)
        parts = []
        for moment in MOMENTS:
            lab.choose(moment=moment)
            parts.append(f"<h2>{escape(label(moment))}</h2>{lab.view.value}")
        yield who, "".join(parts).replace(f"<p><small>{LEGEND}</small></p>", "")
