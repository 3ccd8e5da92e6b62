"""Pictures of whole calls: one call under several rules, attaches as they climb, a kernel's prints.

A face; previous: draw.py; next: call_widgets.py, which puts these under the reader's fingers.

A prediction knows which VMA is which, a recording only what /proc/self/maps showed: start, end,
access and file of each. Both are drawn alike, a letter for each thing that is mapped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from html import escape
from typing import Final, Literal, NamedTuple

from vmakernel import draw
from vmakernel.draw import Picture, Scale, Sheet
from vmakernel.explain import Mark
from vmakernel.explain import Step as Explained
from vmakernel.flags import VM_ACCESS, VM_SHARED, parse_flags
from vmakernel.kernels import kernel
from vmakernel.layout import strip
from vmakernel.live import Experiment
from vmakernel.predict import Prediction, predict
from vmakernel.process import GONE, source
from vmakernel.replay import Operation
from vmakernel.scenario import Call, Recording, Scenario, ScenarioError, parse
from vmakernel.vma import CLOSE_OPS, VMA


def read(text: str | Scenario) -> Scenario:
    """Return the one scenario that `text` spells.

    Raises ScenarioError.
    """
    if isinstance(text, Scenario):
        return text
    found = parse(text)
    if len(found) > 1:
        raise ScenarioError(f"there are {len(found)} scenarios here; write one at a time")
    return found[0]


def predictions(scenario: str | Scenario, rules: Iterable[str]) -> tuple[Prediction, ...]:
    """Return what each rule does with a scenario.

    Raises ScenarioError or UnknownKernel.
    """
    return tuple([predict(read(scenario), kernel(rule)) for rule in rules])


_CHANGE: Final = Operation("protect", 0, 1)  # any call that changes a range is told like this one

# --- one call, in words ---------------------------------------------------------------------------


class Moment(NamedTuple):
    """What one call, or the exit after the last one, did under one rule."""

    story: Prediction
    at: int  # 0 is the first call, len(calls) the exit

    @property
    def known(self) -> bool:
        """False from the call on that the engine declines."""
        return self.at < len(self.story.steps) or self.story.refused is None

    @property
    def exit(self) -> bool:
        """True for the end of the process."""
        return self.at == len(self.story.scenario.calls)

    @property
    def before(self) -> tuple[VMA, ...]:
        """The VMAs before it."""
        return self.story.steps[self.at - 1].vmas if self.at else ()

    @property
    def after(self) -> tuple[VMA, ...]:
        """The VMAs after it."""
        return () if self.exit else self.story.steps[self.at].vmas

    @property
    def removed(self) -> tuple[VMA, ...]:
        """The VMAs that its merges removed."""
        results = () if self.exit else self.story.steps[self.at].results
        return tuple([vma for one in results if one.outcome for vma in one.outcome.removed])

    @property
    def grown(self) -> tuple[str, ...]:
        """The names of the VMAs that its merges extended."""
        results = () if self.exit else self.story.steps[self.at].results
        return tuple([vma.name for one in results if one.outcome for vma in one.outcome.grown])

    @property
    def nattch(self) -> dict[str, int]:
        """How often each segment is attached after it; GONE where it was destroyed."""
        story = self.story
        return dict(
            story.nattch_after_exit if self.exit else story.steps[self.at].step.nattch or {}
        )

    @property
    def lost(self) -> Counter[str]:
        """The attaches of each segment that merges have lost up to here."""
        names: Counter[str] = Counter()
        for predicted in self.story.steps[: self.at + 1]:
            for result in predicted.results:
                for vma in result.outcome.lost if result.outcome else ():
                    names[_source(vma).removeprefix("shm:")] += 1
        return names

    @property
    def counted(self) -> str:
        """VMAs and attaches, as in ``3 VMAs, nattch 4, 1 lost ✗``."""
        number = len(self.after)
        parts = [f"{number or 'no'} VMA{'' if number == 1 else 's'}"]
        several = len(self.nattch) > 1
        for name, nattch in self.nattch.items():
            of = f"nattch of {name}" if several else "nattch"
            parts.append(f"segment {name} destroyed" if nattch == GONE else f"{of} {nattch}")
            if self.lost[name]:
                parts.append(f"{self.lost[name]} lost {Mark.FAILED}")
        return ", ".join(parts)

    @property
    def words(self) -> str:
        """What happened, and why."""
        if self.exit:
            closed = [vma.name for vma in self.before if vma.has_close]
            return f"->close runs for {', '.join(closed)}" if closed else "nobody to close"
        predicted = self.story.steps[self.at]
        told = [f"fails with {predicted.step.errno}"] if predicted.step.errno else []
        gone = {vma.name for vma in self.removed}
        for result in predicted.results:
            if result.outcome is None or (not self.before and not result.outcome.merged):
                continue
            leaked = tuple([vma.name for vma in result.outcome.lost])
            removed = tuple([vma.name for vma in result.outcome.removed])
            if not result.outcome.merged and not predicted.step.errno:
                result = result._replace(status="changed")
            step = Explained(_CHANGE, self.before, result, self.after, removed, (), leaked)
            told.append(draw.told(self.story.kernel, step))
        left = {vma.name for vma in self.after} | gone
        closed = [vma.name for vma in self.before if vma.has_close and vma.name not in left]
        if closed:
            told.append(f"->close runs for {', '.join(closed)}")
        return "; then ".join(told) or ("mapped" if self.after else "nothing is mapped")

    @property
    def left(self) -> str:
        """The layout after it, VMAs and attaches."""
        if not self.known:
            return f"not answered ({self.story.refused})"
        return f"{_strip(self.after)} {self.counted}"

    @property
    def told(self) -> str:
        """What it left, and why."""
        return f"{self.left} ({self.words})" if self.known else self.left

    @property
    def seen_before(self) -> tuple[VMA, ...]:
        """The VMAs before it, without their names."""
        return tuple([vma._replace(name="") for vma in self.before])

    @property
    def seen(self) -> object:
        """What a reader could tell it by from what it did under another rule."""
        return (self.told, self.seen_before) if self.known else self.story.refused


def call_name(scenario: Scenario, at: int) -> str:
    """Return the call as it is written, or ``exit``."""
    return str(scenario.calls[at]) if at < len(scenario.calls) else "exit"


def _strip(vmas: Iterable[VMA]) -> str:
    return strip(map(_plain, vmas))


def _source(vma: VMA) -> str:
    return source(vma.vm_file or "")


def _plain(vma: VMA) -> VMA:
    """Return the VMA with what a picture of calls can do without left out."""
    return vma._replace(
        vm_flags=vma.vm_flags & (VM_ACCESS | VM_SHARED),
        vm_file=_source(vma).removeprefix("shm:") or None,
        anon_name="",
        anon_pgoff=vma.vm_pgoff if vma.vm_file is None else vma.vm_start,
    )


# --- one call, drawn ------------------------------------------------------------------------------


class CallSheet(Sheet):
    """A sheet that also knows how to draw a call."""

    def moments(self, scale: Scale, alike: Sequence[Moment], *, before: bool) -> None:
        """Draw what a call did, the same under some rules; `before`: with the layout it met."""
        first = alike[0]
        names = [one.story.kernel for one in alike]
        self.say(", ".join([f"{one.version} · {one.rule.name}" for one in names]), "vk-head")
        if not first.known:
            self.say(f"not answered: {first.story.refused}")
            return
        if before:
            self.vmas(scale, first.before)
            if not first.exit:
                self.call(scale, first)
        if not first.exit:
            self.vmas(scale, first.after, first.grown)
        lost = [draw._Ghost(vma, vma.has_close) for vma in first.removed]
        if lost:
            self._haunt(scale, lost)
        self.say(first.words)
        self.say(first.counted, "vk-head")
        self.y += 8

    def vmas(self, scale: Scale, vmas: Sequence[VMA], changed: Sequence[str] = ()) -> None:
        """Draw a layout, or say that there is none."""
        if vmas:
            self.row(scale, map(_plain, vmas), changed)
        else:
            self.say("(nothing mapped)")

    def call(self, scale: Scale, moment: Moment) -> None:
        """Draw the call under the row it meets."""
        scenario = moment.story.scenario
        name = call_name(scenario, moment.at)
        span = _span(scenario.calls[moment.at], scenario)
        if span is None:
            self.say(name)
        else:
            self.propose(scale, *span, name)
            self.ticks(scale, moment.before, span)


def _span(call: Call, scenario: Scenario) -> tuple[int, int] | None:
    """Return the pages a call is about, if it is about pages."""
    at = getattr(call, "at", None)
    if at is None:
        return None
    pages = getattr(call, "pages", 0) or getattr(call, "new", 0)
    pages = pages or dict(scenario.segments).get(getattr(call, "segment", ""), 0)
    return (at, at + pages) if pages else None


def _borders(stories: Iterable[Prediction]) -> list[int]:
    """Return every border that occurs, so that the picture keeps its scale from call to call."""
    found = [0, 1]
    for story in stories:
        for predicted in story.steps:
            for vma in predicted.vmas:
                found += [vma.vm_start, vma.vm_end]
        for call in story.scenario.calls:
            found += _span(call, story.scenario) or ()
    return found


def call_picture(stories: Sequence[Prediction], at: int) -> Picture:
    """Draw call number `at` (from 0; the last is the exit) of one scenario under several rules.

    Rules under which the same happens share a row.
    """
    scenario = stories[0].scenario
    moments = [Moment(story, at) for story in stories]
    groups: dict[object, list[Moment]] = {}
    for moment in moments:
        groups.setdefault(moment.seen, []).append(moment)
    met = {moment.seen_before for moment in moments if moment.known}
    scale = Scale(_borders(stories))
    sheet = CallSheet()
    sheet.width = max(sheet.width, scale.width + 2 * draw.MARGIN)
    name = call_name(scenario, at)
    head = f"call {at + 1} of {len(scenario.calls)}: {name}" if name != "exit" else name
    sheet.say(head, "vk-head")
    first = next((moment for moment in moments if moment.known), None)
    if first and len(met) == 1:
        sheet.vmas(scale, first.before)
        if not first.exit:
            sheet.call(scale, first)
    for alike in groups.values():
        sheet.moments(scale, alike, before=len(met) > 1)
    words = [f"before {_strip(first.before)}"] if first and len(met) == 1 else []
    for alike in groups.values():
        versions = ", ".join([one.story.kernel.version for one in alike])
        words.append(f"{versions}: {alike[0].told}")
    return sheet.picture(head, f"{head} → {'; '.join(words)}")


# --- the attaches of a whole scenario -------------------------------------------------------------


def tally(stories: Sequence[Prediction], at: int = -1) -> str:
    """Return a table of VMAs and attaches after every call as HTML; with `at`, up to that call.

    Rules that share all that is shown share a row.
    """
    scenario = stories[0].scenario
    columns = range(len(scenario.calls) + 1)
    shared: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for story in stories:
        moments = [Moment(story, column) for column in columns]
        told: list[Callable[[Moment], str]] = [_vmas]
        told += [partial(_attaches, name) for name, _ in scenario.segments]
        seen = tuple([tuple([_so_far(one, tell, at) for one in moments]) for tell in told])
        shared.setdefault(seen, []).append(story.kernel.version)
    names = [name for name, _ in scenario.segments]
    counts = ["VMAs", *[f"nattch of {name}" if names[1:] else "nattch" for name in names]]
    heads = [_cell("th", call_name(scenario, column), column == at) for column in columns]
    rows = [f"<td></td>{''.join(heads)}"]
    for seen, versions in shared.items():
        for count, texts in zip(counts, seen, strict=True):
            cells = [_cell("td", text, column == at) for column, text in enumerate(texts)]
            who = escape(f"{', '.join(versions)} {count}")
            rows.append(f'<th scope="row">{who}</th>')
            rows[-1] += "".join(cells)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div style="overflow-x:auto"><table class="vk-tally">{body}</table></div>'


def _so_far(moment: Moment, tell: Callable[[Moment], str], at: int) -> str:
    if moment.at > at >= 0:
        return "·"
    return tell(moment) if moment.known else "?"


def _cell(kind: str, text: str, current: bool) -> str:
    words = escape(text)
    if current:
        return f'<{kind} aria-current="step"><b>{words}</b></{kind}>'
    return f"<{kind}>{words}</{kind}>"


def _vmas(moment: Moment) -> str:
    return str(len(moment.after))


def _attaches(segment: str, moment: Moment) -> str:
    nattch = moment.nattch[segment]
    if nattch == GONE:
        return "gone"
    return f"{nattch} {Mark.FAILED}" if moment.lost[segment] else str(nattch)


# Solid, dashed, dotted: lines that lie on each other, or have lost their colour, still differ.
_LINES: Final = (("#0072b2", ""), ("#d55e00", "6 3"), ("#009e73", "2 3"), ("#cc79a7", "9 3 2 3"))


def climb(scenario: str | Scenario, *rules: str) -> Picture:
    """Draw how often the scenario's first segment is attached after each call, a line a rule.

    Raises ScenarioError or UnknownKernel.
    """
    stories = predictions(scenario, rules)
    calls = len(stories[0].scenario.calls)
    segment = stories[0].scenario.segments[0].name
    lines = []
    for story in stories:
        moments = [Moment(story, at) for at in range(calls + 1)]
        lines.append([0, *[max(one.nattch[segment], 0) for one in moments]])
    return _chart(
        f"nattch of segment {segment}, call by call",
        {f"{story.kernel.version}": line for story, line in zip(stories, lines, strict=True)},
    )


def _chart(title: str, lines: dict[str, list[int]]) -> Picture:
    """Draw steps, not slopes: between two calls nothing happens."""
    sheet = Sheet()
    left, width, height, ends = 34, 560, 190, 90
    sheet.width = left + width + ends
    sheet.say(title, "vk-head")
    top = sheet.y + 10
    longest = max([len(line) for line in lines.values()])
    highest = max(1, *[max(line) for line in lines.values()])

    def x(call: int) -> float:
        return round(left + width * call / longest, 1)

    def y(value: float) -> float:
        return round(top + height * (1 - value / highest), 1)

    for value in sorted({0, (highest + 1) // 2, highest}):
        sheet.parts.append(f'<path d="M{left} {y(value)}H{left + width}"/>')
        sheet.text(left - 4 - 7.3 * len(str(value)), y(value) + 4, str(value))
    taken: list[float] = []
    for (name, line), (colour, dash) in zip(lines.items(), _LINES, strict=False):
        path = f"M{x(0)} {y(line[0])}"
        path += "".join(f"H{x(at)}V{y(value)}" for at, value in enumerate(line))
        style = f"stroke:{colour};stroke-width:3;stroke-opacity:1;fill:none"
        dashes = f";stroke-dasharray:{dash}" if dash else ""
        sheet.parts.append(f'<path d="{path}H{x(longest)}" style="{style}{dashes}"/>')
        place = y(line[-1]) + 4
        while any(abs(place - other) < 14 for other in taken):
            place -= 14
        taken.append(place)
        sheet.text(left + width + 6, place, f"{name}: {line[-1]}", "vk-head")
    sheet.y = top + height
    sheet.text(left, sheet.y + 14, "start")
    sheet.text(x(longest - 1) - 16, sheet.y + 14, "exit")
    sheet.y += 20
    told = [f"{name}: {' '.join(map(str, line[1:]))}" for name, line in lines.items()]
    return sheet.picture(title, f"{title}: {'; '.join(told)}")


# --- the life of an attach ------------------------------------------------------------------------

_MOST_WIDE: Final = 720


def life(scenario: str | Scenario, *rules: str) -> Picture:
    """Draw the life of the scenario's first segment as a strip, a column a call, a band a rule.

    Each column has the VMAs after the call, how often ->open and ->close ran, the attaches a merge
    lost, and nattch. Raises ScenarioError or UnknownKernel.
    """
    stories = predictions(scenario, rules)
    told = stories[0].scenario
    if not told.segments:
        raise ScenarioError("nothing is attached here: begin with a segment, such as seg A 12")
    segment = told.segments[0].name
    names = [call_name(told, at) for at in range(len(told.calls) + 1)]
    wide = round(max(84, *[6.1 * len(name) + 12 for name in names]))
    many = max(1, (_MOST_WIDE - 2 * draw.MARGIN) // wide)
    title = f"The life of an attach: segment {segment}"
    sheet = CallSheet()
    sheet.width = min(len(names), many) * wide + 2 * draw.MARGIN
    sheet.say(title, "vk-head")
    sheet.say(f"Hooks that ran, and {Mark.FAILED} a close that was owed and never called.")
    words = []
    for story in stories:
        sheet.skip(6)
        sheet.say(f"{story.kernel.version} · {story.kernel.rule.name}", "vk-head")
        moments = [Moment(story, at) for at in range(len(names))]
        events = [
            attaches(moments[at], segment, at and moments[at - 1]) for at in range(len(names))
        ]
        for first in range(0, len(names), many):
            for column, at in enumerate(range(first, min(first + many, len(names)))):
                _lived(sheet, draw.MARGIN + column * wide, wide, names[at], moments[at], events[at])
            sheet.y += 96
        each = [f"{name}: {event}" for name, event in zip(names, events, strict=True)]
        words.append(f"{story.kernel.version}: {', '.join(each)}")
    return sheet.picture(title, f"{title}. {'; '.join(words)}")


class Attaches(NamedTuple):
    """What a call did to the attaches of a segment: hooks that ran, calls lost, nattch after it."""

    opened: int
    closed: int
    lost: int
    nattch: int

    def __str__(self) -> str:
        ran = [f"open +{self.opened}"] * bool(self.opened)
        ran += [f"close -{self.closed}"] * bool(self.closed)
        ran += [f"{self.lost} lost {Mark.FAILED}"] * bool(self.lost)
        end = "the segment is gone" if self.nattch == GONE else f"nattch {self.nattch}"
        return f"{', '.join(ran) or 'no hook'}, {end}"


def attaches(moment: Moment, segment: str, before: Moment | Literal[0] = 0) -> Attaches | None:
    """Return what a call did to the attaches; `before` is the call before it. None: declined."""
    if not moment.known:
        return None
    now, then = moment.nattch.get(segment, 0), before.nattch.get(segment, 0) if before else 0
    lost = moment.lost[segment] - (before.lost[segment] if before else 0)
    gone = {vma.name for vma in moment.before if vma.has_close} - {vma.name for vma in moment.after}
    closed = len(gone - {vma.name for vma in moment.removed})
    return Attaches(max(now, 0) - max(then, 0) + closed, closed, lost, now)


def _lived(
    sheet: CallSheet, x: float, wide: int, name: str, moment: Moment, event: Attaches | None
) -> None:
    """Draw one column of life() from the sheet's y on."""
    y, width = sheet.y, wide - 8
    sheet.text(x, y + 10, name, "vk-small")
    if event is None:
        sheet.text(x, y + 34, "not answered", "vk-small")
        return
    end = max([vma.vm_end for vma in moment.before + moment.after], default=1)
    for vma in moment.after:
        left, right = (x + width * page / end for page in (vma.vm_start, vma.vm_end))
        box = round(left, 1), y + 18, round(right - left, 1), 18
        sheet.rect(*box, ' class="vk-fill" style="fill:#56b4e9"')
        sheet.rect(*box, ' class="vk-new"' if vma.name in moment.grown else "")
    if not moment.after:
        sheet.text(x, y + 31, "(nothing mapped)", "vk-small")
    lines = [f"open +{event.opened}"] * bool(event.opened)
    lines += [f"close -{event.closed}"] * bool(event.closed)
    for line in lines:
        sheet.text(x, y + 50, line, "vk-small")
        y += 13
    if event.lost:
        words = f"{event.lost} close {Mark.FAILED}"
        sheet.rect(x, y + 40, 6.1 * len(words) + 6, 13, ' class="vk-tag"')
        sheet.text(x + 3, y + 50, words, "vk-small")
    nattch = "destroyed" if event.nattch == GONE else f"nattch {event.nattch}"
    if moment.exit and event.nattch > 0:
        nattch += f" {Mark.FAILED}"  # nobody is left who could detach
    sheet.text(x, sheet.y + 80, nattch, "vk-head")


# --- what a kernel showed -------------------------------------------------------------------------

_LETTERS: Final = {"shanon": "S", "anon": "M", "file": "F", "memfd": "D", "fuse": "U"}


def shown(layout: Iterable[str]) -> list[VMA]:
    """Return the VMAs that lines of a recording's layout stand for, named for what is mapped."""
    vmas = []
    uses: Counter[str] = Counter()
    for line in layout:
        place, perms, pgoff, what = line.split(maxsplit=3)
        start, end = map(int, place.split("-"))
        kind, _, name = what.partition(":")
        letter = name[:1] if kind == "shm" else _LETTERS.get(kind, "M")
        uses[letter] += 1
        flags = parse_flags(perms[:3].replace("-", "") + perms[3:].replace("p", "") or "-")
        file = name if kind == "shm" else None if kind in ("anon", "shanon") else kind
        number = uses[letter] - 1
        vmas.append(
            VMA(
                f"{letter}.{number}" if number else letter,
                start,
                end,
                flags,
                file,
                start if file is None else int(pgoff),
                CLOSE_OPS if kind in ("shm", "fuse") else None,
                anon_pgoff=start,
            )
        )
    return vmas


def last_layout(recording: Recording) -> tuple[str, ...]:
    """Return the layout after the last call."""
    return recording.steps[-1].layout


def evidence(experiments: Iterable[Experiment], title: str = "") -> Picture:
    """Draw the experiments of a fingerprint: the control on the left, memory with close right."""
    columns = (CallSheet(), CallSheet())
    heads = ("control: no close", "SysV shm: has close")
    for sheet, head in zip(columns, heads, strict=True):
        sheet.say(f"{title} · {head}" if title else head, "vk-head")
    words = []
    # The question that only the control is asked comes last, so that the rows stand side by side.
    for one in sorted(experiments, key=lambda one: one.name == "inside"):
        vmas = shown(one.layout)
        number = f"{len(vmas)} VMA{'' if len(vmas) == 1 else 's'}"
        sheet = columns[one.close]
        sheet.say(f"{one.name}: {one.recording.steps[-1].call} → {number}")
        sheet.row(Scale([0, 12, *[vma.vm_start for vma in vmas]]), vmas)
        memory = "with close" if one.close else "control"
        words.append(f"{one.name} ({memory}): {strip(vmas)} {number}")
    name = title or "Evidence"
    return draw.beside(columns).picture(name, f"{name}: {'; '.join(words)}")
