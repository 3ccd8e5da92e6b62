"""What a kernel does with a scenario: every call's errno, the layout after it, the attaches.

Previous: calls.py; next: run.py.

A prediction has the form of a recording, so that the two can be compared line for line. It keeps
for every call the decisions the merge code made, which a recording cannot show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from vmakernel import calls
from vmakernel.callers import Result
from vmakernel.kernels import Kernel
from vmakernel.process import Declined, Errno, Process
from vmakernel.scenario import Recording, Scenario, Step
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA


@dataclass(frozen=True, slots=True)
class Predicted:
    """One call: what a recording shows of it, the decisions behind it, the VMAs after it."""

    step: Step
    results: tuple[Result, ...]
    vmas: tuple[VMA, ...]

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
    max_map_count: int | None = None,
    configured: bool = False,
) -> Prediction:
    """Return what `kernel` does with `scenario`, for root on a machine with memory to spare.

    `max_map_count` and `configured` are those of Process.
    """
    process = Process(kernel, scenario.segments, max_map_count=max_map_count, configured=configured)
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
        step = Step(call, errno, process.layout(), ret, nattch, note)
        steps.append(Predicted(step, tuple(process.results), process.space.vmas))
    return Prediction(scenario, kernel, tuple(steps), process.exit())
