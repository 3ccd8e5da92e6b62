"""Who may take in a range: the tests of v6.3, retold in Python."""

from vmakernel.vma import VMA, Proposal


def is_mergeable_vma(vma: VMA, asked: Proposal) -> bool:
    """Is everything alike, apart from place and anonymous pages?"""
    if vma.vm_flags != asked.vm_flags:
        return False
    if vma.vm_file != asked.vm_file:
        return False
    if vma.has_close:
        return False
    if vma.userfaultfd != asked.userfaultfd:
        return False
    return vma.anon_name == asked.anon_name


def can_vma_merge_before(next: VMA, asked: Proposal) -> bool:
    """Could the range join the front of next?"""
    if not is_mergeable_vma(next, asked):
        return False
    return next.vm_pgoff == asked.vm_pgoff + asked.pages


def can_vma_merge_after(prev: VMA, asked: Proposal) -> bool:
    """Could the range join the end of prev?"""
    if not is_mergeable_vma(prev, asked):
        return False
    return asked.vm_pgoff == prev.vm_pgoff + prev.pages
