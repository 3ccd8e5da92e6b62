"""What a change of mapped pages may take in: vma_merge_existing_range() of v6.12, retold."""

from vmakernel.vma import VMA, Proposal


def can_merge_remove_vma(vma: VMA) -> bool:
    """May this VMA vanish in a merge?"""
    return not vma.has_close


def joins(asked: Proposal, curr: VMA, prev: VMA | None, next: VMA | None) -> list[VMA]:
    """Say whom the range joins; prev and next are given if they match."""
    whole = (curr.vm_start, curr.vm_end) == (asked.vm_start, asked.vm_end)
    if whole and not can_merge_remove_vma(curr):
        return []
    if prev and next and not can_merge_remove_vma(next):
        return [prev]
    return [vma for vma in (prev, next) if vma]
