"""The callers: how mmap(), mprotect() and mremap() of each version put their question.

Previous: space.py; next: replay.py.

Each function takes an address space and a kernel, decides, acts, and returns a Result.
"""

from __future__ import annotations

from typing import NamedTuple

from vmakernel import flags as vm
from vmakernel.eight_cases import mmap_expand, vma_merge
from vmakernel.kernels import Growth, Kernel
from vmakernel.outcome import Outcome
from vmakernel.ranges import vma_merge_existing_range, vma_merge_new_range
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA, Proposal


class Result(NamedTuple):
    """How an operation ended: a status, the VMA to show for it, and the decision behind it."""

    status: str  # merged, same, changed, mapped, unmapped, partial or no
    vma: VMA | None = None
    outcome: Outcome | None = None


def decide(kernel: Kernel, proposal: Proposal) -> Outcome:
    """Put `proposal` to the merge code of this kernel."""
    if not kernel.ranges:
        return vma_merge(kernel, proposal)
    if proposal.curr is None:
        return vma_merge_new_range(kernel, proposal)
    return vma_merge_existing_range(kernel, proposal)


def decide_mmap(kernel: Kernel, proposal: Proposal) -> Outcome:
    """Put a fresh mapping to the merge code of this kernel, which may have one just for that."""
    return (mmap_expand if kernel.mmap_expands else decide)(kernel, proposal)


def propose(space: AddressSpace, vma: VMA, start: int, end: int, vm_flags: int) -> Proposal:
    """Return the proposal that pages `start` to `end` of `vma` take other flags."""
    delta = start - vma.vm_start
    prev, curr, next = space.neighbours(start, end)
    return Proposal(
        start,
        end,
        vm_flags,
        vma.vm_file,
        vma.vm_pgoff + delta,
        vma.anon_vma,
        vma.userfaultfd,
        vma.anon_name,
        vma.policy,
        vma.anon_pgoff + delta,
        prev,
        curr,
        next,
    )


def new(space: AddressSpace, kernel: Kernel, like: VMA) -> Result:
    """Propose an unmapped range with the attributes of `like` (copy_vma(), mremap's move)."""
    proposal = propose(space, like, like.vm_start, like.vm_end, like.vm_flags)
    return _attempt(space, decide(kernel, proposal._replace(copied=True)))


def mmap(space: AddressSpace, kernel: Kernel, like: VMA) -> Result:
    """Propose a fresh mapping (mmap_region() of this version)."""
    proposal = propose(space, like, like.vm_start, like.vm_end, like.vm_flags)
    return _attempt(space, decide_mmap(kernel, proposal))


def brk(space: AddressSpace, kernel: Kernel, like: VMA) -> Result:
    """Propose more heap: to v6.0 like any range, since v6.1 to prev alone (do_brk_flags()).

    (VMG_FLAG_JUST_EXPAND since v6.12.)
    """
    proposal = propose(space, like, like.vm_start, like.vm_end, like.vm_flags)
    if kernel.brk_just_expands:
        proposal = proposal._replace(next=None)
    return _attempt(space, decide(kernel, proposal))


def _attempt(space: AddressSpace, outcome: Outcome) -> Result:
    if not outcome.merged:
        return Result("no", None, outcome)
    return Result("merged", space.merge(outcome), outcome)


def modify(space: AddressSpace, kernel: Kernel, proposal: Proposal) -> Result:
    """Attempt the merge for a range about to change; nothing else happens where it fails."""
    curr = proposal.curr
    assert curr is not None
    unchanged = (
        proposal.vm_flags == curr.vm_flags
        and proposal.userfaultfd == curr.userfaultfd
        and proposal.anon_name == curr.anon_name
        and proposal.policy == curr.policy
    )
    if unchanged:
        return Result("same", curr)
    return _attempt(space, decide(kernel, proposal))


def mremap(
    space: AddressSpace, kernel: Kernel, vma: VMA, pages: int, old: int | None = None
) -> Result:
    """Grow `vma` by `pages` in place, as mremap() of this version does.

    `old` is how many pages the caller named, where that is less than all of `vma`.
    """
    end = vma.vm_end + pages
    _, curr, next = space.neighbours(vma.vm_end, end)
    if curr is not None or (next is not None and next.vm_start < end):
        return Result("no")
    growth = kernel.rule.mremap
    if growth is Growth.DIRECT or (growth is Growth.MERGE_UNLESS_CLOSE and vma.has_close):
        return Result("merged", space.alter(vma, vma._replace(vm_end=end)))
    proposal = propose(space, vma, vma.vm_end, end, vma.vm_flags)
    if kernel.mremap_misplaces and old is not None:
        proposal = proposal._replace(vm_pgoff=vma.vm_pgoff + old)
    return _attempt(space, decide(kernel, proposal))


def change(space: AddressSpace, kernel: Kernel, proposal: Proposal) -> Result:
    """Make a part of curr what `proposal` says, merging or else splitting (vma_modify(), v6.7).

    ``partial``: a split was refused, by the driver or for too many VMAs.
    """
    vma = proposal.curr
    assert vma is not None
    vm_flags = proposal.vm_flags
    outcome = decide(kernel, proposal)
    if outcome.merged:
        vma = space.merge(outcome)
        vm_flags |= vma.vm_flags & kernel.sticky_flags
    else:
        clone = kernel.clones_anon_vma
        if vma.vm_start < proposal.vm_start:
            if space.full or not may_split(vma):
                return Result("partial", None, outcome)
            vma = space.split(vma, proposal.vm_start, new_below=True, clone=clone)[1]
        if proposal.vm_end < vma.vm_end:
            if space.full or not may_split(vma):
                return Result("partial", None, outcome)
            vma = space.split(vma, proposal.vm_end, new_below=False, clone=clone)[0]
    new = vma._replace(
        vm_flags=vm_flags,
        userfaultfd=proposal.userfaultfd,
        anon_name=proposal.anon_name,
        policy=proposal.policy,
    )
    return Result("merged" if outcome.merged else "changed", space.alter(vma, new), outcome)


def protect(space: AddressSpace, kernel: Kernel, start: int, end: int, access: int) -> Result:
    """Run mprotect() over `start` to `end`: merge or split, then set the flags, VMA by VMA."""
    _, vma, _ = space.tree.around(start)
    if vma is None:
        return Result("no")
    status = "same"
    outcome = None
    while True:
        stop = min(vma.vm_end, end)
        vm_flags = (vma.vm_flags & ~vm.VM_ACCESS) | access
        if vm_flags != vma.vm_flags:
            result = change(space, kernel, propose(space, vma, start, stop, vm_flags))
            outcome = result.outcome
            if result.vma is None:
                return result
            vma = result.vma
            if status != "merged":
                status = result.status
        start = max(stop, vma.vm_end)
        if start >= end:
            return Result(status, vma, outcome)
        above = space.tree.around(start)[1]
        if above is None:
            return Result("partial", None, outcome)
        vma = above


def may_split(vma: VMA) -> bool:
    """True unless the driver's ->may_split refuses."""
    return vma.vm_ops is None or vma.vm_ops.may_split


def unmap(space: AddressSpace, kernel: Kernel, start: int, end: int) -> Result:
    """Run munmap() over `start` to `end`: split at the edges, then ->close what lies between."""
    clone = kernel.clones_anon_vma
    _, vma, _ = space.tree.around(start)
    if vma is not None and vma.vm_start < start:
        # Only a hole in the middle leaves more VMAs than before; up to v2.6.32 that did not matter.
        if not may_split(vma) or (space.full and (kernel.unmap_counts_edges or end < vma.vm_end)):
            return Result("no")
        space.split(vma, start, new_below=True, clone=clone)
    _, vma, _ = space.tree.around(end)
    if vma is not None and vma.vm_start < end:
        if not may_split(vma) or (space.full and kernel.unmap_counts_edges):
            return Result("no")
        space.split(vma, end, new_below=False, clone=clone)
    while True:
        _, vma, above = space.tree.around(start)
        vma = vma or above
        if vma is None or vma.vm_start >= end:
            return Result("unmapped")
        space.unmap(vma)
