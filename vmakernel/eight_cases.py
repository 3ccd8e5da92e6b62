"""vma_merge() as it was up to v6.11: one function, eight cases.

Previous: geometry.py, which draws the cases; next: ranges.py.
"""

from vmakernel.geometry import take_both, take_next, take_next_upwards, take_prev
from vmakernel.kernels import Kernel
from vmakernel.outcome import Outcome, Refusal, no_match, refused
from vmakernel.predicates import (
    Asked,
    agreed,
    ask_next,
    ask_prev,
    ask_removal,
    ask_sides,
    objected,
)
from vmakernel.vma import VMA, Proposal


def vma_merge(kernel: Kernel, proposal: Proposal) -> Outcome:
    """Decide whether and how a range merges with its neighbours (vma_merge(), v2.6.12 to v6.11)."""
    if proposal.vm_flags & kernel.special_flags:
        return refused((), Refusal.SPECIAL)
    left, right, asked = ask_sides(kernel, proposal)
    outcome = _pick_case(kernel, proposal, left, right, asked)
    if outcome.case == 3 and kernel.case3_keeps_pgoff:
        outcome = _misplaced(outcome)
    return outcome


def _misplaced(outcome: Outcome) -> Outcome:
    """Leave next the offset it had before it grew downwards, as v6.3.0 did by mistake."""
    (next,), grown = outcome.before, outcome.returned
    assert grown is not None
    wrong = grown._replace(vm_pgoff=next.vm_pgoff)
    return outcome._replace(returned=wrong, after=(wrong,))


def mmap_expand(kernel: Kernel, proposal: Proposal) -> Outcome:
    """Decide a new mapping as mmap_region() did from v6.1 to v6.11.

    Next is asked first; prev is then compared with the anon_vma of next, if next matched.
    """
    if proposal.vm_flags & kernel.special_flags:
        return refused((), Refusal.SPECIAL)
    after = ask_next(kernel, proposal)
    right = agreed(after)
    if right:
        proposal = proposal._replace(anon_vma=right.anon_vma)
    before = ask_prev(kernel, proposal)
    return _pick_case(kernel, proposal, agreed(before), right, after + before)


def _pick_case(
    kernel: Kernel,
    proposal: Proposal,
    left: VMA | None,
    right: VMA | None,
    asked: tuple[Asked, ...],
) -> Outcome:
    """Pick the case from the sides that match, unless the rule protects whoever would vanish."""
    curr = proposal.curr
    whole = curr if curr and (curr.vm_start, curr.vm_end) == proposal[:2] else None
    upwards = kernel.case8_extends_curr
    if left and right:
        case = 6 if curr else 1
        if curr:
            asked += (doubt := ask_removal(kernel, proposal, "curr", curr, case))
            if objected(doubt):
                return refused(asked, Refusal.CLOSE, case)
        asked += (doubt := ask_removal(kernel, proposal, "next", right, case))
        if not objected(doubt):
            return take_both(kernel, proposal, left, right, asked)
    if left:
        if whole:
            asked += (doubt := ask_removal(kernel, proposal, "curr", whole, 7))
            if objected(doubt):
                return refused(asked, Refusal.CLOSE, 7)
        return take_prev(kernel, proposal, left, asked)
    if right:
        if whole:
            role, goes = ("next", right) if upwards else ("curr", whole)
            asked += (doubt := ask_removal(kernel, proposal, role, goes, 8))
            if objected(doubt):
                return refused(asked, Refusal.CLOSE, 8)
        take = take_next_upwards if whole and upwards else take_next
        return take(kernel, proposal, right, asked)
    return no_match(proposal, asked)
