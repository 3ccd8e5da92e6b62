"""A decision in words: what was asked, what decided, who grew, who went, what was owed.

Previous: replay.py; next: scenario.py, where whole calls begin.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from vmakernel import flags as vm
from vmakernel.callers import Result
from vmakernel.kernels import Growth, Kernel
from vmakernel.layout import strip
from vmakernel.outcome import Outcome, Refusal
from vmakernel.predicates import ORDER, Asked, Verdict
from vmakernel.replay import Operation, parse_scenario, run
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA


class Mark(StrEnum):
    """How one check of a predicate went."""

    HELD = "✓"
    FAILED = "✗"
    NOT_ASKED = "–"
    NOT_REACHED = "·"


class Check(NamedTuple):
    """One check as it stood in a predicate of this kernel."""

    name: Verdict
    mark: Mark
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.mark}" + (f" {self.detail}" if self.detail else "")


class Step(NamedTuple):
    """One operation: the VMAs before and after it, and what was decided."""

    operation: Operation
    before: tuple[VMA, ...]
    result: Result
    after: tuple[VMA, ...]
    removed: tuple[str, ...]
    closed: tuple[str, ...]
    leaked: tuple[str, ...]


def trace(kernel: Kernel, scenario: str) -> list[Step]:
    """Run `scenario` (``VMA* | OP; OP``) under `kernel` and return every step.

    Raises NotationError or SpaceError.
    """
    _, vmas, operations = parse_scenario(scenario)
    space = AddressSpace(vmas)
    steps = []
    for operation in operations:
        before, log = space.vmas, space.log
        result = run(space, kernel, operation)
        steps.append(
            Step(
                operation,
                before,
                result,
                space.vmas,
                space.log.removed[len(log.removed) :],
                space.log.closed[len(log.closed) :],
                space.log.leaked[len(log.leaked) :],
            )
        )
    return steps


# --- one predicate ------------------------------------------------------------------------------


def checks(kernel: Kernel, asked: Asked) -> list[Check]:
    """Return the checks behind one question, in the kernel's order, the deciding one marked ✗."""
    if asked.where in ("can_merge_remove_vma", "vma_merge"):
        failed = asked.verdict is Verdict.CLOSE
        detail = f"{asked.vma.name} would be removed" + (" and has ->close" if failed else "")
        return [Check(Verdict.CLOSE, Mark.FAILED if failed else Mark.HELD, detail)]
    out = []
    mark = Mark.HELD
    for name in ORDER:
        if name is asked.verdict:
            out.append(Check(name, Mark.FAILED, _why(asked)))
            mark = Mark.NOT_REACHED
        elif _exists(kernel, name, asked.role):
            silent = name is Verdict.CLOSE and not _asks_close(kernel, asked.role)
            out.append(Check(name, Mark.NOT_ASKED if silent else mark))
    return out


def _exists(kernel: Kernel, name: Verdict, role: str) -> bool:
    """True where this kernel has the check at all, or a learner's rule brings it back."""
    if name is Verdict.UFFD:
        return kernel.has_uffd
    if name is Verdict.NAME:
        return kernel.has_anon_name
    return name is not Verdict.CLOSE or not kernel.ranges or _asks_close(kernel, role)


def _asks_close(kernel: Kernel, role: str) -> bool:
    return kernel.rule.before if role == "next" else kernel.rule.after


_WHY: Final[dict[Verdict, str]] = {
    Verdict.POLICY: "another memory policy",
    Verdict.FILE: "another file",
    Verdict.CLOSE: "has ->close",
    Verdict.UFFD: "another userfaultfd context",
    Verdict.NAME: "another name",
    Verdict.ANON_VMA: "its anon_vma does not suit",
    Verdict.PGOFF: "offsets do not follow on",
}


def _why(asked: Asked) -> str:
    vma = asked.vma
    if asked.verdict is Verdict.FLAGS:
        return f"{vma.name} has {vm.print_flags(vma.vm_flags)}"
    return _WHY[asked.verdict]


# --- one decision -------------------------------------------------------------------------------


def verdict(kernel: Kernel, step: Step) -> str:
    """Say in one sentence how a step ended."""
    status, vma, outcome = step.result
    kind = step.operation.kind
    if kind == "unmap":
        closed = f"; ->close runs for {_list(step.closed)}" if step.closed else ""
        return (
            "unmapped" if status == "unmapped" else "refused: a driver forbids the split"
        ) + closed
    if status == "same":
        return "nothing to change: the flags are as asked for already"
    if status == "partial":
        return "stopped half way: the range runs into a hole, or a driver forbids a split"
    if status == "changed":
        ends = "stays" if len(step.after) == len(step.before) else "becomes"
        return f"no merge: {_refusal(outcome)}; the range {ends} a VMA of its own"
    if outcome is None:
        if status == "merged" and vma is not None:
            return f"{vma.name} grows in place; the merge code is not asked ({_growth(kernel)})"
        return "refused: something is mapped there" if kind == "mremap" else "nothing mapped there"
    if not outcome.merged:
        case = f"case {outcome.case} " if outcome.case else ""
        end = "; the growth fails with -ENOMEM" if kind == "mremap" else ""
        return f"{case}refused: {_refusal(outcome)}{end}"
    return "; ".join(_deeds(outcome))


def _growth(kernel: Kernel) -> str:
    if kernel.rule.mremap is Growth.MERGE_UNLESS_CLOSE:
        return "the workaround of d014cd7c1c35"
    return "mremap() before v6.1"


def _refusal(outcome: Outcome | None) -> str:
    if outcome is None or outcome.refusal is Refusal.NONE:
        return "nothing to merge with"
    if outcome.refusal is not Refusal.NO_MATCH:
        return outcome.refusal.value
    failed = [asked for asked in outcome.asked if asked.verdict is not Verdict.OK]
    told = [f"{asked.role} {asked.vma.name} fails on {asked.verdict}" for asked in failed]
    return f"no neighbour matches ({_list(told)})"


def _deeds(outcome: Outcome) -> list[str]:
    deeds = [f"case {outcome.case}: {_list([vma.name for vma in outcome.grown])} grows"]
    deeds += [f"{vma.name} shrinks" for vma in outcome.shrunk]
    if outcome.removed:
        names = [vma.name for vma in outcome.removed]
        deeds.append(f"{_list(names)} {'vanishes' if len(names) == 1 else 'vanish'}")
    return deeds


def owed(step: Step) -> str:
    """Say what became of the ->close calls that the step owed."""
    if step.leaked:
        return f"{_list(step.leaked)}: its ->close was owed and is never called {Mark.FAILED}"
    if step.closed:
        return f"{_list(step.closed)}: ->close was called {Mark.HELD}"
    if step.removed:
        return f"{_list(step.removed)} had no ->close: nothing owed"
    return "nobody vanished: nothing owed"


def _list(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + " and " + names[-1]


def questions(kernel: Kernel, outcome: Outcome | None) -> list[str]:
    """Return a line for each question put: the checks up to the deciding one, and the answer."""
    if outcome is None:
        return []
    lines = []
    for asked in outcome.asked:
        reached = [check for check in checks(kernel, asked) if check.mark is not Mark.NOT_REACHED]
        answer = "yes" if asked.verdict is Verdict.OK else "no"
        told = "  ".join(map(str, reached))
        lines.append(f"{asked.role} {asked.vma.name}: {told}  → {asked.where}: {answer}")
    return lines


# --- side by side -------------------------------------------------------------------------------


def explain(kernels: Sequence[Kernel], scenario: str, width: int = 100) -> str:
    """Return what each kernel makes of `scenario`, side by side, in `width` columns.

    Raises NotationError or SpaceError.
    """
    identity, vmas, operations = parse_scenario(scenario)
    traces = [trace(kernel, scenario) for kernel in kernels]
    title = f"{identity.rstrip(':')}: " if identity else ""
    lines = [
        f"{'scenario':10}{title}{' '.join(map(str, vmas)) or '-'}",
        f"{'before':10}{strip(AddressSpace(vmas).vmas)}",
    ]
    column = max((width - 10) // max(len(kernels), 1) - 2, 26)
    for index, operation in enumerate(operations):
        cells = [
            _cell(kernel, steps[index], column)
            for kernel, steps in zip(kernels, traces, strict=True)
        ]
        lines += ["", f"{'call':10}{operation}"]
        heads = [_head(kernel) for kernel in kernels]
        if len(kernels) * (column + 2) + 10 > width:
            for head, cell in zip(heads, cells, strict=True):
                lines += _table([head], [cell], width - 12)
        else:
            lines += _table(heads, cells, column)
    return "\n".join(line.rstrip() for line in lines)


def _head(kernel: Kernel) -> str:
    commit = f", {kernel.rule.commit}" if kernel.rule.commit else ""
    return f"{kernel.version}: {kernel.rule.name}{commit}"


def _cell(kernel: Kernel, step: Step, width: int) -> dict[str, list[str]]:
    asked = questions(kernel, step.result.outcome)
    return {
        "after": [strip(step.after)],
        "outcome": [verdict(kernel, step)],
        "->close": [owed(step)],
        "asked": asked or ["nobody"],
    }


def _table(heads: list[str], cells: list[dict[str, list[str]]], column: int) -> list[str]:
    titled = [{"": [head, "─" * column], **cell} for head, cell in zip(heads, cells, strict=True)]
    lines = []
    for row in titled[0]:
        wrapped = [
            [line for text in cell[row] for line in textwrap.wrap(text, column) or [""]]
            for cell in titled
        ]
        for index in range(max(map(len, wrapped))):
            parts = [block[index] if index < len(block) else "" for block in wrapped]
            label = row if index == 0 else ""
            lines.append(f"{label:10}" + "  ".join([part.ljust(column) for part in parts]))
    return lines
