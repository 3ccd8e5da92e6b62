"""Commit 714965ca8252 (v6.4) as a change to Python: `before.py`, `after.py`, and their diff.

`existing.py` is what became of it in v6.12 (01c373e9a5ce).

All three retell what matters for mappings that nobody has written to: no anon_vma and no memory
policy.
Left out, too: VM_SOFTDIRTY, which these versions ignore when they compare flags.
`agree` holds them against the engine, which retells all of it.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from vmakernel.callers import propose
from vmakernel.kernels import kernel
from vmakernel.patch import after, before, existing
from vmakernel.predicates import Verdict, ask_next, ask_prev
from vmakernel.replay import parse_scenario
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA, Proposal

__all__ = ["after", "agree", "before", "diff", "existing", "proposal"]


def diff(context: int = 1) -> str:
    """Return the patch: the lines that go (-) and come (+), with `context` lines around each."""
    old, new = (
        Path(str(side.__file__)).read_text("utf-8").splitlines() for side in (before, after)
    )
    lines = list(difflib.unified_diff(old[2:], new[2:], n=context, lineterm=""))[2:]
    told = ["" if line.startswith("@@") else line.rstrip() for line in lines]
    return "\n".join(told).strip("\n")


def agree(retold: ModuleType, rule: str, scenarios: Iterable[str]) -> int:
    """Return how many questions `retold` answers as the engine does under `rule`.

    Raises AssertionError at the first that it answers otherwise.
    """
    count = 0
    for scenario in scenarios:
        asked = proposal(scenario)
        for one in ask_prev(kernel(rule), asked) + ask_next(kernel(rule), asked):
            answer = getattr(retold, one.where)(one.vma, asked)
            assert answer == (one.verdict is Verdict.OK), f"{scenario}: {one}"
            count += 1
    return count


def proposal(scenario: str) -> Proposal:
    """Return what the first operation of `scenario` (new or modify) proposes."""
    _, vmas, (operation, *_) = parse_scenario(scenario)
    space = AddressSpace(vmas)
    start, end, vm_flags = operation.start, operation.end, operation.vm_flags or 0
    _, curr, _ = space.neighbours(start, end)
    if curr is None:
        file, pgoff = operation.attributes.vm_file, operation.attributes.vm_pgoff or 0
        curr = VMA("new", start, end, vm_flags, file, pgoff, anon_pgoff=start)
    return propose(space, curr, start, end, vm_flags)
