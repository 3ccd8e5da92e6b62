"""The tests that decide whether a VMA could take in a proposed range.

Previous: kernels.py; next: outcome.py.

Each function is named after the kernel's and asks in the kernel's order. It answers with a Verdict:
OK, or the first check that failed. Since the order is fixed, the verdict tells the whole story:
what comes before it held, what comes after it was never asked.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from vmakernel import flags as vm
from vmakernel.kernels import Anon, Kernel
from vmakernel.vma import VMA, AnonVma, Proposal


class Verdict(StrEnum):
    """OK, or the check that refused; in the order in which they are asked."""

    POLICY = "policy"
    FLAGS = "flags"
    FILE = "file"
    CLOSE = "close"
    UFFD = "uffd"
    NAME = "name"
    ANON_VMA = "anon_vma"
    PGOFF = "pgoff"
    OK = "ok"


ORDER: Final = tuple(Verdict)[:-1]


def is_mergeable_vma(kernel: Kernel, vma: VMA, proposal: Proposal, *, close: bool) -> Verdict:
    """Compare everything but place; `close` is whether the rule refuses `vma` for its ->close.

    (is_mergeable_vma(), plus the mempolicy, which vma_merge() itself compared first up to v6.11.)
    """
    if kernel.own and kernel.own.is_mergeable_vma:
        verdict = Verdict(kernel.own.is_mergeable_vma(vma, proposal))
        return Verdict.CLOSE if close and verdict is Verdict.OK else verdict
    if vma.policy != proposal.policy:
        return Verdict.POLICY
    if (vma.vm_flags ^ proposal.vm_flags) & ~kernel.ignored_flags:
        return Verdict.FLAGS
    if vma.vm_file != proposal.vm_file:
        return Verdict.FILE
    if close:
        return Verdict.CLOSE
    if kernel.has_uffd and (
        vma.userfaultfd != proposal.userfaultfd
        or (proposal.userfaultfd and proposal.copied and kernel.copied_uffd_stays_apart)
    ):
        return Verdict.UFFD
    if kernel.has_anon_name and vma.anon_name != proposal.anon_name:
        return Verdict.NAME
    return Verdict.OK


def is_mergeable_anon_vma(kernel: Kernel, vma: VMA, proposal: Proposal) -> bool:
    """True where `vma` may take in the range as far as anonymous pages go."""
    if kernel.own and kernel.own.is_mergeable_anon_vma:
        return bool(kernel.own.is_mergeable_anon_vma(vma, proposal))
    ours, theirs = vma.anon_vma, proposal.anon_vma
    if ours is not None and theirs is not None:
        return ours.name == theirs.name
    if kernel.anon is Anon.EITHER_NULL:
        return True
    if kernel.anon is Anon.SINGULAR:
        # An unfaulted VMA has an empty chain, which list_is_singular() does not accept either.
        return (ours is None and theirs is None) or (ours is not None and ours.singular)
    if ours is None and theirs is not None:
        # An extension has no VMA of its own yet whose ancestry could matter.
        known = proposal.curr is not None or (proposal.copied and kernel.copied_dup)
        return theirs.singular or not known
    return ours is None or ours.singular


def compatible_anon_vmas(a: AnonVma | None, b: AnonVma | None) -> bool:
    """True where prev and next may become one as far as anonymous pages go."""
    return a is None or b is None or a.name == b.name


def _has_anon_pgoff(kernel: Kernel, vma: VMA) -> bool:
    """True for a private file mapping that may hold anonymous pages of its own (since v7.3)."""
    return (
        kernel.anon_pgoff
        and vma.vm_file is not None
        and vma.vm_flags & (vm.VM_MAYWRITE | vm.VM_SHARED) == vm.VM_MAYWRITE
    )


def can_vma_merge_before(kernel: Kernel, proposal: Proposal) -> Verdict:
    """Could the range join the front of next? (can_vma_merge_before())"""
    vma = proposal.next
    assert vma is not None
    if kernel.own and kernel.own.can_vma_merge_before:
        return Verdict(kernel.own.can_vma_merge_before(vma, proposal))
    verdict = is_mergeable_vma(kernel, vma, proposal, close=kernel.rule.refuses_next(vma, proposal))
    if verdict is not Verdict.OK:
        return verdict
    if not is_mergeable_anon_vma(kernel, vma, proposal):
        return Verdict.ANON_VMA
    if vma.vm_pgoff != proposal.vm_pgoff + proposal.pages:
        return Verdict.PGOFF
    if _has_anon_pgoff(kernel, vma) and vma.anon_pgoff != proposal.anon_pgoff + proposal.pages:
        return Verdict.PGOFF
    return Verdict.OK


def can_vma_merge_after(kernel: Kernel, proposal: Proposal) -> Verdict:
    """Could the range join the end of prev? (can_vma_merge_after())"""
    vma = proposal.prev
    assert vma is not None
    if kernel.own and kernel.own.can_vma_merge_after:
        return Verdict(kernel.own.can_vma_merge_after(vma, proposal))
    verdict = is_mergeable_vma(kernel, vma, proposal, close=kernel.rule.refuses_prev(vma, proposal))
    if verdict is not Verdict.OK:
        return verdict
    if not is_mergeable_anon_vma(kernel, vma, proposal):
        return Verdict.ANON_VMA
    if vma.vm_pgoff + vma.pages != proposal.vm_pgoff:
        return Verdict.PGOFF
    if _has_anon_pgoff(kernel, vma) and vma.anon_pgoff + vma.pages != proposal.anon_pgoff:
        return Verdict.PGOFF
    return Verdict.OK


class Asked(NamedTuple):
    """One question put during a decision, and its verdict."""

    where: str  # the kernel's function
    role: str  # prev or next
    vma: VMA
    verdict: Verdict


def ask_prev(kernel: Kernel, proposal: Proposal) -> tuple[Asked, ...]:
    """Ask prev, if it touches the range."""
    prev = proposal.prev
    if prev is None or prev.vm_end != proposal.vm_start:
        return ()
    return (Asked("can_vma_merge_after", "prev", prev, can_vma_merge_after(kernel, proposal)),)


def ask_next(kernel: Kernel, proposal: Proposal) -> tuple[Asked, ...]:
    """Ask next, if it touches the range."""
    next = proposal.next
    if next is None or next.vm_start != proposal.vm_end:
        return ()
    return (Asked("can_vma_merge_before", "next", next, can_vma_merge_before(kernel, proposal)),)


def agreed(asked: tuple[Asked, ...]) -> VMA | None:
    """Return the VMA that was asked, if it said yes."""
    return asked[0].vma if asked and asked[0].verdict is Verdict.OK else None


def ask_sides(
    kernel: Kernel, proposal: Proposal
) -> tuple[VMA | None, VMA | None, tuple[Asked, ...]]:
    """Ask prev, then next, and whether the two suit each other; return those that agreed."""
    before, after = ask_prev(kernel, proposal), ask_next(kernel, proposal)
    left, right = agreed(before), agreed(after)
    if left and right and not compatible_anon_vmas(left.anon_vma, right.anon_vma):
        right = None
    return left, right, before + after


def ask_removal(
    kernel: Kernel, proposal: Proposal, role: str, vma: VMA, case: int
) -> tuple[Asked, ...]:
    """Ask a VMA that this case would remove, if the rule wants it asked.

    (In vma_merge() for case 7 from v6.8 to v6.11; can_merge_remove_vma() since v6.12.)
    """
    where = "can_merge_remove_vma" if kernel.ranges else "vma_merge"
    if kernel.rule.refuses_removal(vma, proposal, case):
        return (Asked(where, role, vma, Verdict.CLOSE),)
    return (Asked(where, role, vma, Verdict.OK),) if kernel.rule.asks_removal(case) else ()


def objected(asked: tuple[Asked, ...]) -> bool:
    """True where the VMA that was asked said no."""
    return bool(asked) and asked[0].verdict is not Verdict.OK
