"""Widgets for programs of calls: scrub() goes through one, compose() makes one and has it judged.

A face; previous: call_pictures.py. The rules of the house are those of widgets.py.

What only this machine can show never reaches a stored lesson: scrub() and compose() leave their
predictions there, the same everywhere; fingerprint() and judge() a sentence that always holds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import ipywidgets

from vmakernel import live, recorded
from vmakernel.call_pictures import (
    Moment,
    call_name,
    call_picture,
    evidence,
    predictions,
    read,
    tally,
)
from vmakernel.explain import Mark
from vmakernel.judge_live import difference, running
from vmakernel.kernels import MOMENTS
from vmakernel.lesson import Here
from vmakernel.live import Experiment, Fingerprint
from vmakernel.predict import Prediction
from vmakernel.scenario import Recording, Scenario, ScenarioError, parse_call
from vmakernel.widgets import Panel, guarded

# A version for each moment of history.
RULES: Final = tuple(MOMENTS.values())
STAND_IN: Final = "6.12.117"  # the recorded kernel that is shown where no kernel can be asked

_TABLE: Final = (
    "<style>.vk-tally{border-collapse:collapse;font-size:90%}.vk-tally th,.vk-tally td"
    "{text-align:left;padding:1px 8px;border-bottom:1px solid;vertical-align:bottom}"
    ".vk-tally [aria-current]{border-left:2px solid;border-right:2px solid}</style>"
)


# --- going through a program ----------------------------------------------------------------------


class Scrub(Panel):
    """A program of calls under some rules: `call` is the one shown, the last is the exit."""

    def __init__(self, scenario: str | Scenario, *rules: str) -> None:
        super().__init__()
        self.stories: tuple[Prediction, ...] = ()
        self._drawn: tuple[tuple[Prediction, ...], int] | None = None
        self.call = ipywidgets.IntSlider(value=1, min=1, max=1, description="call", readout=False)
        self.back = ipywidgets.Button(description="◀ back", tooltip="The call before")
        self.forth = ipywidgets.Button(description="next ▶", tooltip="The next call")
        self.table, self.picture = ipywidgets.HTML(), ipywidgets.HTML()
        self.call.observe(self._moved, "value")
        self.back.on_click(self._back)
        self.forth.on_click(self._forth)
        buttons = ipywidgets.HBox([self.back, self.call, self.forth])
        self.show(buttons, self.message, self.picture, self.table)
        self.set(scenario, *rules)

    @guarded
    def set(self, scenario: str | Scenario, *rules: str, last: bool = False) -> None:
        """Take another program; the call stays the same where there is one, or is the `last`."""
        try:
            self.stories = predictions(scenario, rules or RULES)
        except ScenarioError as error:
            self.stories = ()
            self.complain(str(error))
        self.call.max = len(self.stories[0].scenario.calls) + 1 if self.stories else 1
        if last:
            self.call.value = max(self.call.max - 1, 1)
        self._moved()

    # At either end the buttons do nothing, and stay: one that went grey would lose the focus, and
    # the next key would be a command to JupyterLab.
    @guarded
    def _back(self, _: object) -> None:
        self.call.value -= 1

    @guarded
    def _forth(self, _: object) -> None:
        self.call.value += 1

    def _moved(self, _: object = None) -> None:
        now = self.stories, self.call.value
        if now != self._drawn:
            self._drawn = now
            self.picture.value = self._picture
            self.table.value = self._table

    @property
    def _picture(self) -> str:
        return call_picture(self.stories, self.call.value - 1).svg if self.stories else ""

    @property
    def _table(self) -> str:
        return _TABLE + tally(self.stories, self.call.value - 1) if self.stories else ""

    @property
    def svg(self) -> str:
        """The picture and the table shown now."""
        return f"<div>{self._picture}{self._table}</div>"

    @property
    def moments(self) -> list[Moment]:
        """What the call shown did, under each rule."""
        return [Moment(story, self.call.value - 1) for story in self.stories]

    @property
    def text(self) -> str:
        """The call, and what it left under each rule."""
        if not self.stories:
            return "no program"
        scenario, at = self.stories[0].scenario, self.call.value - 1
        name = call_name(scenario, at)
        head = f"call {at + 1} of {len(scenario.calls)}, {name}" if name != "exit" else name
        return f"{head}: {'; '.join(alike(self.moments))}"


def scrub(scenario: str | Scenario, *rules: str) -> Scrub:
    """Go through a program of calls under some rules (without any: one for each moment).

    What is wrong with the program is said in the widget.
    """
    return Scrub(scenario, *rules)


def alike(moments: Sequence[Moment]) -> list[str]:
    """Say what came of a call, the rules under which the same came of it together."""
    groups: dict[str, list[str]] = {}
    for one in moments:
        groups.setdefault(one.left, []).append(one.story.kernel.version)
    return [f"{', '.join(versions)}: {told}" for told, versions in groups.items()]


# --- this machine ---------------------------------------------------------------------------------


class Pictured(Here):
    """What only this machine can show, with pictures: `full` is HTML already."""

    def __init__(self, text: str, summary: str, full: str) -> None:
        super().__init__(text, summary, "")
        self.html = f"<details><summary>{escape(summary)}</summary>{full}</details>"

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, Any]:
        bundle = dict(ipywidgets.HTML(self.html)._repr_mimebundle_())
        return bundle | {"text/plain": self.text}


# The experiments of a fingerprint, as they were recorded: without close, and with it.
_RECORDED: Final = {
    "case 5": "S1.case5",
    "case 4": "S1.case4",
    "inside": "S1.inside",
    "whole middle": "S2.case6",
}


def recorded_experiments(version: str) -> tuple[Experiment, ...]:
    """Return a recorded kernel's answers to the questions of live.fingerprint().

    Raises KeyError, naming what there is.
    """
    found = []
    for close, memory in (False, "shanon"), (True, "shm"):
        for name, scenario in _RECORDED.items():
            if name != "inside" or not close:
                recording = recorded.calls(version, f"{scenario}.{memory}")
                found.append(Experiment(name, close, recording))
    return tuple(found)


# The last fingerprint: a kernel stays the same as long as a program runs on it.
_TAKEN: list[Fingerprint] = []


def _taken(*, anew: bool = False) -> Fingerprint:
    if anew or not _TAKEN or _TAKEN[0].verdict is None:
        _TAKEN[:] = [live.fingerprint()]
    return _TAKEN[0]


class Print(Pictured):
    """The fingerprint of this machine's kernel; where it cannot be taken, a recorded kernel's."""

    def __init__(self) -> None:
        self.taken: Fingerprint = _taken(anew=True)
        shown, told = self.taken.experiments, str(self.taken).partition("\n")[0]
        where = f"Linux {self.taken.kernel}"
        if not shown:
            shown, where = recorded_experiments(STAND_IN), f"recorded on Linux {STAND_IN}"
        super().__init__(
            "this kernel's fingerprint: one of the three rules, or the reason why there is none",
            told,
            f"<p>{escape(self.taken.reason)}</p>{evidence(shown, where).svg}",
        )

    @property
    def verdict(self) -> str | None:
        """One of live.VERDICTS, or None; `taken.reason` then says why."""
        return self.taken.verdict


def fingerprint() -> Print:
    """Find out which rule the running kernel follows, from layouts alone; nothing stays behind."""
    return Print()


def recorded_twin(scenario: Scenario, version: str = STAND_IN) -> Recording | None:
    """Return what a recorded kernel did with just this program, if it is one of EXAMPLES."""
    for name in EXAMPLES.values():
        recording = recorded.calls(version, name)
        twin = recording.program()
        if (twin.segments, twin.calls) == (scenario.segments, scenario.calls):
            return recording
    return None


class Judgement(Pictured):
    """What a kernel did with a program, and which rules predicted just that.

    `real` is None where there was no kernel to ask, and no recording either; `source` says which it
    is, or why. `agree` are the versions whose prediction holds in every call.
    """

    def __init__(self, program: str | Scenario, *rules: str, may_leak: bool = False) -> None:
        scenario = read(program)
        own = []
        with contextlib.suppress(live.Unsupported):
            own.append(running().version)
        versions = dict.fromkeys([*(rules or RULES), *own])
        self.stories = predictions(scenario, versions)
        self.real: Recording | None
        try:
            if not may_leak and costs(scenario):
                raise live.Refused(PRICE)
            self.real = live.run(scenario)
            self.source = f"this machine, Linux {os.uname().release}"
        except live.LiveError as error:
            self.real = recorded_twin(scenario)
            known = f"recorded on Linux {STAND_IN}; " if self.real else ""
            self.source = f"{known}this machine was not asked: {error}"
        self.differences = {
            story.kernel.version: difference(story, self.real) if self.real else self.source
            for story in self.stories
        }
        self.agree = [version for version, other in self.differences.items() if not other]
        super().__init__(
            "a kernel's judgement: the rules that foretold every call, or why it was not asked",
            f"{', '.join(self.agree) or 'no rule'} predicted every call ({self.source})"
            if self.real
            else self.source,
            self.table(),
        )

    def table(self) -> str:
        """Return what became of each prediction, and what the kernel did, as HTML."""
        rows = []
        for story in self.stories:
            version = story.kernel.version
            rule = f"{version} · {story.kernel.rule.name}"
            other = self.differences[version]
            said = escape(other) if other else f"every call as predicted {Mark.HELD}"
            rows.append(f"<tr><td>{escape(rule)}</td><td>{said}</td></tr>")
        did = escape(recorded.shown(self.real)) if self.real else ""
        return f'{_TABLE}<table class="vk-tally">{"".join(rows)}</table><pre>{did}</pre>'


def judge(program: str | Scenario, *rules: str, may_leak: bool = False) -> Judgement:
    """Run a program on this machine's kernel and hold every rule's prediction against it.

    Raises ScenarioError or UnknownKernel. A program that could lose an attach here, and with it
    leave a segment in memory until the machine restarts, is only run with `may_leak`.
    """
    return Judgement(program, *rules, may_leak=may_leak)


PRICE: Final = (
    "under Linux 6.4 to 6.6.23 and 6.7 to 6.7.11, one of which this may be, the program "
    "loses an attach for good, and its segment stays in memory until the machine restarts; "
    "allow it to leave a segment behind first"
)


def costs(scenario: Scenario) -> bool:
    """True where a leaky kernel would lose an attach for good, and this machine may have one."""
    (story,) = predictions(scenario, ["may_remove_vma"])
    left = story.nattch_after_exit.values()
    if story.refused is None and not any(count > 0 for count in left):
        return False
    taken = _taken()
    # Without experiments there is no kernel to run anything on either.
    return bool(taken.experiments) and taken.verdict in (None, live.MAY_REMOVE_VMA)


# --- a program of your own ------------------------------------------------------------------------

EXAMPLES: Final = {
    "part of the middle, next to prev (case 5)": "S1.case5.shm",
    "part of the middle, next to next (case 4)": "S1.case4.shm",
    "the whole middle (case 6)": "S2.case6.shm",
    "the reproducer of the leak (case 7)": "S5.fixed",
    "growing in place": "S3.expand.shm",
}
# A first draft for each call that a click adds.
_DRAFTS: Final = {
    "mprotect": "mprotect 4 4 r",
    "shmat": "shmat A 0",
    "shmdt": "shmdt 0",
    "munmap": "munmap 4 4",
    "mmap": "mmap 12 4 rw s anon",
    "mremap": "mremap 0 4 8",
    "madvise": "madvise 4 4 dontdump",
    "mlock": "mlock 4 4",
    "munlock": "munlock 4 4",
    "touch": "touch 0 4",
    "fork": "fork",
    "rmid": "rmid A",
}


class Composer(Panel):
    """A program of the reader's own: predicted under every rule, run on this machine on request.

    `program` is its text; `run` asks the machine, unless an attach could be lost for good and
    `may_leak` is not ticked.
    """

    def __init__(self, program: str) -> None:
        super().__init__()
        self.example = ipywidgets.Dropdown(
            options=["choose ...", *EXAMPLES], description="start from"
        )
        self.example.layout.width = "430px"
        self.program = ipywidgets.Textarea(value=program.strip(), rows=8, description="program")
        self.program.add_class("vk-mono")
        self.op = ipywidgets.Dropdown(options=list(_DRAFTS), description="add")
        self.line = ipywidgets.Text(value=_DRAFTS["mprotect"])
        self.line.add_class("vk-mono")
        self.op.layout.width, self.line.layout.width = "220px", "220px"
        self.add = ipywidgets.Button(description="add this call")
        self.drop = ipywidgets.Button(description="take the last away")
        self.drop.layout.width = "auto"
        self.may_leak = ipywidgets.Checkbox(
            description="it may leave a segment behind", indent=False
        )
        self.run = ipywidgets.Button(description="run on this machine")
        self.run.layout.width = "auto"
        self.live = ipywidgets.HTML()
        self.scrub = Scrub(self.program.value)
        self.example.observe(self._chosen, "value")
        self.program.observe(self._edited, "value")
        self.op.observe(self._drafted, "value")
        self.add.on_click(self._add)
        self.drop.on_click(self._drop)
        self.run.on_click(self._run)
        self.show(
            self.example,
            self.program,
            ipywidgets.HBox([self.op, self.line, self.add, self.drop]),
            self.message,
            self.scrub.box,
            ipywidgets.HBox([self.run, self.may_leak]),
            self.live,
        )
        self.scrub.set(self.program.value, last=True)

    @guarded
    def _chosen(self, _: object) -> None:
        if self.example.value in EXAMPLES:
            recording = recorded.calls(STAND_IN, EXAMPLES[self.example.value])
            self.program.value = str(recording.program()).partition("\n")[2].strip()

    @guarded
    def _drafted(self, _: object) -> None:
        self.line.value = _DRAFTS[self.op.value]

    @guarded
    def _edited(self, _: object) -> None:
        self.live.value = ""
        self.scrub.set(self.program.value, last=True)  # what the program left

    @guarded
    def _add(self, _: object) -> None:
        try:
            call = parse_call(self.line.value)
        except ScenarioError as error:
            self.complain(str(error))
        else:
            self.program.value = f"{self.program.value.rstrip()}\n{call}"

    @guarded
    def _drop(self, _: object) -> None:
        kept = self.program.value.rstrip().rpartition("\n")[0]
        if kept:
            self.program.value = kept

    @guarded
    def _run(self, _: object) -> None:
        self.live.value = ""
        try:
            scenario = read(self.program.value)
        except ScenarioError as error:
            self.complain(str(error))
            return
        judged = judge(scenario, may_leak=self.may_leak.value)
        told = f"<p><b>{escape(judged.summary)}</b></p>"
        self.live.value = f'<div role="status">{told}{judged.table()}</div>'

    @property
    def svg(self) -> str:
        """The picture and the table shown now."""
        return self.scrub.svg

    @property
    def text(self) -> str:
        """The program, and what it leaves under each rule."""
        if not self.scrub.stories:
            return repr(self.scrub)
        calls = "; ".join(map(str, self.scrub.stories[0].scenario.calls))
        return f"{calls} → {'; '.join(alike(self.scrub.moments))}"


def compose(program: str = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw") -> Composer:
    """Write a program of calls, see what every rule makes of it, run it on this machine."""
    return Composer(program)
