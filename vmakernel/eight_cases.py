"""vma_merge() as it was up to v6.11: one function, eight cases.

Previous: geometry.py, which draws the cases; next: ranges.py.
"""

from vmakernel.geometry import take_both, take_next, take_next_upwards, take_prev
from vmakernel.kernels import Kernel
from vmakernel.outcome import Outcome, Refusal, no_match, refused
from vmakernel.predicates import (
    Asked,
    Verdict,
    ask_next,
    ask_prev,
    compatible_anon_vmas,
)
from vmakernel.vma import VMA, Proposal


def vma_merge(kernel: Kernel, proposal: Proposal) -> Outcome:
    """Decide whether and how a range merges with its neighbours (vma_merge(), v2.6.12 to v6.11)."""
    if proposal.vm_flags & kernel.special_flags:
        return refused((), Refusal.SPECIAL)
    before, after = ask_prev(kernel, proposal), ask_next(kernel, proposal)
    left, right = match(before), match(after)
    if left and right and not compatible_anon_vmas(left.anon_vma, right.anon_vma):
        right = None
    return _pick_case(kernel, proposal, left, right, questions(before, after))


def mmap_expand(kernel: Kernel, proposal: Proposal) -> Outcome:
    """Decide a new mapping as mmap_region() and do_brk_flags() did from v6.1 to v6.11.

    Next is asked first; prev is then compared with the anon_vma of next, if next matched.
    """
    if proposal.vm_flags & kernel.special_flags:
        return refused((), Refusal.SPECIAL)
    after = ask_next(kernel, proposal)
    right = match(after)
    if right:
        proposal = proposal._replace(anon_vma=right.anon_vma)
    before = ask_prev(kernel, proposal)
    return _pick_case(kernel, proposal, match(before), right, questions(after, before))


def match(asked: Asked | None) -> VMA | None:
    """Return the neighbour that was asked, if it said yes."""
    return asked.vma if asked and asked.verdict is Verdict.OK else None


def questions(*asked: Asked | None) -> tuple[Asked, ...]:
    """Return the questions that were really put."""
    return tuple([question for question in asked if question])


def _pick_case(
    kernel: Kernel,
    proposal: Proposal,
    left: VMA | None,
    right: VMA | None,
    asked: tuple[Asked, ...],
) -> Outcome:
    """Pick the case from the sides that match, unless the rule protects whoever would vanish."""
    rule, curr = kernel.rule, proposal.curr
    if left and right:
        case = 6 if curr else 1
        if curr and rule.refuses_removal(curr, proposal, case):
            return refused(asked, Refusal.CLOSE, case)
        if not rule.refuses_removal(right, proposal, case):
            return take_both(kernel, proposal, left, right, asked)
    if left:
        if curr and proposal.vm_end == curr.vm_end and rule.refuses_removal(curr, proposal, 7):
            return refused(asked, Refusal.CLOSE, 7)
        return take_prev(kernel, proposal, left, asked)
    if right:
        if curr is None or curr.vm_start < proposal.vm_start:
            return take_next(kernel, proposal, right, asked)
        upwards = kernel.case8_extends_curr
        if rule.refuses_removal(right if upwards else curr, proposal, 8):
            return refused(asked, Refusal.CLOSE, 8)
        return (take_next_upwards if upwards else take_next)(kernel, proposal, right, asked)
    return no_match(proposal, asked)
