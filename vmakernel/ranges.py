"""The merge since v6.12: one function for a new range, one for an existing range.

Previous: eight_cases.py; next: space.py.

The close test has left the predicates: can_merge_remove_vma() is asked of a VMA that would really
go, and of no other (01c373e9a5ce).
"""

from vmakernel.geometry import take_both, take_next, take_prev
from vmakernel.kernels import Kernel
from vmakernel.outcome import Outcome, Refusal, no_match, refused
from vmakernel.predicates import (
    Asked,
    ask_removal,
    ask_sides,
    objected,
)
from vmakernel.vma import VMA, Proposal


def vma_merge_new_range(kernel: Kernel, proposal: Proposal) -> Outcome:
    """Decide a range where nothing is mapped yet (vma_merge_new_range(), since v6.12)."""
    if proposal.vm_flags & kernel.special_flags:
        return refused((), Refusal.SPECIAL)
    left, right, asked = ask_sides(kernel, proposal)
    if left and right:
        asked += (doubt := ask_removal(kernel, proposal, "next", right, 1))
        if objected(doubt):
            right = None  # settle for prev alone
    return _take(kernel, proposal, left, right, asked)


def vma_merge_existing_range(kernel: Kernel, proposal: Proposal) -> Outcome:
    """Decide a range inside one VMA that is about to change (vma_merge_existing_range(), v6.12)."""
    curr = proposal.curr
    assert curr is not None
    if proposal.vm_flags & kernel.special_flags:
        return refused((), Refusal.SPECIAL)
    left, right, asked = ask_sides(kernel, proposal)
    if (left or right) and (curr.vm_start, curr.vm_end) == proposal[:2]:
        case = (6 if right else 7) if left else 8
        asked += (doubt := ask_removal(kernel, proposal, "curr", curr, case))
        if objected(doubt):
            return refused(asked, Refusal.CLOSE, case)  # all or nothing: no partial merge
    if left and right:
        asked += (doubt := ask_removal(kernel, proposal, "next", right, 6))
        if objected(doubt):
            right = None
    return _take(kernel, proposal, left, right, asked)


def _take(
    kernel: Kernel,
    proposal: Proposal,
    left: VMA | None,
    right: VMA | None,
    asked: tuple[Asked, ...],
) -> Outcome:
    if left and right:
        outcome = take_both(kernel, proposal, left, right, asked)
    elif left:
        outcome = take_prev(kernel, proposal, left, asked)
    elif right:
        outcome = take_next(kernel, proposal, right, asked)
    else:
        return no_match(proposal, asked)
    return _inherit(kernel, proposal, outcome)


def _inherit(kernel: Kernel, proposal: Proposal, outcome: Outcome) -> Outcome:
    """Let the merged VMA keep what later versions hand on to it."""
    target = outcome.returned
    assert target is not None
    merged, dups = target, outcome.dups
    if kernel.copied_dup and proposal.copied and merged.anon_vma is None and proposal.anon_vma:
        merged = merged._replace(anon_vma=proposal.anon_vma)
        dups += ((merged.name, "*"),)  # from the VMA that is being moved here
    sticky = proposal.vm_flags
    for vma in outcome.removed:
        sticky |= vma.vm_flags
    if sticky & kernel.sticky_flags & ~merged.vm_flags:
        merged = merged._replace(vm_flags=merged.vm_flags | (sticky & kernel.sticky_flags))
    if merged is target:
        return outcome
    after = tuple([merged if vma is target else vma for vma in outcome.after])
    return outcome._replace(returned=merged, after=after, dups=dups)
