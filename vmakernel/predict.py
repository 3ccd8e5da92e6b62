"""What a kernel does with a scenario: every call's errno, the layout after it, the attaches.

Previous: calls.py; next: run.py.

A prediction has the form of a recording, so that the two can be compared line for line. It keeps
for every call the decisions the merge code made, which a recording cannot show. Layouts are not
kept: what each call changed is, and they are made from that when somebody looks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from vmakernel import calls
from vmakernel import flags as vm
from vmakernel.callers import Result
from vmakernel.kernels import Kernel
from vmakernel.process import UNKNOWN, Declined, Errno, Machine, Process, layout_line
from vmakernel.scenario import Call, Recording, Scenario, Step
from vmakernel.space import AddressSpace
from vmakernel.tree import VmaTree
from vmakernel.vma import VMA


class _Past:
    """The VMAs after any change of an address space; cheapest when asked in order."""

    def __init__(self, space: AddressSpace) -> None:
        self.space, self.at = space, 0
        self.tree = VmaTree()

    def after(self, mark: int) -> VmaTree:
        """Return the VMAs as they were when the space had this mark."""
        if mark < self.at:
            self.at, self.tree = 0, VmaTree()
        for gone, come in self.space.changes(self.at, mark):
            for vma in gone:
                self.tree.remove(vma)
            for vma in come:
                self.tree.add(vma)
        self.at = mark
        return self.tree


@dataclass(frozen=True, slots=True)
class Predicted:
    """One call: what it gave, the decisions behind it, and what is mapped after it."""

    call: Call
    errno: str
    ret: int | None
    nattch: Mapping[str, int] | None
    note: str | None
    results: tuple[Result, ...]
    _past: _Past = field(repr=False, compare=False)
    _mark: int = field(repr=False, compare=False)

    @property
    def vmas(self) -> tuple[VMA, ...]:
        """The VMAs after it."""
        return tuple(self._past.after(self._mark))

    def first(self, most: int) -> tuple[tuple[str, ...], int]:
        """Return the first so many lines of the layout, and how many VMAs there are in all."""
        tree = self._past.after(self._mark)
        return tuple([layout_line(vma) for vma in islice(tree, most)]), len(tree)

    @property
    def step(self) -> Step:
        """What a recording shows of it."""
        layout = tuple([layout_line(vma) for vma in self._past.after(self._mark)])
        return Step(self.call, self.errno, layout, self.ret, self.nattch, self.note)

    @property
    def space(self) -> str:
        """The address space after it, as repr() shows one."""
        return repr(AddressSpace(self.vmas))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What `kernel` does with `scenario`; `refused` says why it was declined, None if it was not.

    A declined scenario has the steps up to the call that was declined.
    """

    scenario: Scenario
    kernel: Kernel
    steps: tuple[Predicted, ...]
    nattch_after_exit: Mapping[str, int]
    refused: str | None = None

    @property
    def recording(self) -> Recording:
        """The prediction in the form of a recording."""
        return Recording(
            self.scenario.name,
            dict(self.scenario.segments),
            tuple([predicted.step for predicted in self.steps]),
            self.nattch_after_exit,
        )

    def to_json(self) -> str:
        """Return one line of JSON, in the recorded form, or with the reason for declining."""
        if self.refused is None:
            return self.recording.to_json()
        refused = {"scenario": self.scenario.name, "refused": self.refused}
        return json.dumps(refused, ensure_ascii=False, separators=(",", ":"))


def predict(
    scenario: Scenario,
    kernel: Kernel,
    *,
    machine: Machine = UNKNOWN,
    max_map_count: int | None = None,
) -> Prediction:
    """Return what `kernel` does with `scenario`, for root on a machine with memory to spare.

    `machine` and `max_map_count` are those of Process.
    """
    unknown = _unknown(scenario, kernel, machine)
    if not unknown:
        return _predict(scenario, kernel, machine, max_map_count)
    without, having = [
        _predict(scenario, kernel, machine._replace(**{unknown: has}), max_map_count)
        for has in (False, True)
    ]
    return _agreed(without, having, unknown)


def _predict(
    scenario: Scenario, kernel: Kernel, machine: Machine, max_map_count: int | None
) -> Prediction:
    process = Process(kernel, scenario.segments, max_map_count=max_map_count, machine=machine)
    past = _Past(process.space)
    steps: list[Predicted] = []
    for call in scenario.calls:
        errno, note, ret = "", None, None
        try:
            ret = calls.do(process, call)
        except Errno as error:
            errno, note = error.name, error.note
        except Declined as why:
            return Prediction(scenario, kernel, tuple(steps), {}, f"'{call}': {why}")
        nattch = process.nattch() if process.segments else None
        mark = process.space.mark()
        steps.append(Predicted(call, errno, ret, nattch, note, tuple(process.results), past, mark))
    return Prediction(scenario, kernel, tuple(steps), process.exit())


# --- what is not known of the machine ------------------------------------------------------------

_WHY = {
    "pkeys": "it depends on whether the CPU has protection keys, which execute-only memory takes",
    "softdirty": "it depends on whether the kernel tracks soft-dirty pages",
}


def _unknown(scenario: Scenario, kernel: Kernel, machine: Machine) -> str:
    """Return what is not known of the machine and may count, "" if nothing."""
    executes = any(getattr(call, "prot", "") == "x" for call in scenario.calls)
    if machine.pkeys is None and kernel.exec_keys and executes:
        return "pkeys"
    counts = not (kernel.absent_flags | kernel.ignored_flags) & vm.VM_SOFTDIRTY
    return "softdirty" if machine.softdirty is None and counts else ""


def _agreed(without: Prediction, having: Prediction, unknown: str) -> Prediction:
    """Return the prediction as far as it is the same with and without."""
    why = f"{_WHY[unknown]}; say which with --has"
    ends = [_ends(without), _ends(having)]
    for number, (one, other) in enumerate(zip(*ends, strict=False)):
        if one != other:
            steps = without.steps[:number]
            refused = f"'{without.scenario.calls[number]}': {why}"
            return Prediction(without.scenario, without.kernel, steps, {}, refused)
    return min(without, having, key=lambda prediction: len(prediction.steps))


def _ends(prediction: Prediction) -> list[tuple[object, ...]]:
    """Return what each call shows to have done."""
    before = 0
    shown: list[tuple[object, ...]] = []
    for one in prediction.steps:
        change: Counter[str] = Counter()
        for gone, come in one._past.space.changes(before, one._mark):
            change.update(map(layout_line, come))
            change.subtract(map(layout_line, gone))
        before = one._mark
        changed = frozenset([*change.items()]) - {(line, 0) for line in change}
        shown.append((one.errno, one.ret, one.nattch, one.note, changed))
    return shown
